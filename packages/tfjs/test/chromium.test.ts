import type { Result } from '@schedule-free-adan/conformance';
import { describe, expect, test } from 'vitest';
import { tfjsPage } from '../conformance/page.mjs';

describe('conformance in Chromium, fused against composed included', () => {
  test.each(['wasm', 'wasm-threaded', 'webgl', 'webgpu'])(
    'of tfjs-%s',
    async (name) => {
      const { browser, page } = await tfjsPage({ threads: name === 'wasm-threaded' });
      const notices: string[] = [];
      page.on('console', (message) => notices.push(message.text()));
      try {
        const results = (await page.evaluate(`conformanceOf('${name}')`)) as Result[];
        const failed = results.filter(({ status }) => status === 'failed');
        expect(failed.map(({ id, message }) => `${id}: ${message}`)).toEqual([]);
        const passed = results.filter(({ status }) => status === 'passed').map(({ id }) => id);
        expect(passed.length).toBeGreaterThan(150);
        expect(passed).toContain('step/fused-equals-composed');
        expect(notices.filter((text) => text.includes('no fused step'))).toEqual([]);
      } finally {
        await browser.close();
      }
    },
    400_000,
  );
});
