import type { Algebra } from '../update-rule.js';

/** The rule as plain float64 arithmetic: the oracle. */
export const numbers: Algebra<number> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  sqrt: Math.sqrt,
};

type Operation<T> = (a: T | number, b: T | number) => T;

/**
 * The arithmetic that the schedule of a group is written in: of scalars, in float64. A number that is
 * known beforehand stands for itself.
 */
export type ScalarAlgebra<T> = Readonly<
  Record<'add' | 'sub' | 'mul' | 'div' | 'pow' | 'min' | 'max', Operation<T>>
>;

const { pow, min, max } = Math;
export const scalarNumbers: ScalarAlgebra<number> = { ...numbers, pow, min, max };
