import type { GroupHyperparameters } from './hyperparameters.js';

/** The scalar state of a parameter group. Float64, on the host or in a graph. */
export interface Scalars<T = number> {
  /** Steps taken, t. */
  readonly step: T;
  /** Steps since the moments were last reset, τ. */
  readonly momentStep: T;
  /** Sum of the averaging weights, W. */
  readonly weightSum: T;
  /** Largest learning rate so far, γmax. */
  readonly learningRateMax: T;
}

/** The scalars before the first step. */
export const initialScalars: Scalars = {
  step: 0,
  momentStep: 0,
  weightSum: 0,
  learningRateMax: 0,
};

/**
 * One step of the scalar state machine: `advanceOver` in numbers, written out, since the core would pay
 * for an arithmetic with bytes. A test holds the two together.
 */
export function advance(scalars: Scalars, h: GroupHyperparameters): Scalars {
  const step = scalars.step + 1;
  const stepSize = h.learningRate * Math.min(1, step / Math.max(1, h.warmupSteps));
  const learningRateMax = Math.max(scalars.learningRateMax, stepSize);
  return {
    step,
    momentStep: scalars.momentStep + 1,
    weightSum: scalars.weightSum + step ** h.r * learningRateMax ** h.weightLrPower,
    learningRateMax,
  };
}
