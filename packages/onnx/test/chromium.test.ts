import { describe, expect, test } from 'vitest';
import { onnxWebgpuGraph, onnxWebgpuHybrid } from '../conformance/targets.mjs';

describe('conformance in Chromium', () => {
  test.each([
    ['hybrid', onnxWebgpuHybrid],
    ['graph', onnxWebgpuGraph],
  ])(
    'of %s on webgpu',
    async (_, open) => {
      const session = await open();
      const results = [];
      try {
        for (const check of session.checks) results.push(await session.run(check));
      } finally {
        await session.close();
      }
      const failed = results.filter(({ status }) => status === 'failed');
      expect(failed.map(({ id, message }) => `${id}: ${message}`)).toEqual([]);
      expect(results.filter(({ status }) => status === 'passed').length).toBeGreaterThan(120);
    },
    400_000,
  );
});
