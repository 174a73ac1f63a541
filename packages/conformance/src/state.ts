import type { Dtype, FloatArray } from '@schedule-free-adan/core';
import { decodeCheckpoint, type StoredKey } from '@schedule-free-adan/core/checkpoints';
import { type Context, ensure } from './check.js';
import type { Subject } from './target.js';
import { budget, largest, sameBits } from './ulps.js';

/** Everything a subject holds, by parameter name. x and y as evaluated, the rest as saved. */
export type Snapshot = ReadonlyMap<string, { readonly [K in StoredKey]?: FloatArray }>;

export async function snapshot(subject: Subject): Promise<Snapshot> {
  const [x, y] = [await subject.evalParameters(), await subject.trainParameters()];
  const { tensors } = decodeCheckpoint(await subject.save());
  return new Map(
    [...tensors].map(([name, stored]) => {
      const rest = Object.entries(stored).map(([key, tensor]) => [key, tensor.data]);
      return [name, { ...Object.fromEntries(rest), x: x[name], y: y[name] }];
    }),
  );
}

/** The largest magnitude that a tensor has had, which its rounding errors are measured against. */
export class Scales {
  readonly #seen = new Map<string, number>();
  update(tensor: string, values: ArrayLike<number>): number {
    const scale = Math.max(this.#seen.get(tensor) ?? 0, largest(values));
    this.#seen.set(tensor, scale);
    return scale;
  }
}

/** Compares two snapshots in ulps at scale; `expected` is the oracle's. */
export function compareSnapshots(
  context: Context,
  actual: Snapshot,
  expected: Snapshot,
  {
    step,
    scales,
    factor = 1,
    dtype = context.dtype,
  }: { step: number; scales: Scales; factor?: number; dtype?: Dtype },
): void {
  for (const [name, tensors] of expected) {
    const found = actual.get(name);
    ensure(found !== undefined, `'${name}' is missing from the state`);
    const entries = Object.entries(tensors) as [StoredKey, FloatArray][];
    for (const [key, values] of entries) scales.update(scaleOf(name, key), values);
    for (const [key, values] of entries) {
      const what = `${name}.${key} after step ${step}`;
      const scale = scales.update(scaleOf(name, key), []);
      const ulps = factor * budget(step) * (isPoint(key) ? 1 : MOMENTS);
      context.compare(what, found[key], values, { ulps, scale, dtype });
    }
  }
}

export const isPoint = (key: string): boolean => !['m', 'v', 'n', 'g', 'seen'].includes(key);

/** Moments see the error of the clip factor in full, and n twice; x, y and z see next to nothing. */
export const MOMENTS = 4;

/**
 * Tensors that are sums and differences of each other share their scale: x, y and z; the gradient and
 * its moments m and v, where a difference may be nothing but what rounding left of the gradients.
 */
export const scaleOf = (name: string, key: string): string =>
  isPoint(key) ? name : `${name}.${key === 'n' ? 'n' : 'gradient'}`;

/** Fails unless two checkpoints are the same to the byte. */
export function ensureSameState(before: Uint8Array, after: Uint8Array, when: string): void {
  if (before.length === after.length && before.every((byte, i) => byte === after[i])) return;
  const [a, b] = [decodeCheckpoint(before), decodeCheckpoint(after)];
  for (const [name, stored] of a.tensors) {
    for (const [key, tensor] of Object.entries(stored)) {
      const other = b.tensors.get(name)?.[key as StoredKey];
      ensure(
        other !== undefined && sameBits(tensor.data, other.data),
        `${name}.${key} changed ${when}`,
      );
    }
  }
  const scalars = (state: typeof a) => JSON.stringify([state.groups, state.skippedSteps]);
  ensure(false, `the scalar state changed ${when}: ${scalars(a)} became ${scalars(b)}`);
}
