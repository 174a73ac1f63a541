// onnxruntime-web in a page, with a WebGPU device or not at all.
import * as ort from 'onnxruntime-web/webgpu';

ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = { wasm: '/ort/ort-wasm-simd-threaded.asyncify.wasm' };
// Without an adapter ORT falls back to the CPU, and nothing here would be what it is called.
if (!(await navigator.gpu?.requestAdapter())) {
  throw new Error('This browser has no WebGPU adapter.');
}

export { ort };
export const sessionOptions = { executionProviders: ['webgpu'] };
