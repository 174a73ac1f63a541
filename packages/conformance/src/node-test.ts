import { describe, test } from 'node:test';
import { tiers } from './check.js';
import { type RunOptions, Session } from './run.js';
import type { Target } from './target.js';

/** Registers every check with Node's test runner, in a describe block per tier. */
export function testConformance(target: Target, options?: RunOptions): void {
  const session = new Session(target, options);
  describe(`conformance of ${target.name}`, { concurrency: 1 }, () => {
    for (const [tier, title] of Object.entries(tiers)) {
      const checks = session.checks.filter((check) => check.tier === Number(tier));
      if (checks.length === 0) continue;
      describe(`${tier}. ${title}`, { concurrency: 1 }, () => {
        for (const check of checks) {
          test(check.id, async (context) => {
            const { status, message } = await session.run(check);
            if (status === 'skipped') context.skip(message);
            if (status === 'failed') throw new Error(message);
          });
        }
      });
    }
  });
}
