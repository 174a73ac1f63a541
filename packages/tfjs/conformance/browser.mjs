// Runs in a page: every backend of tfjs that a browser has, and the conformance of the optimizer on it.
import '@schedule-free-adan/tfjs/webgl';
import '@schedule-free-adan/tfjs/webgpu';
import '@tensorflow/tfjs-backend-cpu';
import '@tensorflow/tfjs-backend-webgl';
import '@tensorflow/tfjs-backend-webgpu';
import { setThreadsCount, setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';
import { serveSessions } from '../../../tools/conformance-in-page.mjs';
import { tfjsTarget } from './target.mjs';

setWasmPaths('/wasm/');

/** Makes a backend the active one; `wasm-threaded` is the build of wasm that an isolated page gets. */
export async function useBackend(name) {
  setThreadsCount(2);
  const backend = name.split('-')[0];
  if (!(await tf.setBackend(backend)))
    throw new Error(`This browser has no tfjs backend '${name}'.`);
  await tf.ready();
  if (backend !== 'wasm') return;
  const { wasm } = tf.backend();
  const shared = wasm.wasmMemory?.buffer.constructor.name === 'SharedArrayBuffer';
  if (shared !== (name === 'wasm-threaded')) {
    throw new Error(`Asked for '${name}', and the memory is ${shared ? '' : 'not '}shared.`);
  }
}

serveSessions(async (name) => {
  await useBackend(name);
  return tfjsTarget(`tfjs-${name}`);
});
