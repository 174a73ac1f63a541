// A page of a headless Chromium with onnxruntime-web's native webgpu provider and this package in it.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { chromiumPage } from '../../../tools/webgpu-runtime.mjs';

const WASM = 'ort-wasm-simd-threaded.asyncify.wasm';

/** `entry` is a module that the page runs; it imports `ort` from browser-runtime.mjs. */
export async function onnxPage({ entry = new URL('./browser.mjs', import.meta.url) } = {}) {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(entry)],
    bundle: true,
    format: 'esm',
    write: false,
    logLevel: 'error',
  });
  const wasm = createRequire(import.meta.url).resolve(`onnxruntime-web/${WASM}`);
  const { browser, page } = await chromiumPage({
    '/main.js': { type: 'text/javascript', body: outputFiles[0].text },
    [`/ort/${WASM}`]: { type: 'application/wasm', body: readFileSync(wasm) },
  });
  const errors = [];
  page.on('pageerror', (error) => errors.push(error));
  await page.addScriptTag({ url: '/main.js', type: 'module' });
  if (errors.length > 0) throw errors[0];
  return { browser, page };
}
