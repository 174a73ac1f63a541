import type { StepGroup } from './backend.js';
import { averagingWeight, stepSize } from './schedule.js';

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
  readonly epsilon: N;
  /** λ for decay at y, 1 − γλ at z, 1 / (1 + γλ) for prox. */
  readonly decay: N;
}

export type CoefficientName = keyof Coefficients;

/** The coefficients of a group's step: averaging weight, bias corrections, decay. */
export function coefficients({ scalars, hyperparameters: h }: StepGroup): Coefficients {
  const { step, momentStep, weightSum } = scalars;
  const gamma = stepSize(step, h);
  const average = weightSum > 0 ? averagingWeight(scalars, h) / weightSum : 0;
  const [beta1, beta2, beta3] = h.betas;
  const shrink = gamma * h.weightDecay;
  return {
    stepSize: gamma,
    average,
    keepAverage: 1 - average,
    momentum: h.momentum,
    oneMinusMomentum: 1 - h.momentum,
    follow: 1 - h.momentum * (1 - average),
    beta1,
    oneMinusBeta1: 1 - beta1,
    beta2,
    oneMinusBeta2: 1 - beta2,
    beta3,
    oneMinusBeta3: 1 - beta3,
    scaleM: 1 / (1 - beta1 ** momentStep),
    scaleV: beta2 / (1 - beta2 ** momentStep),
    scaleN: 1 / (1 - beta3 ** momentStep),
    epsilon: h.epsilon,
    decay: h.decay === 'y' ? h.weightDecay : h.decay === 'z' ? 1 - shrink : 1 / (1 + shrink),
  };
}
