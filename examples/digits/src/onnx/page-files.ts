import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { binary, pageFiles } from '../page-files.js';
import type { ModelName } from '../settings.js';
import { forwardModel } from './model.js';

/** The WebAssembly of onnxruntime-web, where `ortInPage` expects it. */
export function ortWasmFile() {
  const { resolve } = createRequire(import.meta.url);
  const wasm = readFileSync(resolve('onnxruntime-web/ort-wasm-simd-threaded.asyncify.wasm'));
  return { '/ort.wasm': { type: 'application/wasm', body: new Uint8Array(wasm) } };
}

/** The page that trains a forward model with onnxruntime-web, and the model with the seed's weights. */
export async function onnxPageFiles(model: ModelName, seed: number, limit?: number) {
  const entry = fileURLToPath(new URL('./main-page.js', import.meta.url));
  return {
    ...(await pageFiles(entry, limit)),
    ...ortWasmFile(),
    '/model.onnx': binary(await forwardModel(model, seed)),
  };
}
