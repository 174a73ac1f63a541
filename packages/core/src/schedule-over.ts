import type { GroupHyperparameters } from './hyperparameters.js';
import type { ScalarAlgebra } from './interpreters/numbers.js';
import type { Scalars } from './schedule.js';

/** w = t^r·γmax^p, the weight of this step's z in the average x (arXiv 2405.15682, eq. 23). */
export const averagingWeight = <T>(
  { mul, pow }: ScalarAlgebra<T>,
  { step, learningRateMax }: Pick<Scalars<T>, 'step' | 'learningRateMax'>,
  { r, weightLrPower }: GroupHyperparameters,
): T => mul(pow(step, r), pow(learningRateMax, weightLrPower));

/** γ = lr·min(1, t/warmupSteps): the warmup scales the step itself. */
export const stepSize = <T>(
  { mul, div, min }: ScalarAlgebra<T>,
  step: T,
  learningRate: T | number,
  { warmupSteps }: GroupHyperparameters,
): T => mul(learningRate, min(1, div(step, Math.max(1, warmupSteps))));

/**
 * One step of the scalar state machine, over some arithmetic of scalars. The learning rate comes apart,
 * since it may change from step to step.
 */
export function advanceOver<T>(
  algebra: ScalarAlgebra<T>,
  scalars: Scalars<T>,
  h: GroupHyperparameters,
  learningRate: T | number,
): Scalars<T> {
  const { add, max } = algebra;
  const step = add(scalars.step, 1);
  const gamma = stepSize(algebra, step, learningRate, h);
  const learningRateMax = max(scalars.learningRateMax, gamma);
  return {
    step,
    momentStep: add(scalars.momentStep, 1),
    weightSum: add(scalars.weightSum, averagingWeight(algebra, { step, learningRateMax }, h)),
    learningRateMax,
  };
}
