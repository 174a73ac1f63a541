import type { GroupHyperparameters } from './hyperparameters.js';

/** The scalar state of a parameter group. Float64, on the host. */
export interface Scalars {
  /** Steps taken, t. */
  readonly step: number;
  /** Steps since the moments were last reset, τ. */
  readonly momentStep: number;
  /** Sum of the averaging weights, W. */
  readonly weightSum: number;
  /** Largest learning rate so far, γmax. */
  readonly learningRateMax: number;
}

export const initialScalars: Scalars = {
  step: 0,
  momentStep: 0,
  weightSum: 0,
  learningRateMax: 0,
};

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

/**
 * One step of the scalar state machine: warmup, averaging weight, bias corrections.
 * γ = lr·min(1, t/warmup), w = t^r·γmax^p, c = w/W (arXiv 2405.15682, algorithm 1).
 */
export function advance(
  scalars: Scalars,
  h: GroupHyperparameters,
): { readonly scalars: Scalars; readonly coefficients: Coefficients } {
  const step = scalars.step + 1;
  const momentStep = scalars.momentStep + 1;
  const stepSize = h.learningRate * Math.min(1, step / Math.max(1, h.warmupSteps));
  const learningRateMax = Math.max(scalars.learningRateMax, stepSize);
  const weight = step ** h.r * learningRateMax ** h.weightLrPower;
  const weightSum = scalars.weightSum + weight;
  const average = weightSum > 0 ? weight / weightSum : 0;
  const [beta1, beta2, beta3] = h.betas;
  const shrink = stepSize * h.weightDecay;
  return {
    scalars: { step, momentStep, weightSum, learningRateMax },
    coefficients: {
      stepSize,
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
    },
  };
}
