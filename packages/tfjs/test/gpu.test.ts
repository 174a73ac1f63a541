import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tfjsPage } from '../conformance/page.mjs';

const entry = new URL('../conformance/gpu-page.mjs', import.meta.url);
const evaluate = <R>(page: Page, name: string, ...args: unknown[]): Promise<R> =>
  page.evaluate(`${name}(...${JSON.stringify(args)})`);

/** Everything on, and everything off. */
const settings = [
  { betas: [0.9, 0.9, 0.99], maxGradNorm: 1, weightDecay: 0.1, nonFinite: 'skip' },
  { betas: [0, 0, 0.99], nonFinite: 'ignore' },
];

describe.each(['webgl', 'webgpu'])('a fused step on %s', (backend) => {
  let started: Awaited<ReturnType<typeof tfjsPage>>;
  const complaints: string[] = [];
  beforeAll(async () => {
    started = await tfjsPage({ entry });
    started.page.on('console', (message) => complaints.push(message.text()));
  });
  afterAll(() => started.browser.close());

  test.each(settings)('equals plain operations, however gradients come: %j', async (options) => {
    const differences = await evaluate<Record<string, number>>(
      started.page,
      'fusedAgainstComposed',
      backend,
      options,
    );
    for (const [name, difference] of Object.entries(differences)) {
      expect(difference, name).toBeLessThan(2e-6);
    }
  });

  test('writes to nothing that a user can see', async () => {
    expect(await evaluate(started.page, 'heldThroughSteps', backend)).toEqual({
      held: true,
      checkpoint: true,
      moved: true,
    });
  });

  test('leaves nothing on the GPU over 1,000 steps', async () => {
    type Memory = { numTensors: number; numBytesInGPU: number };
    const { before, after } = await evaluate<{ before: Memory; after: Memory }>(
      started.page,
      'memoryOverSteps',
      backend,
      1000,
    );
    expect(before.numBytesInGPU).toBeGreaterThan(0);
    expect(after).toEqual(before);
  }, 120_000);

  test('and the browser has nothing to complain about', () => {
    expect(complaints).toEqual([]);
  });
});

test('on webgl, a step takes several passes where the driver has few outputs', async () => {
  const { browser, page } = await tfjsPage({ entry });
  try {
    const differences = await evaluate<Record<string, number>>(
      page,
      'fusedAgainstComposed',
      'webgl',
      settings[0],
      4,
    );
    expect(Math.max(...Object.values(differences))).toBeLessThan(2e-6);
  } finally {
    await browser.close();
  }
});
