// A page of a headless Chromium with tfjs' backends and this package in it.
import { readFileSync } from 'node:fs';
import { modulePage } from '../../../tools/webgpu-runtime.mjs';
import { wasmFolder } from './targets.mjs';

// tfjs looks for Node's modules where there is Node.
const external = [
  ...['fs', 'path', 'worker_threads', 'perf_hooks', 'os', 'util', 'crypto'],
  ...['node-fetch', 'string_decoder'],
];

/** `entry` is a module that the page runs; `threads`: the page may use several threads. */
export function tfjsPage({
  entry = new URL('./browser.mjs', import.meta.url),
  threads = false,
} = {}) {
  const files = {};
  for (const build of ['', '-simd', '-threaded-simd']) {
    const name = `tfjs-backend-wasm${build}.wasm`;
    files[`/wasm/${name}`] = { type: 'application/wasm', body: readFileSync(wasmFolder() + name) };
  }
  return modulePage(entry, { files, isolated: threads, external });
}
