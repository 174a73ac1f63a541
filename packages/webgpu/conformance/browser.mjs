// Runs in a page: the conformance of every target on the browser's device, and what only a browser shows.
import { runChecks } from '@schedule-free-adan/conformance';
import { WebGpuAdan } from '@schedule-free-adan/webgpu';
import { webgpuTargets } from './targets.mjs';

async function newDevice() {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) throw new Error('This browser has no WebGPU adapter.');
  return adapter.requestDevice();
}

globalThis.conformanceOf = async (name) => {
  const device = await newDevice();
  const target = webgpuTargets(async () => device)[name];
  const results = [];
  for await (const result of runChecks(target)) results.push(result);
  device.destroy();
  return results;
};

let optimizer;
let kept;
const step = () => {
  const { buffer, offset } = optimizer.gradient('w');
  optimizer.device.queue.writeBuffer(buffer, offset, new Float32Array(1000).fill(0.5));
  optimizer.step();
};

/** Trains to step 3, and keeps a snapshot. */
globalThis.begin = async () => {
  optimizer = await WebGpuAdan.create(await newDevice(), { w: { shape: [1000] } });
  for (let t = 0; t < 3; t++) step();
  kept = await optimizer.snapshot();
};

/** The code of the error that the next call gives. */
globalThis.next = async () => {
  await optimizer.device.lost;
  step();
};

/** Goes on on a new device to step 6, and the same without a break: both states. */
globalThis.goOn = async () => {
  optimizer = await optimizer.resume(await newDevice(), kept);
  for (let t = 0; t < 3; t++) step();
  const resumed = await optimizer.snapshot();
  optimizer = await WebGpuAdan.create(optimizer.device, { w: { shape: [1000] } });
  for (let t = 0; t < 6; t++) step();
  return [Array.from(resumed), Array.from(await optimizer.snapshot())];
};
