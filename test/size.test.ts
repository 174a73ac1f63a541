import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { describe, expect, test } from 'vitest';

/** Bytes of entry points in one file, minified and gzipped, without the packages that they stand on. */
async function size(entries: string[], external: string[] = []) {
  const { outputFiles } = await build({
    stdin: {
      contents: entries.map((entry) => `export * from './${entry}';`).join('\n'),
      resolveDir: '.',
    },
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    external,
    write: false,
  });
  return gzipSync(outputFiles[0]!.contents, { level: 9 }).length;
}

const budgets: [string, string, number, string[]][] = [
  [
    'its backend of float32 arrays, with what prints its kernels',
    'packages/core/dist/host/index.js',
    4100,
    [],
  ],
  ['the core', 'packages/core/dist/index.js', 5000, []],
  ['the rule, for those who compose a step', 'packages/core/dist/rule.js', 2800, []],
  [
    'the tfjs adapter with its kernels for cpu and wasm, without core and tfjs',
    'packages/tfjs/dist/index.js',
    5000,
    ['@schedule-free-adan/*', '@tensorflow/*'],
  ],
  [
    'the same with its kernels for webgl',
    'packages/tfjs/dist/webgl.js',
    8000,
    ['@schedule-free-adan/*', '@tensorflow/*'],
  ],
  [
    'the same with its kernels for webgpu',
    'packages/tfjs/dist/webgpu.js',
    8000,
    ['@schedule-free-adan/*', '@tensorflow/*'],
  ],
  [
    'its helpers for training loops, imported apart',
    'packages/tfjs/dist/training.js',
    1500,
    ['@schedule-free-adan/*', '@tensorflow/*'],
  ],
  [
    'its gradients of convolutions, imported apart',
    'packages/tfjs/dist/convolution-gradients.js',
    1600,
    ['@tensorflow/*'],
  ],
  [
    'the printers of kernels, which the adapters share',
    'packages/core/dist/interpreters/index.js',
    3000,
    [],
  ],
  [
    'the printer of WGSL, which the adapters for WebGPU share',
    'packages/core/dist/interpreters/wgsl/index.js',
    3800,
    [],
  ],
  [
    'the WebGPU adapter, without core',
    'packages/webgpu/dist/index.js',
    8000,
    ['@schedule-free-adan/*'],
  ],
  [
    'reading and writing ONNX files',
    'packages/onnx/dist/model/index.js',
    5_000,
    ['@schedule-free-adan/*'],
  ],
];

describe('min + gzip of', () => {
  test.each(budgets)('%s', async (_, entry, budget, external) => {
    expect(await size([entry], external)).toBeLessThanOrEqual(budget);
  });
});

/** In one file: with the default form; with that which steps on the GPU as well; and with `graph` too. */
type Onnx = [string, string[], number, number, number];
const onnx: Onnx[] = [
  ['the trainer', ['index'], 9_200, 10_700, 13_900],
  ['what makes models trainable', ['autodiff/index'], 18_200, 18_200, 18_200],
  [
    'the trainer and what makes models trainable',
    ['index', 'autodiff/index'],
    23_000,
    24_500,
    27_700,
  ],
];
test.each(onnx)('ONNX, without core and runtime: %s', async (_, entries, byDefault, gpu, all) => {
  const paths = entries.map((entry) => `packages/onnx/dist/${entry}.js`);
  const outside = ['@schedule-free-adan/*', 'onnxruntime-*'];
  // These are imported when they are chosen, and come as files of their own.
  const [graph, device] = ['*/graph-form.js', '*/device-form.js'];
  expect(await size(paths, [...outside, graph!, device!])).toBeLessThanOrEqual(byDefault);
  expect(await size(paths, [...outside, graph!])).toBeLessThanOrEqual(gpu);
  expect(await size(paths, outside)).toBeLessThanOrEqual(all);
});

test('the README names these limits', () => {
  const readme = readFileSync('README.md', 'utf8');
  const named = (folder: string) => {
    const [row] = readme.match(new RegExp(`^\\| \\[.*\\(packages/${folder}/.*$`, 'm'))!;
    return [...row.matchAll(/([\d.]+) kB/g)].map(([, kB]) => Math.round(1000 * Number(kB)));
  };
  const budget = (entry: string) => budgets.find(([, path]) => path === entry)![2];
  const tfjs = ['index', 'webgl', 'webgpu'].map((entry) =>
    budget(`packages/tfjs/dist/${entry}.js`),
  );
  expect(named('core')).toEqual([budget('packages/core/dist/index.js')]);
  expect(named('tfjs')).toEqual(tfjs);
  const [[, , trainer], , [, , ...both]] = onnx as [Onnx, Onnx, Onnx];
  expect(named('onnx')).toEqual([trainer, ...both]);
  expect(named('webgpu')).toEqual([budget('packages/webgpu/dist/index.js')]);
});

test('the core imports nothing', () => {
  const { dependencies, peerDependencies } = JSON.parse(
    readFileSync('packages/core/package.json', 'utf8'),
  );
  expect([dependencies, peerDependencies]).toEqual([undefined, undefined]);
});
