// The part of step-onnx that runs in a page, on the webgpu provider.
import { WebGpuAdan } from '@schedule-free-adan/webgpu';
import { ort, sessionOptions } from '../packages/onnx/conformance/browser-runtime.mjs';
import { hyperparameters, measureOnnx } from './step-onnx-measure.mjs';

/** The kernels of the hybrid by themselves: gradients lie where they read them. */
async function kernels(parameters, gradients, device) {
  const definitions = parameters.map(({ name, shape, values }) => [name, { shape, values }]);
  const optimizer = await WebGpuAdan.create(device, definitions, hyperparameters);
  parameters.forEach(({ name }, k) => {
    const { buffer, offset } = optimizer.gradient(name);
    device.queue.writeBuffer(buffer, offset, gradients[k]);
  });
  return () => optimizer.step();
}

globalThis.measure = async (settings) => {
  const rows = [];
  const runtime = { backend: 'webgpu', ort, sessionOptions, webgpu: WebGpuAdan };
  await measureOnnx(runtime, ['WGSL kernels alone', kernels], settings, (row) => rows.push(row));
  const { vendor, description } = (await ort.env.webgpu.device).adapterInfo;
  return { rows, adapter: description || vendor };
};
