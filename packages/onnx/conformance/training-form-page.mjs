// Runs in a page: BatchNormalization and Dropout in training form on the webgpu provider.
import { WebGpuAdan } from '@schedule-free-adan/webgpu';
import { keepDevice, ort, sessionOptions } from './browser-runtime.mjs';
import { runDropout, runNormalized } from './training-form.mjs';

const ready = keepDevice();
const on = (run) => async (form) => {
  await ready;
  return run(ort, form, { sessionOptions, webgpu: form === 'hybrid' ? WebGpuAdan : undefined });
};
globalThis.runNormalized = on(runNormalized);
globalThis.runDropout = on(runDropout);
