// 10,000 steps: the GPU memory that the optimizer holds and the JavaScript heap must not grow.
// node --expose-gc benchmarks/soak-webgpu.mjs
import { WebGpuAdan } from '@schedule-free-adan/webgpu';
import { nodeDevice } from '../tools/webgpu-runtime.mjs';

if (!globalThis.gc) throw new Error('Run it with node --expose-gc.');
const device = await nodeDevice();
const optimizer = await WebGpuAdan.create(
  device,
  Array.from({ length: 20 }, (_, i) => [`p${i}`, { shape: [50 + i] }]),
  { maxGradNorm: 1 },
);
const measure = async () => {
  await optimizer.metrics();
  globalThis.gc();
  return { gpu: optimizer.gpuBytes, heap: process.memoryUsage().heapUsed };
};
const steps = 10_000;
let before;
for (let t = 1; t <= steps; t++) {
  optimizer.step();
  if (t % 100 === 0) await optimizer.metrics();
  if (t === 1000) before = await measure();
}
const after = await measure();
const grown = after.heap - before.heap;
console.log(`GPU bytes ${before.gpu} → ${after.gpu}, heap ${before.heap} → ${after.heap}`);
if (after.gpu !== before.gpu || grown > 500_000) throw new Error('Memory grew.');
