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

/** w = t^r·γmax^p, the weight of this step's z in the average x (arXiv 2405.15682, eq. 23). */
export const averagingWeight = (
  { step, learningRateMax }: Pick<Scalars, 'step' | 'learningRateMax'>,
  { r, weightLrPower }: GroupHyperparameters,
): number => step ** r * learningRateMax ** weightLrPower;

/** γ = lr·min(1, t/warmupSteps): the warmup scales the step itself. */
export const stepSize = (
  step: number,
  { learningRate, warmupSteps }: GroupHyperparameters,
): number => learningRate * Math.min(1, step / Math.max(1, warmupSteps));

/** One step of the scalar state machine. */
export function advance(scalars: Scalars, h: GroupHyperparameters): Scalars {
  const step = scalars.step + 1;
  const learningRateMax = Math.max(scalars.learningRateMax, stepSize(step, h));
  return {
    step,
    momentStep: scalars.momentStep + 1,
    weightSum: scalars.weightSum + averagingWeight({ step, learningRateMax }, h),
    learningRateMax,
  };
}
