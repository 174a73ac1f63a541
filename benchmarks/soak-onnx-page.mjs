// The part of soak-onnx that runs in a page. Buffers are counted as they are made and destroyed, those of
// the runtime as well as our own.
import { WebGpuAdan } from '@schedule-free-adan/webgpu';
import { ort, sessionOptions } from '../packages/onnx/conformance/browser-runtime.mjs';
import { train } from './soak-onnx-train.mjs';

const live = new Map();
const { createBuffer } = GPUDevice.prototype;
GPUDevice.prototype.createBuffer = function (descriptor) {
  const buffer = createBuffer.call(this, descriptor);
  live.set(buffer, descriptor.size);
  return buffer;
};
const { destroy } = GPUBuffer.prototype;
GPUBuffer.prototype.destroy = function () {
  live.delete(this);
  return destroy.call(this);
};

globalThis.start = async (form) => {
  const webgpu = form === 'hybrid' ? WebGpuAdan : undefined;
  globalThis.training = await train({ ort, sessionOptions, form, webgpu });
};
globalThis.memory = () => {
  globalThis.gc();
  return {
    heapUsed: performance.memory.usedJSHeapSize,
    gpuBuffers: live.size,
    gpuBytes: [...live.values()].reduce((sum, size) => sum + size, 0),
  };
};
