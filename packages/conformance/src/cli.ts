#!/usr/bin/env node
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { tiers } from './check.js';
import type { GoldenFile } from './golden/format.js';
import { asGoldenFile } from './golden/index.js';
import { referenceTarget } from './reference-target.js';
import { type Result, type RunOptions, report, Session, type SessionElsewhere } from './run.js';
import type { Target } from './target.js';

const usage = `usage: schedule-free-adan-conformance --subject NAME [options]

  --subject NAME   what to check; the built-in one is 'reference'
  --targets FILE   a module whose exports are targets, or functions that make one, or a session
  --golden FILE    trajectories in place of the built-in ones
  --only TEXT      only checks whose id contains TEXT
  --seed N         of the random samples
  --runs N         random runs for each law
  --json FILE      write the results there
  --list           print the subjects`;

class UsageError extends Error {}

function parse(argv: string[]) {
  try {
    return parseArgs({
      args: argv,
      options: {
        subject: { type: 'string' },
        targets: { type: 'string' },
        golden: { type: 'string' },
        only: { type: 'string' },
        seed: { type: 'string' },
        runs: { type: 'string' },
        json: { type: 'string' },
        list: { type: 'boolean' },
        help: { type: 'boolean' },
      },
    }).values;
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function wholeNumber(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d+$/.test(text)) throw new UsageError(`--${name} is '${text}'; give a whole number ≥ 0`);
  return Number(text);
}

type Found = Target | SessionElsewhere;
type Exported = Target | ((options: RunOptions) => Found | Promise<Found>);

/** Targets by name. A function is only called for the target that is asked for. */
async function loadTargets(file: string | undefined): Promise<Map<string, Exported>> {
  const targets = new Map<string, Exported>([[referenceTarget.name, referenceTarget]]);
  if (file === undefined) return targets;
  if (!existsSync(file)) throw new UsageError(`--targets is '${file}'; there is no such file`);
  const module: Record<string, unknown> = await import(pathToFileURL(resolve(file)).href);
  const named = (module.default ?? module) as Record<string, Exported>;
  for (const [key, value] of Object.entries(named)) {
    targets.set(typeof value === 'function' ? key : value.name, value);
  }
  return targets;
}

function readGolden(file: string): GoldenFile {
  try {
    return asGoldenFile(JSON.parse(readFileSync(file, 'utf8')));
  } catch (error) {
    throw new UsageError(`--golden ${file}: ${(error as Error).message}`);
  }
}

const mark = { passed: '✓', failed: '✗', skipped: '–' };

function print({ id, status, worstUlp, message }: Result): void {
  const ulps = worstUlp === null ? '' : `${worstUlp.toPrecision(3)} ulp`;
  console.log(
    `  ${mark[status]} ${id.padEnd(58)} ${ulps.padStart(10)}${message && `\n      ${message}`}`,
  );
}

async function main(argv: string[]): Promise<number> {
  const values = parse(argv);
  if (values.help) {
    console.log(usage);
    return 0;
  }
  const targets = await loadTargets(values.targets);
  if (values.list) {
    console.log([...targets.keys()].join('\n'));
    return 0;
  }
  if (values.subject === undefined) throw new UsageError(`--subject is missing\n\n${usage}`);
  const exported = targets.get(values.subject);
  if (exported === undefined) {
    throw new UsageError(
      `--subject is '${values.subject}'; there is ${[...targets.keys()].join(', ')}`,
    );
  }
  const seed = wholeNumber('seed', values.seed);
  const runs = wholeNumber('runs', values.runs);
  const options: RunOptions = {
    ...(values.golden !== undefined && { golden: readGolden(values.golden) }),
    ...(seed !== undefined && { seed }),
    ...(runs !== undefined && { runs }),
  };
  const target = typeof exported === 'function' ? await exported(options) : exported;
  if (!('run' in target)) return check(target, here(new Session(target, options)), values);
  try {
    return await check(target, target, values);
  } finally {
    await target.close();
  }
}

/** Checks of a session in this process, found by what names them. */
const here = (session: Session) => ({
  seed: session.seed,
  checks: session.checks,
  run: ({ id }: { id: string }) => session.run(session.checks.find((one) => one.id === id)!),
});

async function check(
  target: Found,
  session: Pick<SessionElsewhere, 'seed' | 'checks' | 'run'>,
  values: ReturnType<typeof parse>,
): Promise<number> {
  const checks = session.checks.filter(({ id }) => id.includes(values.only ?? ''));
  if (checks.length === 0) throw new UsageError(`--only '${values.only}' leaves no check`);
  console.log(`${target.name} (${target.dtype}), seed ${session.seed}`);
  const results: Result[] = [];
  for (const [tier, title] of Object.entries(tiers)) {
    const ofTier = checks.filter((check) => check.tier === Number(tier));
    if (ofTier.length > 0) console.log(`\n${tier}. ${title}`);
    const notRun: Result[] = [];
    for (const check of ofTier) {
      const result = await session.run(check);
      results.push(result);
      if (result.message.startsWith('not run')) notRun.push(result);
      else print(result);
    }
    if (notRun.length > 0) console.log(`  – ${notRun.length} checks ${notRun[0]!.message}`);
  }
  const full = report(target.name, results);
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(full, null, 2)}\n`);
  const { passed, failed, skipped } = full.summary;
  console.log(`\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
  return failed > 0 ? 1 : 0;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  console.error(error instanceof UsageError ? error.message : error);
  process.exitCode = 2;
}
