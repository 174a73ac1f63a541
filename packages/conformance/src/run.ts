import { type Check, CheckFailure, Context, type Tier } from './check.js';
import { badInputChecks } from './checks/bad-input.js';
import { checkpointChecks, crossingChecks } from './checks/checkpoints.js';
import { goldenChecks } from './checks/golden.js';
import { lawChecks } from './checks/laws.js';
import { lifecycleChecks } from './checks/lifecycle.js';
import { memoryChecks, needsBackend } from './checks/memory.js';
import { oneStepChecks } from './checks/one-step.js';
import { primitiveChecks } from './checks/primitives.js';
import type { GoldenFile } from './golden/format.js';
import { golden as builtIn } from './golden/index.js';
import { referenceTarget } from './reference-target.js';
import type { Target } from './target.js';

/** What came of a check. */
export interface Result {
  readonly id: string;
  readonly tier: Tier;
  readonly status: 'passed' | 'failed' | 'skipped';
  /** Largest error in ulps at scale; null when the check measures none, or did not run. */
  readonly worstUlp: number | null;
  /** Why it failed or was skipped; empty when passed. */
  readonly message: string;
}

/** What came of all checks. */
export interface Report {
  /** The target's name. */
  readonly subject: string;
  readonly results: readonly Result[];
  readonly summary: { readonly passed: number; readonly failed: number; readonly skipped: number };
}

/** How thoroughly to check, and against what. */
export interface RunOptions {
  /** Trajectories in place of the built-in ones. */
  readonly golden?: GoldenFile;
  /** Of every random sample. Default 20240524. */
  readonly seed?: number;
  /** Random runs for each law. Default 15. */
  readonly runs?: number;
  /** Targets that checkpoints move to and come back from. Default: the reference alone. */
  readonly peers?: readonly Target[];
}

/** A session whose checks run somewhere else: in a page of a browser, say. */
export interface SessionElsewhere extends Pick<Target, 'name' | 'dtype'> {
  readonly seed: number;
  readonly checks: readonly Pick<Check, 'id' | 'tier'>[];
  run(check: Pick<Check, 'id' | 'tier'>): Promise<Result>;
  close(): Promise<void>;
}

/** All checks for a target, in the order in which they run. */
export function checksFor(
  target: Target,
  golden: GoldenFile = builtIn,
  peers: readonly Target[] = [referenceTarget],
): Check[] {
  return [
    ...memoryChecks.filter(({ id }) => target.backend || !needsBackend.has(id)),
    ...(target.backend ? primitiveChecks : []),
    ...oneStepChecks.filter(({ id }) => target.composed || id !== 'step/fused-equals-composed'),
    ...goldenChecks(golden),
    ...lawChecks,
    ...lifecycleChecks,
    ...checkpointChecks,
    ...peers.flatMap(crossingChecks),
    ...badInputChecks,
  ];
}

/** One run over a target: remembers which tier failed, since that ends the run for the next ones. */
export class Session {
  readonly seed: number;
  readonly checks: readonly Check[];
  #failedTier: Tier | undefined;
  readonly #golden: GoldenFile;
  readonly #runs: number;

  constructor(
    readonly target: Target,
    { golden = builtIn, seed = 20240524, runs = 15, peers }: RunOptions = {},
  ) {
    this.seed = seed;
    this.#golden = golden;
    this.#runs = runs;
    this.checks = checksFor(target, golden, peers);
    const ids = new Set(this.checks.map(({ id }) => id));
    for (const id of Object.keys({ ...target.unsupported, ...target.knownFailures })) {
      if (!ids.has(id))
        throw new Error(`The target '${target.name}' names '${id}', which is not a check.`);
    }
  }

  async run(check: Check): Promise<Result> {
    const { id, tier } = check;
    const { target } = this;
    const result = (
      status: Result['status'],
      message = '',
      worstUlp: number | null = null,
    ): Result => ({
      id,
      tier,
      status,
      worstUlp,
      message,
    });
    if (this.#failedTier !== undefined && this.#failedTier < tier) {
      return result('skipped', `not run: tier ${this.#failedTier} failed`);
    }
    const unsupported = target.unsupported?.[id];
    if (unsupported !== undefined) return result('skipped', `unsupported: ${unsupported}`);

    const context = new Context(target, this.#golden, this.seed, this.#runs);
    let error: unknown;
    try {
      await check.run(context);
      context.cleanUp();
    } catch (caught) {
      error = caught ?? new CheckFailure('the check threw undefined');
      try {
        context.cleanUp();
      } catch {
        // What the check itself threw is the better message.
      }
    }
    const known = target.knownFailures?.[id];
    if (known !== undefined) {
      return error === undefined
        ? this.#failed(result('failed', `passes, but is a known failure (${known}): remove it`))
        : result('skipped', `known failure: ${known}`, context.worstUlp);
    }
    if (error === undefined) return result('passed', '', context.worstUlp);
    const message = messageOf(error);
    const replay = `replay: --subject ${target.name} --seed ${this.seed} --only ${id}`;
    return this.#failed(result('failed', `${message} (${replay})`, context.worstUlp));
  }

  #failed(result: Result): Result {
    this.#failedTier = Math.min(this.#failedTier ?? result.tier, result.tier) as Tier;
    return result;
  }
}

/** Runs every check, yielding results as they come. Needs no test runner. */
export async function* runChecks(target: Target, options?: RunOptions): AsyncGenerator<Result> {
  const session = new Session(target, options);
  for (const check of session.checks) yield session.run(check);
}

/** Runs every check. */
export async function conformance(target: Target, options?: RunOptions): Promise<Report> {
  const results: Result[] = [];
  for await (const result of runChecks(target, options)) results.push(result);
  return report(target.name, results);
}

/** Results with their sum. */
export function report(subject: string, results: readonly Result[]): Report {
  const count = (status: Result['status']) => results.filter((r) => r.status === status).length;
  return {
    subject,
    results,
    summary: { passed: count('passed'), failed: count('failed'), skipped: count('skipped') },
  };
}

/** A property's failure holds what went wrong in its cause, and the smallest run in its message. */
function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const lines = error.message.split('\n').filter((line) => line && !line.startsWith('Hint:'));
  return error.cause === undefined
    ? error.message
    : `${messageOf(error.cause)} – ${lines.join(' ')}`;
}
