// Runs the conformance of the WebGPU targets in Deno: wgpu and naga, where Node and Chromium have Dawn
// and Tint.
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { runtimeFolder } from './webgpu-runtime.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const outfile = join(root, 'node_modules/.cache/webgpu-deno.mjs');
await build({
  entryPoints: [join(root, 'packages/webgpu/conformance/deno.mjs')],
  bundle: true,
  format: 'esm',
  outfile,
});
const env = { ...process.env };
if (process.platform === 'linux' && !env.VK_ICD_FILENAMES) {
  const folder = runtimeFolder();
  env.VK_ICD_FILENAMES = join(folder, 'vk_swiftshader_icd.json');
  env.LD_LIBRARY_PATH = folder;
}
const deno = createRequire(import.meta.url).resolve('deno/bin.cjs');
const { status } = spawnSync(process.execPath, [deno, 'run', '--allow-all', outfile], {
  env,
  stdio: 'inherit',
});
process.exitCode = status ?? 1;
