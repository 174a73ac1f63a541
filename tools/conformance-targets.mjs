// The subjects of `npm run conformance`, beside the built-in reference.
import { backendTarget } from '@schedule-free-adan/conformance';
import { HostBackend } from '@schedule-free-adan/core/host';

export const host = backendTarget({ name: 'host', backend: () => new HostBackend() });
export { plainArrays as 'plain-arrays' } from '../examples/custom-backend/dist/target.js';
export {
  onnxNodeGraph as 'onnx-node-graph',
  onnxNodeHybrid as 'onnx-node-hybrid',
  onnxWasmGraph as 'onnx-wasm-graph',
  onnxWasmHybrid as 'onnx-wasm-hybrid',
  onnxWebgpuGraph as 'onnx-webgpu-graph',
  onnxWebgpuHybrid as 'onnx-webgpu-hybrid',
} from '../packages/onnx/conformance/targets.mjs';
export {
  tfjsCpu as 'tfjs-cpu',
  tfjsWasm as 'tfjs-wasm',
  tfjsWasmThreaded as 'tfjs-wasm-threaded',
  tfjsWebgl as 'tfjs-webgl',
  tfjsWebgpu as 'tfjs-webgpu',
} from '../packages/tfjs/conformance/targets.mjs';
export {
  webgpu,
  webgpuArena as 'webgpu-arena',
  webgpuOwnBuffers as 'webgpu-own-buffers',
} from '../packages/webgpu/conformance/node.mjs';
