import type { StepGroup } from './backend.js';
import type { GroupHyperparameters } from './hyperparameters.js';
import { type ScalarAlgebra, scalarNumbers } from './interpreters/numbers.js';
import type { Scalars } from './schedule.js';
import { averagingWeight, stepSize } from './schedule-over.js';

/** What the elementwise rule needs to know of a step, beyond its tensors. */
export interface Coefficients<N = number> {
  /** γ after warmup. */
  readonly stepSize: N;
  /** c, the share of the new z in the average x, and 1 − c. */
  readonly average: N;
  readonly keepAverage: N;
  /** β and 1 − β of Schedule-Free. */
  readonly momentum: N;
  readonly oneMinusMomentum: N;
  /** 1 − β(1 − c): how far y moves with z. */
  readonly follow: N;
  /** Adan's decay rates and their complements. */
  readonly beta1: N;
  readonly oneMinusBeta1: N;
  readonly beta2: N;
  readonly oneMinusBeta2: N;
  readonly beta3: N;
  readonly oneMinusBeta3: N;
  /** 1 / (1 − β1^τ), β2 / (1 − β2^τ) and 1 / (1 − β3^τ). */
  readonly scaleM: N;
  readonly scaleV: N;
  readonly scaleN: N;
  /** ε, beside the root of the second moment. */
  readonly epsilon: N;
  /** λ for decay at y, 1 − γλ at z, 1 / (1 + γλ) for prox. */
  readonly decay: N;
}

/** The name of a coefficient. */
export type CoefficientName = keyof Coefficients;

/**
 * The coefficients of a group's step, this step counted in: averaging weight, bias corrections, decay.
 * Over some arithmetic of scalars; the learning rate comes apart, as in `advanceOver`.
 */
export function coefficientsOver<T>(
  algebra: ScalarAlgebra<T>,
  scalars: Scalars<T>,
  h: GroupHyperparameters,
  learningRate: T | number,
): Coefficients<T | number> {
  const { add, sub, mul, div, pow, max } = algebra;
  const gamma = stepSize(algebra, scalars.step, learningRate, h);
  // Without any weight so far the new z has no share either: 0 / tiny.
  const weightSum = max(scalars.weightSum, Number.MIN_VALUE);
  const average = div(averagingWeight(algebra, scalars, h), weightSum);
  const keepAverage = sub(1, average);
  const [beta1, beta2, beta3] = h.betas;
  const correction = (beta: number) => sub(1, pow(beta, scalars.momentStep));
  const shrink = mul(gamma, h.weightDecay);
  return {
    stepSize: gamma,
    average,
    keepAverage,
    momentum: h.momentum,
    oneMinusMomentum: 1 - h.momentum,
    follow: sub(1, mul(h.momentum, keepAverage)),
    beta1,
    oneMinusBeta1: 1 - beta1,
    beta2,
    oneMinusBeta2: 1 - beta2,
    beta3,
    oneMinusBeta3: 1 - beta3,
    scaleM: div(1, correction(beta1)),
    scaleV: div(beta2, correction(beta2)),
    scaleN: div(1, correction(beta3)),
    epsilon: h.epsilon,
    decay:
      h.decay === 'y' ? h.weightDecay : h.decay === 'z' ? sub(1, shrink) : div(1, add(1, shrink)),
  };
}

/** The same in numbers. */
export const coefficients = ({ scalars, hyperparameters: h }: StepGroup): Coefficients =>
  coefficientsOver(scalarNumbers, scalars, h, h.learningRate);
