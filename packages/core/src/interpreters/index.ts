export {
  jointForms,
  type Kernel,
  pointKernel,
  type StepKernelOptions,
  stepKernel,
} from './kernel.js';
export { numbers } from './numbers.js';
export {
  atom,
  type Dialect,
  type Expression,
  glsl,
  javascript,
  printer,
  wgsl,
} from './printer.js';
export { type WasmRun, wasmKernel, wasmRun, wasmSumOfSquares } from './wasm.js';
