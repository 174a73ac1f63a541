export { jointForms, type Kernel, pointKernel, stepKernel } from '../kernel.js';
export { WgslPrimitives } from './primitives.js';
export {
  expression,
  forEach,
  grid,
  halves,
  literal,
  numberSets,
  packShader,
  type Sum,
  shader,
  statements,
  storage,
  sumOfSquares,
  total,
  uniform,
  verdict,
} from './shader.js';
export {
  type ArrayLayout,
  arraysOf,
  halfKeys,
  type StepShader,
  stepArray,
  stepShader,
} from './step.js';
