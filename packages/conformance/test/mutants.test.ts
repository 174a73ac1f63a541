import { examine, mutants } from '@schedule-free-adan/conformance/mutants';
import { describe, expect, test } from 'vitest';

describe('the suite notices', () => {
  for (const mutant of mutants) {
    test(mutant.fault, async () => {
      const { caughtBy } = await examine(mutant);
      expect(caughtBy).toBe(mutant.caughtBy);
    });
  }
});
