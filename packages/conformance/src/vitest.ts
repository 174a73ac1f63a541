import { describe, test } from 'vitest';
import { tiers } from './check.js';
import { type RunOptions, Session } from './run.js';
import type { Target } from './target.js';

/** Registers every check as a vitest test, in a describe block per tier. */
export function testConformance(target: Target, options?: RunOptions): void {
  const session = new Session(target, options);
  describe(`conformance of ${target.name}`, () => {
    for (const [tier, title] of Object.entries(tiers)) {
      const checks = session.checks.filter((check) => check.tier === Number(tier));
      if (checks.length === 0) continue;
      describe(`${tier}. ${title}`, () => {
        for (const check of checks) {
          test(check.id, { timeout: 300_000 }, async ({ skip }) => {
            const { status, message } = await session.run(check);
            if (status === 'skipped') skip(message);
            if (status === 'failed') throw new Error(message);
          });
        }
      });
    }
  });
}
