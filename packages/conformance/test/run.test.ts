import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import {
  conformance,
  golden,
  referenceTarget,
  Session,
  ulp,
} from '@schedule-free-adan/conformance';
import { ReferenceBackend } from '@schedule-free-adan/core/reference';
import { expect, test } from 'vitest';
import { backendTarget } from '../dist/backend-target.js';

const broken = backendTarget({
  name: 'broken',
  dtype: 'float64',
  backend: () => {
    const backend = new ReferenceBackend();
    backend.downloadSync = (a) => a.data.map((v) => v + 1);
    return backend;
  },
});

test('a failed tier stops the next, and what did not run is reported as skipped, not passed', async () => {
  const { results, summary } = await conformance(broken);
  const tier1 = results.filter(({ tier }) => tier === 1);
  expect(tier1.some(({ status }) => status === 'failed')).toBe(true);
  const later = results.filter(({ tier }) => tier > 1);
  expect(later.length).toBeGreaterThan(100);
  for (const { status, message } of later) {
    expect(status).toBe('skipped');
    expect(message).toBe('not run: tier 1 failed');
  }
  expect(summary.skipped).toBe(later.length);
  expect(summary.passed + summary.failed + summary.skipped).toBe(results.length);
});

test('a known failure runs, is skipped with its reason while it fails, and fails once it passes', async () => {
  const known = (target: typeof broken, id: string) =>
    conformance({ ...target, knownFailures: { [id]: 'being looked at' } });
  const failing = await known(broken, 'memory/length-1');
  const result = failing.results.find(({ id }) => id === 'memory/length-1');
  expect(result).toMatchObject({ status: 'skipped', message: 'known failure: being looked at' });

  const session = new Session({ ...referenceTarget, knownFailures: { 'memory/length-1': 'old' } });
  const check = session.checks.find(({ id }) => id === 'memory/length-1')!;
  expect(await session.run(check)).toMatchObject({
    status: 'failed',
    message: expect.stringContaining('remove it'),
  });
});

test('an unsupported check is skipped with its reason, and an unknown id is refused', async () => {
  const session = new Session({
    ...referenceTarget,
    unsupported: { 'memory/length-0': 'no room' },
  });
  const check = session.checks.find(({ id }) => id === 'memory/length-0')!;
  expect(await session.run(check)).toMatchObject({
    status: 'skipped',
    message: 'unsupported: no room',
  });
  expect(() => new Session({ ...referenceTarget, unsupported: { typo: 'x' } })).toThrow("'typo'");
});

test('a failure names the tensor, index, step, values, ulps and how to replay it', async () => {
  const wrong = structuredClone(golden.cases[0]!) as unknown as { expected: { x: number[][] }[] };
  wrong.expected[1]!.x[0]![3]! *= 1 + 1e-10;
  const { results } = await conformance(referenceTarget, {
    golden: { format: golden.format, cases: [wrong as never] },
    seed: 7,
  });
  const { message, status } = results.find(({ id }) => id === 'golden/plain')!;
  expect(status).toBe('failed');
  expect(message).toMatch(/p0\.x after step 2\[3\] is -0\.\d+ \(0x[0-9a-f]{16}\), expected/);
  expect(message).toMatch(/ulp, allowed 16/);
  expect(message).toContain('--subject reference --seed 7 --only golden/plain');
});

test('the reference follows every golden trajectory to 1e-14 of scale', async () => {
  const { results } = await conformance(referenceTarget);
  const cases = results.filter(({ tier }) => tier === 4);
  expect(cases).toHaveLength(22);
  // Of a scale of 1, and so of the largest value in each tensor within a factor of two.
  for (const { worstUlp } of cases) expect(worstUlp! * ulp(1, 'float64')).toBeLessThan(1e-14);
});

test('the command line says which file of targets is not there', () => {
  const cli = fileURLToPath(new URL('../dist/cli.js', import.meta.url));
  const { status, stderr } = spawnSync(process.execPath, [cli, '--targets', 'nowhere.mjs'], {
    encoding: 'utf8',
  });
  expect(stderr).toBe("--targets is 'nowhere.mjs'; there is no such file\n");
  expect(status).toBe(2);
});
