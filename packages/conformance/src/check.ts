import type { Dtype, ErrorCode, FloatArray } from '@schedule-free-adan/core';
import type { GoldenFile } from './golden/format.js';
import type { Subject, SubjectSpec, Target } from './target.js';
import { hex, worstError } from './ulps.js';

/** The tiers in their order: number and title. A failed one ends the run for those after it. */
export const tiers = {
  1: 'memory',
  2: 'primitives',
  3: 'one step',
  4: 'golden trajectories',
  5: 'laws',
  6: 'lifecycle',
  7: 'checkpoints',
  8: 'bad input',
} as const;
/** The number of a tier. */
export type Tier = keyof typeof tiers;

/** One statement about a target's behaviour. Its id is stable: manifests name it. */
export interface Check {
  readonly id: string;
  readonly tier: Tier;
  /** @throws CheckFailure, or whatever the target throws, where the statement does not hold */
  run(context: Context): Promise<void>;
}

/** A check that did not hold. */
export class CheckFailure extends Error {
  override name = 'CheckFailure';
}

export function fail(message: string): never {
  throw new CheckFailure(message);
}

export function ensure(condition: boolean, message: string): asserts condition {
  if (!condition) fail(message);
}

/** What a check works with, and where it leaves its largest error. */
export class Context {
  /** Largest error seen so far, in ulps at scale; null when nothing was measured. */
  worstUlp: number | null = null;
  readonly #subjects: Subject[] = [];

  constructor(
    readonly target: Target,
    readonly golden: GoldenFile,
    readonly seed: number,
    readonly runs: number,
  ) {}

  get dtype(): Dtype {
    return this.target.dtype;
  }

  /** A subject that is disposed after the check. */
  async create(spec: SubjectSpec, target = this.target): Promise<Subject> {
    const subject = await target.create(spec);
    this.#subjects.push(subject);
    return subject;
  }

  async createComposed(spec: SubjectSpec): Promise<Subject> {
    const subject = await this.target.composed!(spec);
    this.#subjects.push(subject);
    return subject;
  }

  cleanUp(): void {
    for (const subject of this.#subjects.splice(0)) subject.dispose();
  }

  /** Fails unless `actual` is within `ulps` of `expected`; remembers the worst. */
  compare(
    what: string,
    actual: FloatArray | undefined,
    expected: ArrayLike<number>,
    { ulps, scale, dtype = this.dtype }: { ulps: number; scale: number; dtype?: Dtype },
  ): void {
    if (actual?.length !== expected.length) {
      fail(`${what}: ${actual?.length ?? 'no'} values, expected ${expected.length}`);
    }
    const worst = worstError(actual, expected, scale, dtype);
    this.worstUlp = Math.max(this.worstUlp ?? 0, worst.ulps);
    if (worst.ulps <= ulps) return;
    const [a, b] = [actual[worst.index]!, expected[worst.index]!];
    fail(
      `${what}[${worst.index}] is ${a} (${hex(a, dtype)}), expected ${b} (${hex(b, dtype)}): ` +
        `${worst.ulps.toPrecision(3)} ulp, allowed ${ulps}`,
    );
  }
}

/** Runs `action`, which must throw an error with this code that names `subject`. */
export async function expectError(
  action: () => unknown,
  code: ErrorCode,
  subject?: string,
): Promise<void> {
  let error: unknown;
  try {
    await action();
  } catch (caught) {
    error = caught;
  }
  const found = error as { code?: unknown; message?: string; name?: string } | undefined;
  ensure(found !== undefined, `no error was thrown; expected one with code '${code}'`);
  ensure(
    found.code === code,
    `the error has code '${found.code}', expected '${code}' (${found.name}: ${found.message})`,
  );
  ensure(
    subject === undefined || found.message?.includes(subject) === true,
    `the message does not name '${subject}': ${found.message}`,
  );
}
