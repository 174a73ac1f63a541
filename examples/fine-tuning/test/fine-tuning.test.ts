import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as ort from 'onnxruntime-node';
import { expect, test } from 'vitest';
import { chromiumPage } from '../../../tools/webgpu-runtime.mjs';

// Built, since it bundles what stands beside it.
const { fineTuningPage } = await import(
  new URL('../dist/onnx/page-files.js', import.meta.url).href
);

const program = fileURLToPath(new URL('../dist/main.js', import.meta.url));
const run = (...args: string[]) =>
  execFileSync(process.execPath, [program, ...args], { encoding: 'utf8', stdio: 'pipe' });

test('a pretrained network learns a new task from a few digits', () => {
  const output = run('--digits', '300', '--test', '200', '--epochs', '4', '--json');
  const { before, head, unfrozen } = JSON.parse(output);
  expect(before).toBeLessThan(0.3);
  expect(head).toBeGreaterThan(0.5);
  expect(unfrozen).toBeGreaterThan(0.5);
  expect(unfrozen).not.toBe(head);
}, 120_000);

test('in ONNX Runtime, another one does, from a forward model; stopped, it goes on as if it never was', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'fine-tuning-'));
  const [whole, parts] = [join(folder, 'whole'), join(folder, 'parts')];
  const small = '--backend onnx --digits 250 --test 100 --epochs 2'.split(' ');
  const result = (out: string, ...args: string[]) => {
    const { seconds, ...accuracies } = JSON.parse(run('--out', out, '--json', ...args));
    expect(seconds).toBeGreaterThan(0);
    return accuracies;
  };
  try {
    const expected = result(whole, ...small);
    expect(expected.before).toBeLessThan(0.3);
    expect(expected.head).toBeGreaterThan(expected.before);
    expect(expected.unfrozen).toBeGreaterThan(expected.head);
    expect(readFileSync(join(whole, 'accuracy.svg'), 'utf8')).toContain('whole network');
    // What it wrote is a plain forward model.
    const session = await ort.InferenceSession.create(join(whole, 'digits.onnx'));
    expect([session.inputNames, session.outputNames]).toEqual([['x'], ['logits']]);
    await session.release();

    const child = spawn(process.execPath, [program, ...small, '--out', parts]);
    let told = '';
    child.stdout.on('data', (chunk) => {
      told += chunk;
    });
    child.stderr.on('data', (chunk) => {
      if (String(chunk).includes('whole network, epoch 1/1')) child.kill('SIGINT');
    });
    expect(await once(child, 'close')).toEqual([130, null]);
    expect(told).toContain(`npm run fine-tuning -- --resume --out ${parts}`);
    expect(() => run('--resume', '--out', parts, '--epochs', '3')).toThrow(
      /error: --epochs is 3, but the saved run in .* has 2; leave it out,/,
    );
    expect(result(parts, '--resume')).toEqual(expected);
    const [a, b] = [whole, parts].map((out) => readFileSync(join(out, 'digits.onnx')));
    expect(a!.equals(b!)).toBe(true);
  } finally {
    rmSync(folder, { recursive: true });
  }
}, 120_000);

test('in a page as well', async () => {
  const files = await fineTuningPage(128, 50);
  const { browser, page } = await chromiumPage(files, '/?epochs=1');
  try {
    await page.waitForFunction(() => /done|failed/.test(document.title), undefined, {
      timeout: 100_000,
    });
    expect(await page.locator('#now').textContent()).toMatch(/% of 50 test digits read rightly/);
    expect(await page.locator('#plot svg').count()).toBe(1);
  } finally {
    await browser.close();
  }
}, 120_000);

test.each([
  [['--digits', 'many'], "error: --digits is 'many'; give an integer from 1 to 60000."],
  [['--backend', 'jax'], "error: --backend is 'jax'; give tfjs, onnx, or onnx-wasm."],
  [['--resume', '--out', 'nowhere'], 'error: --resume: no saved run in nowhere;'],
])('%j is answered in a line', (args, message) => {
  expect(() => run(...args)).toThrow(message);
});
