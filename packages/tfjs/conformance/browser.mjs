// Runs in a page: every backend of tfjs that a browser has, and the conformance of the optimizer on it.
import { Session } from '@schedule-free-adan/conformance';
import '@tensorflow/tfjs-backend-cpu';
import '@tensorflow/tfjs-backend-webgl';
import '@tensorflow/tfjs-backend-webgpu';
import { getThreadsCount, setThreadsCount, setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';
import { tfjsTarget } from './target.mjs';

setWasmPaths('/wasm/');

/** Makes a backend the active one; `wasm-threaded` is an isolated page's wasm. Errors if it can't. */
export async function useBackend(name) {
  if (name === 'wasm-threaded') setThreadsCount(2);
  const backend = name.split('-')[0];
  if (!(await tf.setBackend(backend)))
    throw new Error(`This browser has no tfjs backend '${name}'.`);
  await tf.ready();
  const threaded = backend === 'wasm' && getThreadsCount() > 1;
  if (threaded !== (name === 'wasm-threaded')) {
    throw new Error(
      `The wasm backend runs with ${getThreadsCount()} threads, asked for '${name}'.`,
    );
  }
}

/** Results of the suite. `only`: checks whose id begins so. */
globalThis.conformanceOf = async (name, only = '') => {
  await useBackend(name);
  const session = new Session(tfjsTarget(`tfjs-${name}`));
  const results = [];
  for (const check of session.checks) {
    if (check.id.startsWith(only)) results.push(await session.run(check));
  }
  return results;
};
