import type { Dtype, FloatArray } from '@schedule-free-adan/core';

const formats = { float32: { bits: 23, min: -126 }, float64: { bits: 52, min: -1022 } };

/** Distance between neighbouring numbers of `dtype` at the magnitude of `value`. */
export function ulp(value: number, dtype: Dtype): number {
  const { bits, min } = formats[dtype];
  const magnitude = Math.abs(value);
  let exponent = magnitude > 0 ? Math.floor(Math.log2(magnitude)) : min;
  if (2 ** exponent > magnitude) exponent--;
  return 2 ** (Math.max(exponent, min) - bits);
}

/**
 * Error budget after `steps` steps, in ulps at scale: 4, 16, 64 and 1024 after 1, 10, 100 and 1,000
 * (a float32 emulation against float64 measured 0.5, 6, 16 and 270).
 */
export function budget(steps: number): number {
  if (steps <= 1) return 4;
  if (steps <= 10) return 16;
  return steps <= 100 ? 64 : 1024;
}

export const largest = (values: ArrayLike<number>): number => {
  let max = 0;
  for (let i = 0; i < values.length; i++) max = Math.max(max, Math.abs(values[i]!));
  return max;
};

export interface WorstError {
  readonly ulps: number;
  readonly index: number;
}

/** The largest |a − b| in ulps at max(|b|, scale of the tensor). */
export function worstError(
  actual: FloatArray,
  expected: ArrayLike<number>,
  scale: number,
  dtype: Dtype,
): WorstError {
  let worst: WorstError = { ulps: 0, index: 0 };
  for (let index = 0; index < expected.length; index++) {
    const [a, b] = [actual[index]!, expected[index]!];
    if (a === b) continue;
    const ulps = Math.abs(a - b) / ulp(Math.max(Math.abs(b), scale), dtype);
    if (!(ulps <= worst.ulps)) worst = { ulps: Number.isNaN(ulps) ? Infinity : ulps, index };
  }
  return worst;
}

/** The bits of a number, for a message about numbers that print alike. */
export function hex(value: number, dtype: Dtype): string {
  const view = new DataView(new ArrayBuffer(8));
  if (dtype === 'float64') view.setFloat64(0, value);
  else view.setFloat32(0, value);
  const digits = view.getBigUint64(0).toString(16).padStart(16, '0');
  return `0x${dtype === 'float64' ? digits : digits.slice(0, 8)}`;
}

export function sameBits(a: FloatArray, b: FloatArray): boolean {
  return a.length === b.length && a.every((value, i) => Object.is(value, b[i]));
}
