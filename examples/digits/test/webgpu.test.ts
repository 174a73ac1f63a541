import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { chromiumPage } from '../../../tools/webgpu-runtime.mjs';
import { pageFiles } from '../src/page-files.js';

const main = fileURLToPath(new URL('../dist/main.js', import.meta.url));
const entry = fileURLToPath(new URL('../dist/webgpu/main-page.js', import.meta.url));

function demo(...options: string[]) {
  const out = mkdtempSync(join(tmpdir(), 'digits-'));
  const json = join(out, 'results.json');
  execFileSync(process.execPath, [main, '--out', out, '--json', json, ...options]);
  return JSON.parse(readFileSync(json, 'utf8')).runs[0].epochs as {
    loss: number;
    accuracyAtX: number;
    accuracyAtY: number;
  }[];
}

describe('the digits on WebGPU alone', () => {
  test('learn as on tfjs, and the same in Node and in Chromium', async () => {
    const limit = 2560;
    const settings = ['--limit', String(limit), '--epochs', '2', '--optimizer', 'sf-adan'];
    const onWebGpu = demo('--backend', 'webgpu', ...settings);
    const onTfjs = demo('--backend', 'wasm', ...settings);
    // Initial weights differ, and so do digits in the last place.
    expect(onWebGpu[1]!.accuracyAtX).toBeGreaterThan(onTfjs[1]!.accuracyAtX - 0.015);
    expect(onWebGpu[1]!.accuracyAtX).toBeGreaterThan(0.88);
    expect(onWebGpu[1]!.loss).toBeLessThan(onWebGpu[0]!.loss);

    const { browser, page } = await chromiumPage(await pageFiles(entry, limit), '/?epochs=2');
    try {
      await page.waitForFunction("document.title === 'done' || document.title === 'failed'", null, {
        timeout: 120_000,
      });
      const cells = await page.locator('tbody td:nth-child(3)').allTextContents();
      expect(cells).toHaveLength(2);
      const accuracy = Number.parseFloat(cells[1]!);
      expect(Math.abs(accuracy - 100 * onWebGpu[1]!.accuracyAtX)).toBeLessThan(0.3);
    } finally {
      await browser.close();
    }
  }, 240_000);

  test('no other optimizer is promised', () => {
    const run = () =>
      execFileSync(process.execPath, [main, '--backend', 'webgpu', '--optimizer', 'adam'], {
        stdio: 'pipe',
      });
    expect(run).toThrow(/adam/);
  });
});
