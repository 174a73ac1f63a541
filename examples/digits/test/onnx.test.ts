import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as ort from 'onnxruntime-node';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { chromiumPage } from '../../../tools/webgpu-runtime.mjs';
import { consecutive, countRight } from '../src/batches.js';
import { readDigits } from '../src/data.js';

const main = fileURLToPath(new URL('../dist/main.js', import.meta.url));
const { onnxPageFiles } = await import(new URL('../dist/onnx/page-files.js', import.meta.url).href);
const limit = 2560;

interface Epoch {
  readonly loss: number;
  readonly accuracyAtX: number;
  readonly accuracyAtY: number;
}
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'digits-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function run(...args: string[]): void {
  const { status, stderr } = spawnSync(process.execPath, [main, ...args], { encoding: 'utf8' });
  expect(`${status} ${stderr}`).toMatch(/^0/);
}

const read = (json: string): readonly Epoch[] =>
  JSON.parse(readFileSync(json, 'utf8')).runs[0].epochs.map(
    ({ seconds: _, ...rest }: Epoch & { seconds: number }) => rest,
  );

const done = new Map<string, readonly Epoch[]>();
function demo(backend: string, model: string, digits = limit): readonly Epoch[] {
  const name = `${backend}-${model}-${digits}`;
  const out = join(folder, name);
  if (!done.has(name)) {
    const json = join(out, 'results.json');
    const settings = `--optimizer sf-adan --epochs 2 --limit ${digits} --backend ${backend} --model ${model}`;
    run(...settings.split(' '), '--out', out, '--json', json);
    done.set(name, read(json));
  }
  return done.get(name)!;
}

/** Same digits in the same order from the same weights: only the last bits differ. */
function same(actual: readonly Epoch[], expected: readonly Epoch[], loss = 5e-4): void {
  expected.forEach((epoch, i) => {
    expect(Math.abs(actual[i]!.loss - epoch.loss)).toBeLessThan(loss);
    expect(Math.abs(actual[i]!.accuracyAtX - epoch.accuracyAtX)).toBeLessThan(0.002);
    expect(Math.abs(actual[i]!.accuracyAtY - epoch.accuracyAtY)).toBeLessThan(0.002);
  });
}

describe('a forward model in ONNX Runtime', () => {
  test('mlp: learns what the demo on tfjs learns, natively and on wasm, and leaves a trained model', async () => {
    const onTfjs = demo('wasm', 'mlp');
    const onnx = demo('onnx', 'mlp');
    same(onnx, onTfjs);
    same(demo('onnx-wasm', 'mlp'), onTfjs);

    const file = readFileSync(join(folder, `onnx-mlp-${limit}/mlp-trained.onnx`));
    const session = await ort.InferenceSession.create(file);
    const { size, pixels, labels } = consecutive(readDigits('t10k'), 0, 10_000);
    const { logits } = await session.run({
      images: new ort.Tensor('float32', pixels, [size, 784]),
    });
    const share = countRight(logits!.data as Float32Array, labels) / size;
    expect(share).toBeCloseTo(onnx[1]!.accuracyAtX, 3);
    await session.release();
  });

  test('cnn: learns what the demo on tfjs learns', () => {
    same(demo('onnx', 'cnn', 640), demo('wasm', 'cnn', 640), 2e-3);
  });

  test('goes on where it was stopped, with the same numbers', async () => {
    const whole = demo('onnx', 'mlp');
    const out = join(folder, 'stopped');
    const json = join(out, 'results.json');
    const settings = `--epochs 2 --limit ${limit} --backend onnx`.split(' ');
    const child = spawn(process.execPath, [main, ...settings, '--out', out]);
    child.stderr.on('data', (chunk) => {
      if (String(chunk).includes('epoch 2/2')) child.kill('SIGINT');
    });
    const [code] = await once(child, 'close');
    expect(code).toBe(130);
    run('--resume', '--out', out, '--json', json);
    expect(read(json)).toEqual(whole);
  });

  test.each(['wasm', 'webgpu'])(
    'on %s in a page: the same losses',
    async (provider) => {
      const expected = demo('onnx', 'mlp', 1280);
      const files = await onnxPageFiles('mlp', 1, 1280);
      // All 10,000 take a software driver a minute.
      const some = (path: '/test-images' | '/test-labels', bytes: number) => ({
        [path]: { ...files[path]!, body: (files[path]!.body as Uint8Array).subarray(0, bytes) },
      });
      const shorter = { ...files, ...some('/test-images', 784_000), ...some('/test-labels', 1000) };
      const { browser, page } = await chromiumPage(shorter, `/?epochs=2&provider=${provider}`);
      try {
        await page.waitForFunction(
          "document.title === 'done' || document.title === 'failed'",
          null,
          {
            timeout: 120_000,
          },
        );
        expect(await page.title(), (await page.locator('body').textContent()) ?? '').toBe('done');
        const rows = await page.locator('tbody tr').all();
        const cells = await Promise.all(rows.map((row) => row.locator('td').allTextContents()));
        expected.forEach(({ loss, accuracyAtX }, i) => {
          const [, shown, percent] = cells[i]!.map(Number.parseFloat);
          expect(Math.abs(shown! - loss)).toBeLessThan(5e-4);
          // Of the first tenth of the test digits, which are harder than the others.
          expect(Math.abs(percent! - 100 * accuracyAtX)).toBeLessThan(8);
        });
        expect(await page.locator('.plots svg').count()).toBe(2);
      } finally {
        await browser.close();
      }
    },
    180_000,
  );
});
