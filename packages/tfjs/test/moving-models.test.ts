import { readFile } from 'node:fs/promises';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tfjsPage } from '../conformance/page.mjs';
import { useBackend } from '../conformance/targets.mjs';
import { compiled, fromFiles, type ModelFiles, toFiles, trainOn } from './scenarios.js';

const epochs = 3;
let browser: Awaited<ReturnType<typeof tfjsPage>>['browser'];
let page: Page;
/** Losses of a run that was never broken. */
let unbroken: number[];
/** What the web server at /model offers. */
let served: ModelFiles;

beforeAll(async () => {
  ({ browser, page } = await tfjsPage({ entry: new URL('./page.ts', import.meta.url) }));
  await page.evaluate("scenarios.useBackend('wasm')");
  await page.route('http://localhost/model/*', (route) =>
    route.fulfill(
      route.request().url().endsWith('.json')
        ? { json: served.json }
        : { body: Buffer.from(served.bytes) },
    ),
  );
  await useBackend('wasm');
  unbroken = await trainOn(compiled(), 2 * epochs);
});
afterAll(() => browser.close());

const inPage = <R>(expression: string): Promise<R> => page.evaluate(`scenarios.${expression}`);
const train = (from?: string) =>
  inPage<number[]>(`train(${from ? `'${from}'` : 'undefined'}, ${epochs})`);

function expectUnbroken(first: number[], second: number[]) {
  const losses = [...first, ...second];
  expect(losses).toHaveLength(unbroken.length);
  for (const [i, loss] of losses.entries())
    expect(Math.abs(loss / unbroken[i]! - 1)).toBeLessThan(1e-6);
  // Without the state of the optimizer the losses would go on otherwise.
  expect(unbroken[epochs]! / unbroken[epochs - 1]!).toBeLessThan(1);
}

describe('a model that was trained in a browser goes on in Node', () => {
  test('from IndexedDB', async () => {
    const first = await train();
    await inPage("save('indexeddb://trained')");
    expect(Object.keys(await inPage<object>('models()'))).toContain('indexeddb://trained');
    const files = await inPage<ModelFiles>("stored('indexeddb://trained')");
    expectUnbroken(first, await trainOn(await fromFiles(files), epochs));
  });

  test('from a download', async () => {
    const first = await train();
    const downloads = new Map<string, Promise<Buffer>>();
    page.on('download', (download) =>
      downloads.set(
        download.suggestedFilename(),
        download.path().then((path) => readFile(path)),
      ),
    );
    await inPage("save('downloads://trained')");
    await expect
      .poll(() => [...downloads.keys()].sort())
      .toEqual(['trained.json', 'trained.weights.bin']);
    const [json, bytes] = [
      await downloads.get('trained.json')!,
      await downloads.get('trained.weights.bin')!,
    ];
    const files = { json: JSON.parse(json.toString()), bytes: [...bytes] };
    expectUnbroken(first, await trainOn(await fromFiles(files), epochs));
  });
});

describe('a model that was trained in Node goes on in a browser', () => {
  test('from a web server, and from IndexedDB after that', async () => {
    const model = compiled();
    const first = await trainOn(model, epochs);
    served = await toFiles(model);
    expectUnbroken(first, await train('http://localhost/model/model.json'));
    await inPage("copy('http://localhost/model/model.json', 'indexeddb://copied')");
    expectUnbroken(first, await train('indexeddb://copied'));
  });
});
