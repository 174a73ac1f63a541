// Runs in a page: every backend of tfjs that a browser has, and the conformance of the optimizer on it.
import { Session } from '@schedule-free-adan/conformance';
import '@schedule-free-adan/tfjs/webgl';
import '@schedule-free-adan/tfjs/webgpu';
import '@tensorflow/tfjs-backend-cpu';
import '@tensorflow/tfjs-backend-webgl';
import '@tensorflow/tfjs-backend-webgpu';
import { setThreadsCount, setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';
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

let session;

/** What the session is, as far as it can leave the page. */
globalThis.openSession = async (name, options) => {
  await useBackend(name);
  session = new Session(tfjsTarget(`tfjs-${name}`), options);
  return { seed: session.seed, checks: session.checks.map(({ id, tier }) => ({ id, tier })) };
};

globalThis.runCheck = (id) => session.run(session.checks.find((check) => check.id === id));

/** Results of the whole suite. */
globalThis.conformanceOf = async (name) => {
  await openSession(name);
  const results = [];
  for (const check of session.checks) results.push(await session.run(check));
  return results;
};
