import {
  advance,
  advanceOver,
  initialScalars,
  resolveHyperparameters,
  scalarNumbers,
} from '@schedule-free-adan/core/rule';
import fc from 'fast-check';
import { expect, test } from 'vitest';

test('the schedule in numbers is the schedule over any arithmetic', () => {
  const options = fc.record({
    learningRate: fc.double({ min: 0, max: 1, noNaN: true }),
    warmupSteps: fc.nat(20),
    r: fc.constantFrom(0, 0.5, 1, 3),
    weightLrPower: fc.constantFrom(0, 1, 2),
  });
  fc.assert(
    fc.property(options, fc.integer({ min: 1, max: 30 }), (given, steps) => {
      const h = resolveHyperparameters(given);
      let [a, b] = [initialScalars, initialScalars];
      for (let i = 0; i < steps; i++) {
        a = advance(a, h);
        b = advanceOver(scalarNumbers, b, h, h.learningRate);
        expect(b).toEqual(a);
      }
    }),
    { seed: 1 },
  );
});
