import type { Algebra } from '../update-rule.js';

/** The rule as plain float64 arithmetic: the oracle. */
export const numbers: Algebra<number> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  sqrt: Math.sqrt,
};

/** The arithmetic that the schedule of a group is written in: of scalars, in float64. */
export interface ScalarAlgebra<T> extends Omit<Algebra<T>, 'sqrt' | 'name'> {
  constant(value: number): T;
  pow(base: T, exponent: T): T;
  min(a: T, b: T): T;
  max(a: T, b: T): T;
}

export const scalarNumbers: ScalarAlgebra<number> = {
  ...numbers,
  constant: (value) => value,
  pow: Math.pow,
  min: Math.min,
  max: Math.max,
};
