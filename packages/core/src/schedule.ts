import type { GroupHyperparameters } from './hyperparameters.js';
import { type ScalarAlgebra, scalarNumbers } from './interpreters/numbers.js';

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

export const initialScalars: Scalars = {
  step: 0,
  momentStep: 0,
  weightSum: 0,
  learningRateMax: 0,
};

/** w = t^r·γmax^p, the weight of this step's z in the average x (arXiv 2405.15682, eq. 23). */
export const averagingWeight = <T>(
  { constant, mul, pow }: ScalarAlgebra<T>,
  { step, learningRateMax }: Pick<Scalars<T>, 'step' | 'learningRateMax'>,
  { r, weightLrPower }: GroupHyperparameters,
): T => mul(pow(step, constant(r)), pow(learningRateMax, constant(weightLrPower)));

/** γ = lr·min(1, t/warmupSteps): the warmup scales the step itself. */
export const stepSize = <T>(
  { constant, mul, div, min }: ScalarAlgebra<T>,
  step: T,
  learningRate: T,
  { warmupSteps }: GroupHyperparameters,
): T => mul(learningRate, min(constant(1), div(step, constant(Math.max(1, warmupSteps)))));

/**
 * One step of the scalar state machine, over some arithmetic of scalars. The learning rate comes apart,
 * since it may change from step to step.
 */
export function advanceOver<T>(
  algebra: ScalarAlgebra<T>,
  scalars: Scalars<T>,
  h: GroupHyperparameters,
  learningRate: T,
): Scalars<T> {
  const { constant, add, max } = algebra;
  const step = add(scalars.step, constant(1));
  const gamma = stepSize(algebra, step, learningRate, h);
  const learningRateMax = max(scalars.learningRateMax, gamma);
  return {
    step,
    momentStep: add(scalars.momentStep, constant(1)),
    weightSum: add(scalars.weightSum, averagingWeight(algebra, { step, learningRateMax }, h)),
    learningRateMax,
  };
}

/** The same in numbers. */
export const advance = (scalars: Scalars, h: GroupHyperparameters): Scalars =>
  advanceOver(scalarNumbers, scalars, h, h.learningRate);
