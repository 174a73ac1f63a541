/** Helpers for training loops, importable apart from the optimizer. */
import { OptionError } from '@schedule-free-adan/core';
import * as tf from '@tensorflow/tfjs-core';
import type { ScheduleFreeAdanOptimizer } from './optimizer.js';

function positive(name: string, value: number): number {
  if (Number.isFinite(value) && value > 0) return value;
  throw new OptionError(
    'invalid-option',
    `${name} is ${value}; give a finite number > 0.`,
    name,
    value,
  );
}

/**
 * Adds up gradients over several small batches, and takes one step with their mean: clipping sees the
 * large batch, not its parts. Every gradient is taken at the same y.
 */
export class GradientAccumulator {
  readonly #optimizer: ScheduleFreeAdanOptimizer;
  #sums = new Map<string, tf.Tensor>();
  #count = 0;

  constructor(optimizer: ScheduleFreeAdanOptimizer) {
    this.#optimizer = optimizer;
  }

  /** Batches since the last step. */
  get count(): number {
    return this.#count;
  }

  /** Adds the gradients of a loss, and returns its value, which becomes the caller's. */
  add(loss: () => tf.Scalar, variables?: tf.Variable[]): tf.Scalar {
    const { value, grads } = this.#optimizer.computeGradients(loss, variables);
    for (const [name, gradient] of Object.entries(grads)) {
      if (gradient == null) continue;
      const sum = this.#sums.get(name);
      this.#sums.set(name, sum ? tf.keep(tf.add(sum, gradient)) : tf.keep(tf.clone(gradient)));
      sum?.dispose();
      gradient.dispose();
    }
    this.#count++;
    return value;
  }

  /** One step with the mean of what was added. Without any, none. */
  step(): void {
    if (this.#count === 0) return;
    tf.tidy(() => {
      const means = [...this.#sums].map(([name, sum]) => [name, tf.div(sum, this.#count)] as const);
      this.#optimizer.applyGradients(Object.fromEntries(means));
    });
    this.dispose();
  }

  /** Forgets what was added. */
  dispose(): void {
    tf.dispose([...this.#sums.values()]);
    this.#sums = new Map();
    this.#count = 0;
  }
}

/** Of a {@link LossScale}. */
export interface LossScaleOptions {
  /** The first factor on the loss. > 0, default 1024. */
  readonly scale?: number;
  /** After so many good steps the scale doubles. Default 1000. */
  readonly growEvery?: number;
}

/**
 * Multiplies the loss, so that small gradients survive low precision, and divides the gradients before
 * they are clipped. A step that overflows is skipped by the optimizer, and {@link update} halves the
 * scale.
 */
export class LossScale {
  readonly #optimizer: ScheduleFreeAdanOptimizer;
  readonly #growEvery: number;
  #scale: number;
  #good = 0;
  #taken = 0;
  #skipped: number | undefined;

  constructor(
    optimizer: ScheduleFreeAdanOptimizer,
    { scale = 1024, growEvery = 1000 }: LossScaleOptions = {},
  ) {
    this.#optimizer = optimizer;
    this.#scale = positive('scale', scale);
    this.#growEvery = positive('growEvery', growEvery);
  }

  /** The factor on the loss just now. */
  get scale(): number {
    return this.#scale;
  }

  /** One step; returns the loss as it is without the scale, which becomes the caller's. */
  minimize(loss: () => tf.Scalar, variables?: tf.Variable[]): tf.Scalar {
    return tf.tidy(() => {
      const { value, grads } = this.#optimizer.computeGradients(
        () => tf.mul(loss(), this.#scale),
        variables,
      );
      const unscaled = Object.entries(grads).flatMap(([name, gradient]) =>
        gradient == null ? [] : [[name, tf.div(gradient, this.#scale)] as const],
      );
      this.#optimizer.applyGradients(Object.fromEntries(unscaled));
      this.#taken++;
      return tf.div(value, this.#scale) as tf.Scalar;
    });
  }

  /** Adapts the scale to the steps since the last call. It reads from the device: not every step. */
  async update(): Promise<void> {
    const { skippedSteps } = await this.#optimizer.metrics();
    const skipped = skippedSteps - (this.#skipped ?? 0);
    this.#skipped = skippedSteps;
    if (skipped > 0) {
      this.#scale /= 2;
      this.#good = 0;
    } else {
      this.#good += this.#taken;
      if (this.#good >= this.#growEvery) {
        this.#scale *= 2;
        this.#good = 0;
      }
    }
    this.#taken = 0;
  }
}

interface LayerLike {
  getClassName(): string;
  readonly layers?: readonly LayerLike[];
}

/** A LayersModel, as far as these helpers know it. */
export interface ModelLike {
  readonly layers: readonly LayerLike[];
  stopTraining?: boolean;
  apply(inputs: tf.Tensor | tf.Tensor[], options?: { training: boolean }): unknown;
  getWeights(): tf.Tensor[];
  setWeights(weights: tf.Tensor[]): void;
}

const batchNormalizations = (layers: readonly LayerLike[]): { momentum: number }[] =>
  layers.flatMap((layer) =>
    layer.getClassName() === 'BatchNormalization'
      ? [layer as unknown as { momentum: number }]
      : batchNormalizations(layer.layers ?? []),
  );

/**
 * Sets the moving statistics of BatchNormalization to their mean over `batches` of inputs, with the
 * variables as they are. Training leaves those of y, while a model is evaluated at x: call this before
 * you evaluate or save. One forward pass a batch; the batches stay the caller's. Returns how many.
 */
export async function recalibrateBatchNormalization(
  model: ModelLike,
  batches: Iterable<tf.Tensor | tf.Tensor[]> | AsyncIterable<tf.Tensor | tf.Tensor[]>,
): Promise<number> {
  const layers = batchNormalizations(model.layers);
  const before = layers.map(({ momentum }) => momentum);
  let count = 0;
  try {
    for await (const batch of batches) {
      for (const layer of layers) layer.momentum = count / (count + 1);
      tf.tidy(() => {
        model.apply(batch, { training: true });
      });
      count++;
    }
  } finally {
    for (const [i, layer] of layers.entries()) layer.momentum = before[i]!;
  }
  return count;
}

/** Of {@link earlyStoppingWithBestWeights}. */
export interface BestWeightsOptions {
  /** Of the logs of an epoch; smaller is better. Default `'val_loss'`. */
  readonly monitor?: string;
  /** Epochs without improvement before training stops. Default 0: the first one. */
  readonly patience?: number;
  /** What counts as an improvement. Default 0. */
  readonly minDelta?: number;
}

/**
 * Early stopping that puts the best weights back, which tfjs' own does not: callbacks for `model.fit`.
 * Between steps the weights are x, and the optimizer notices that they were written.
 */
export function earlyStoppingWithBestWeights(
  model: ModelLike,
  { monitor = 'val_loss', patience = 0, minDelta = 0 }: BestWeightsOptions = {},
) {
  let best = Number.POSITIVE_INFINITY;
  let weights: tf.Tensor[] = [];
  let bad = 0;
  return {
    async onEpochEnd(_epoch: number, logs?: Readonly<Record<string, number>>): Promise<void> {
      const value = logs?.[monitor];
      if (value === undefined) {
        throw new OptionError(
          'invalid-option',
          `monitor is '${monitor}'; there is ${Object.keys(logs ?? {}).join(', ')}.`,
          'monitor',
          monitor,
        );
      }
      if (value < best - minDelta) {
        best = value;
        bad = 0;
        tf.dispose(weights);
        weights = model.getWeights().map((weight) => tf.keep(tf.clone(weight)));
      } else if (++bad > patience) model.stopTraining = true;
    },
    async onTrainEnd(): Promise<void> {
      if (weights.length > 0) model.setWeights(weights);
      tf.dispose(weights);
      weights = [];
    },
  };
}
