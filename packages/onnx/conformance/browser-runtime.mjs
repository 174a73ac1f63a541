// onnxruntime-web in a page, with a WebGPU device or not at all.
import { encodeModel } from '@schedule-free-adan/onnx/model';
import * as ort from 'onnxruntime-web/webgpu';
import { passThroughModel } from './target.mjs';

ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = { wasm: '/ort/ort-wasm-simd-threaded.asyncify.wasm' };
// Without an adapter ORT falls back to the CPU, and nothing here would be what it is called.
if (!(await navigator.gpu?.requestAdapter())) {
  throw new Error('This browser has no WebGPU adapter.');
}

export { ort };
export const sessionOptions = { executionProviders: ['webgpu'] };

/**
 * The device and its compiled shaders go with the last session. This opens one that stays, so that whoever
 * creates trainers one after the other need not wait for them anew.
 */
export async function keepDevice() {
  const model = passThroughModel([{ name: 'p', shape: [1], values: [0] }]);
  await ort.InferenceSession.create(encodeModel(model), sessionOptions);
}
