// The targets that run in Node.
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { sessionInPage } from '../../../tools/conformance-in-page.mjs';
import { tfjsTarget } from './target.mjs';

/** The folder with the wasm backend's .wasm files. */
export const wasmFolder = () => {
  const { resolve } = createRequire(import.meta.url);
  return `${dirname(resolve('@tensorflow/tfjs-backend-wasm/package.json'))}/dist/`;
};

export const backends = {
  cpu: () => import('@tensorflow/tfjs-backend-cpu'),
  wasm: async () => {
    const { setWasmPaths } = await import('@tensorflow/tfjs-backend-wasm');
    setWasmPaths(wasmFolder());
  },
};

/** Makes a backend of tfjs the active one. */
export async function useBackend(name) {
  await backends[name]();
  await tf.setBackend(name);
  await tf.ready();
}

const target = (backend) => async () => {
  await useBackend(backend);
  return tfjsTarget(`tfjs-${backend}`);
};

export const tfjsCpu = target('cpu');
export const tfjsWasm = target('wasm');

/** The checks run in a Chromium from npm. */
const inPage = (backend) => async (options) => {
  const { tfjsPage } = await import('./page.mjs');
  const opened = await tfjsPage({ threads: backend === 'wasm-threaded' });
  return sessionInPage(`tfjs-${backend}`, opened, backend, options);
};

export const tfjsWasmThreaded = inPage('wasm-threaded');
export const tfjsWebgl = inPage('webgl');
export const tfjsWebgpu = inPage('webgpu');
