// The subjects of `npm run conformance`: every adapter's own targets.
export {
  tfjsCpu as 'tfjs-cpu',
  tfjsWasm as 'tfjs-wasm',
} from '../packages/tfjs/conformance/targets.mjs';
export {
  webgpu,
  webgpuArena as 'webgpu-arena',
  webgpuOwnBuffers as 'webgpu-own-buffers',
} from '../packages/webgpu/conformance/node.mjs';
