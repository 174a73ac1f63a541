import { createRequire } from 'node:module';
import { dirname, sep } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import type { TfjsBackendName } from './settings.js';

/** What has to happen before tfjs can switch to a backend. A new backend is one more entry. */
const prepare: Readonly<Record<TfjsBackendName, () => Promise<void>>> = {
  cpu: async () => {
    await import('@tensorflow/tfjs-backend-cpu');
  },
  wasm: async () => {
    await import('@schedule-free-adan/tfjs/convolution-gradients');
    const { setWasmPaths } = await import('@tensorflow/tfjs-backend-wasm');
    const entry = createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm');
    setWasmPaths(dirname(entry) + sep);
  },
};

export async function startBackend(name: TfjsBackendName): Promise<void> {
  tf.enableProdMode();
  await prepare[name]();
  if (!(await tf.setBackend(name))) throw new Error(`tfjs can't start its backend '${name}'.`);
  await tf.ready();
}
