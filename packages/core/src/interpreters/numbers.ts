import type { Algebra } from '../update-rule.js';

/** The rule as plain float64 arithmetic: the oracle. */
export const numbers: Algebra<number> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  sqrt: Math.sqrt,
};
