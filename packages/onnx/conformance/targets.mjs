// The targets that the command line and the tests know.
import { sessionInPage } from '../../../tools/conformance-in-page.mjs';
import { ortTarget } from './target.mjs';

export { passThroughModel, wrongSizes } from './target.mjs';

const wasm = (form) => async () => {
  const ort = await import('onnxruntime-web');
  ort.env.wasm.numThreads = 1;
  return ortTarget('wasm', ort, form, { sessionOptions: { executionProviders: ['wasm'] } });
};
const node = (form) => async () => {
  const ort = await import('onnxruntime-node');
  return ortTarget('node', ort, form, { sessionOptions: { intraOpNumThreads: 1 } });
};

/** The checks run in a Chromium from npm. */
const webgpu = (form) => async (options) => {
  const { onnxPage } = await import('./page.mjs');
  return sessionInPage(`onnx-webgpu-${form}`, await onnxPage(), form, options);
};

export const onnxWebgpuHybrid = webgpu('hybrid');
export const onnxWebgpuGraph = webgpu('graph');
export const onnxWasmHybrid = wasm('hybrid');
export const onnxWasmGraph = wasm('graph');
export const onnxNodeHybrid = node('hybrid');
export const onnxNodeGraph = node('graph');
