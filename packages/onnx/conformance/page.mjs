// A page of a headless Chromium with onnxruntime-web's native webgpu provider and this package in it.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { modulePage } from '../../../tools/webgpu-runtime.mjs';

const WASM = 'ort-wasm-simd-threaded.asyncify.wasm';

/** `entry` is a module that the page runs; it imports `ort` from browser-runtime.mjs. */
export function onnxPage({ entry = new URL('./browser.mjs', import.meta.url) } = {}) {
  const wasm = createRequire(import.meta.url).resolve(`onnxruntime-web/${WASM}`);
  const file = { type: 'application/wasm', body: readFileSync(wasm) };
  return modulePage(entry, { files: { [`/ort/${WASM}`]: file } });
}
