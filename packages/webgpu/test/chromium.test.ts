import type { Result } from '@schedule-free-adan/conformance';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { modulePage } from '../../../tools/webgpu-runtime.mjs';

let browser: Browser;
let page: Page;

beforeAll(async () => {
  ({ browser, page } = await modulePage(new URL('../conformance/browser.mjs', import.meta.url)));
});
afterAll(() => browser?.close());

/** Runs an expression in the page. */
const inPage = <T>(expression: string): Promise<T> => page.evaluate(expression) as Promise<T>;

describe('in Chromium', () => {
  test.each(['webgpu', 'webgpu-arena', 'webgpu-own-buffers'])(
    'conformance of %s',
    async (name) => {
      const results = await inPage<Result[]>(`conformanceOf('${name}')`);
      const failed = results.filter(({ status }) => status === 'failed');
      expect(failed.map(({ id, message }) => `${id}: ${message}`)).toEqual([]);
      const passed = results.filter(({ status }) => status === 'passed').length;
      expect(passed).toBeGreaterThan(120);
    },
    300_000,
  );

  test('a killed GPU process is a named error, and training goes on to the same bits', async () => {
    await inPage('begin()');
    const session = await browser.newBrowserCDPSession();
    const { processInfo } = await session.send('SystemInfo.getProcessInfo');
    const gpu = processInfo.find(({ type }) => type === 'GPU')!;
    process.kill(gpu.id, 'SIGKILL');
    await expect(inPage('next()')).rejects.toThrow(/GPU device is lost/);
    const [resumed, expected] = await inPage<[number[], number[]]>('goOn()');
    expect(resumed).toEqual(expected);
  }, 60_000);
});
