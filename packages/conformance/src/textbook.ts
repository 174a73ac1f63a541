/**
 * Adan and Schedule-Free AdamW as their papers print them, for one parameter in float64: written
 * without the core, so that the two can disagree.
 */

export interface AdanOptions {
  learningRate: number;
  betas: readonly [number, number, number];
  epsilon: number;
  weightDecay: number;
}

/** Adan, arXiv 2208.06677, algorithm 1, with proximal decay. Returns the parameter after each step. */
export function adan(
  start: ArrayLike<number>,
  gradients: readonly ArrayLike<number>[],
  { learningRate, betas: [b1, b2, b3], epsilon, weightDecay }: AdanOptions,
): Float64Array[] {
  const theta = Float64Array.from(start);
  const [m, v, n] = [0, 1, 2].map(() => new Float64Array(theta.length));
  return gradients.map((g, t) => {
    const previous = t === 0 ? g : gradients[t - 1]!;
    for (let i = 0; i < theta.length; i++) {
      const diff = g[i]! - previous[i]!;
      m![i] = b1 * m![i]! + (1 - b1) * g[i]!;
      v![i] = b2 * v![i]! + (1 - b2) * diff;
      n![i] = b3 * n![i]! + (1 - b3) * (g[i]! + b2 * diff) ** 2;
      const mHat = m![i]! / (1 - b1 ** (t + 1));
      const vHat = v![i]! / (1 - b2 ** (t + 1));
      const nHat = n![i]! / (1 - b3 ** (t + 1));
      const step = (learningRate * (mHat + b2 * vHat)) / (Math.sqrt(nHat) + epsilon);
      theta[i] = (theta[i]! - step) / (1 + learningRate * weightDecay);
    }
    return theta.slice();
  });
}

export interface ScheduleFreeAdamWOptions {
  learningRate: number;
  momentum: number;
  beta2: number;
  epsilon: number;
  weightDecay: number;
  warmupSteps: number;
}

/** Schedule-Free AdamW, arXiv 2405.15682, algorithm 1. Returns x, y and z after each step. */
export function scheduleFreeAdamW(
  start: ArrayLike<number>,
  gradients: readonly ArrayLike<number>[],
  { learningRate, momentum, beta2, epsilon, weightDecay, warmupSteps }: ScheduleFreeAdamWOptions,
): { x: Float64Array; y: Float64Array; z: Float64Array }[] {
  const [x, y, z] = [0, 1, 2].map(() => Float64Array.from(start)) as [
    Float64Array,
    Float64Array,
    Float64Array,
  ];
  const second = new Float64Array(x.length);
  let sum = 0;
  return gradients.map((g, k) => {
    const t = k + 1;
    const rate = learningRate * Math.min(1, t / Math.max(1, warmupSteps));
    sum += rate ** 2;
    const c = rate ** 2 / sum;
    for (let i = 0; i < x.length; i++) {
      second[i] = beta2 * second[i]! + (1 - beta2) * g[i]! ** 2;
      const direction = g[i]! / (Math.sqrt(second[i]! / (1 - beta2 ** t)) + epsilon);
      z[i] = z[i]! - rate * direction - rate * weightDecay * y[i]!;
      x[i] = (1 - c) * x[i]! + c * z[i]!;
      y[i] = (1 - momentum) * z[i]! + momentum * x[i]!;
    }
    return { x: x.slice(), y: y.slice(), z: z.slice() };
  });
}
