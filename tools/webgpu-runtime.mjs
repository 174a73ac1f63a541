// WebGPU on any Linux machine from npm alone: Dawn for Node, a headless Chromium, and SwiftShader,
// a Vulkan driver on the CPU. The archives are unpacked once, into a cache folder.

import { Buffer } from 'node:buffer';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { brotliDecompressSync } from 'node:zlib';

const require = createRequire(import.meta.url);
const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** The folder with `chromium`, `libvulkan.so.1` and SwiftShader. Unpacked on the first call. */
export function runtimeFolder() {
  const entry = require.resolve('@sparticuz/chromium');
  const packageFolder = entry.slice(0, entry.lastIndexOf('chromium') + 'chromium'.length);
  const { version } = JSON.parse(readFileSync(join(packageFolder, 'package.json'), 'utf8'));
  const folder = join(root, 'node_modules/.cache/webgpu-runtime', version);
  if (existsSync(folder)) return folder;
  const partial = `${folder}.${process.pid}`;
  mkdirSync(partial, { recursive: true });
  const unpack = (name) => brotliDecompressSync(readFileSync(join(packageFolder, 'bin', name)));
  writeFileSync(join(partial, 'chromium'), unpack('chromium.br'), { mode: 0o755 });
  for (const archive of ['swiftshader.tar.br', 'al2023.tar.br', 'fonts.tar.br']) {
    execFileSync('tar', ['-x', '-C', partial], { input: unpack(archive) });
  }
  try {
    renameSync(partial, folder);
  } catch (error) {
    rmSync(partial, { recursive: true });
    if (!existsSync(folder)) throw error;
  }
  return folder;
}

/** Makes SwiftShader this process's Vulkan driver, unless another one was chosen. */
export function useSwiftShader() {
  if (process.platform !== 'linux' || process.env.VK_ICD_FILENAMES) return;
  const folder = runtimeFolder();
  process.env.VK_ICD_FILENAMES = join(folder, 'vk_swiftshader_icd.json');
  const { RTLD_NOW, RTLD_GLOBAL } = constants.dlopen;
  const RTLD_NODELETE = 0x1000;
  try {
    // It is no Node add-on, and Node says so once the library is loaded.
    process.dlopen(
      { exports: {} },
      join(folder, 'libvulkan.so.1'),
      RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE,
    );
  } catch (error) {
    if (!String(error).includes('did not self-register')) throw error;
  }
}

/** A WebGPU device of Dawn in this process. Throws where there is none. */
export async function nodeDevice(descriptor) {
  useSwiftShader();
  const { create, globals } = await import('webgpu');
  Object.assign(globalThis, globals);
  // Dawn crashes when this object is collected as garbage: it is kept for ever.
  globalThis.__dawn ??= create([]);
  const adapter = await globalThis.__dawn.requestAdapter();
  if (!adapter) {
    throw new Error(
      'Dawn found no WebGPU adapter. Set VK_ICD_FILENAMES to a Vulkan driver, or run `npm ci` again for SwiftShader.',
    );
  }
  return adapter.requestDevice(descriptor);
}

const flags = [
  '--no-sandbox',
  '--enable-unsafe-webgpu',
  '--use-angle=swiftshader',
  '--use-webgpu-adapter=swiftshader',
  '--js-flags=--expose-gc',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
];

/**
 * A page of a headless Chromium with WebGPU, at http://localhost, where `files` answer by path:
 * `{ '/page.js': { type: 'text/javascript', body } }`.
 * `isolated`: cross-origin isolated, so that threads may share memory.
 * CHROMIUM_PATH chooses another browser than the one from npm.
 */
export async function chromiumPage(files = {}, path = '/', { isolated = false } = {}) {
  const { chromium } = await import('playwright-core');
  const own = process.env.CHROMIUM_PATH;
  const folder = own ? undefined : runtimeFolder();
  const browser = await chromium.launch({
    executablePath: own ?? join(folder, 'chromium'),
    args: flags,
    env: own
      ? process.env
      : { ...process.env, LD_LIBRARY_PATH: [folder, join(folder, 'lib')].join(':') },
  });
  const page = await browser.newPage();
  await page.route('http://localhost/**', (route) => {
    const { pathname } = new URL(route.request().url());
    const file =
      files[pathname] ?? (pathname === '/' && { type: 'text/html', body: '<!doctype html>' });
    if (!file) return route.fulfill({ status: 404, body: '' });
    const body = typeof file.body === 'string' ? file.body : Buffer.from(file.body);
    const isolation = isolated && {
      'Cross-Origin-Opener-Policy': 'same-origin',
      'Cross-Origin-Embedder-Policy': 'require-corp',
    };
    return route.fulfill({ body, headers: { ...isolation, 'Content-Type': file.type } });
  });
  await page.goto(`http://localhost${path}`);
  return { browser, page };
}

/**
 * A page as chromiumPage gives it, which runs the module `entry`, bundled. Throws what that throws.
 * `external`: modules that it imports only where there is Node.
 */
export async function modulePage(entry, { files = {}, isolated = false, external = [] } = {}) {
  const { build } = await import('esbuild');
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(entry)],
    bundle: true,
    format: 'esm',
    write: false,
    logLevel: 'error',
    external,
  });
  const main = { type: 'text/javascript', body: outputFiles[0].text };
  const { browser, page } = await chromiumPage({ ...files, '/main.js': main }, '/', { isolated });
  const errors = [];
  page.on('pageerror', (error) => errors.push(error));
  await page.addScriptTag({ url: '/main.js', type: 'module' });
  if (errors.length > 0) throw errors[0];
  return { browser, page };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const device = await nodeDevice();
  console.log(`Node: ${device.adapterInfo.vendor} ${device.adapterInfo.description}`);
  const { browser, page } = await chromiumPage();
  const found = await page.evaluate(async () => {
    const adapter = await navigator.gpu?.requestAdapter();
    return adapter ? `${adapter.info.vendor} ${adapter.info.description}` : null;
  });
  await browser.close();
  if (!found) throw new Error('Chromium has no WebGPU adapter.');
  console.log(`Chromium: ${found}`);
}
