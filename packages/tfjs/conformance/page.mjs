// A page of a headless Chromium with tfjs' backends and this package in it.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { chromiumPage } from '../../../tools/webgpu-runtime.mjs';
import { wasmFolder } from './targets.mjs';

/** `entry` is a module that the page runs; `threads`: the page may use several threads. */
export async function tfjsPage({
  entry = new URL('./browser.mjs', import.meta.url),
  threads = false,
} = {}) {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(entry)],
    bundle: true,
    format: 'esm',
    write: false,
    logLevel: 'error',
    // tfjs looks for Node's modules where there is Node.
    external: [
      'fs',
      'path',
      'worker_threads',
      'perf_hooks',
      'os',
      'util',
      'crypto',
      'node-fetch',
      'string_decoder',
    ],
  });
  const files = { '/main.js': { type: 'text/javascript', body: outputFiles[0].text } };
  for (const build of ['', '-simd', '-threaded-simd']) {
    const name = `tfjs-backend-wasm${build}.wasm`;
    files[`/wasm/${name}`] = { type: 'application/wasm', body: readFileSync(wasmFolder() + name) };
  }
  const { browser, page } = await chromiumPage(files, '/', { isolated: threads });
  const errors = [];
  page.on('pageerror', (error) => errors.push(error));
  await page.addScriptTag({ url: '/main.js', type: 'module' });
  if (errors.length > 0) throw errors[0];
  return { browser, page };
}
