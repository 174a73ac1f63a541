import { setImmediate } from 'node:timers/promises';
import type * as tf from '@tensorflow/tfjs-core';
import type { Sequential } from '@tensorflow/tfjs-layers';
import { type Digits, readBatch } from './data.js';
import { batchLoss, buildModel, countCorrect, variablesOf } from './model.js';
import { createTrainer, type Trainer } from './optimizers.js';
import { epochOrder } from './random.js';
import { batchesPerEpoch, type ModelName, type OptimizerName } from './settings.js';

/** How many digits are evaluated at a time. */
const evaluationBatch = 1000;

export interface EpochResult {
  readonly epoch: number;
  /** Mean over the epoch's digits, each at the weights of its own step. */
  readonly loss: number;
  readonly accuracyAtX: number;
  readonly accuracyAtY: number;
  /** Spent in training steps; evaluation not counted. */
  readonly seconds: number;
}

/** Where a run is: with the weights and the optimizer's state, all that is needed to go on. */
export interface RunState {
  epochs: EpochResult[];
  /** Steps done in the epoch that is under way. */
  batch: number;
  lossSum: number;
  seconds: number;
  /** Training loss of every step so far. */
  losses: number[];
}

export interface RunOptions {
  readonly model: ModelName;
  readonly optimizer: OptimizerName;
  readonly learningRate: number;
  readonly seed: number;
}

/** One network and its optimizer, on the way through the epochs. */
export interface Run {
  readonly options: RunOptions;
  readonly state: RunState;
  /**
   * Trains to the end of the present epoch and evaluates, or stops after the batch during which
   * `stopped()` became true. Returns whether the epoch was finished; if not, the next call goes on.
   */
  trainEpoch(
    training: Digits,
    test: Digits,
    stopped: () => boolean,
    onBatch: () => void,
  ): Promise<boolean>;
  save(): Promise<Uint8Array>;
  restore(state: RunState, bytes: Uint8Array): Promise<void>;
  dispose(): void;
}

/** A run on a backend of tfjs. */
export class TfjsRun implements Run {
  state: RunState = { epochs: [], batch: 0, lossSum: 0, seconds: 0, losses: [] };
  readonly #model: Sequential;
  readonly #variables: tf.Variable[];
  readonly #trainer: Trainer;

  constructor(readonly options: RunOptions) {
    const { model, optimizer, learningRate, seed } = options;
    this.#model = buildModel[model](optimizer, seed);
    this.#variables = variablesOf(this.#model);
    this.#trainer = createTrainer[optimizer](learningRate, this.#variables);
  }

  async trainEpoch(
    training: Digits,
    test: Digits,
    stopped: () => boolean,
    onBatch: () => void,
  ): Promise<boolean> {
    const { state } = this;
    const epoch = state.epochs.length + 1;
    const batches = batchesPerEpoch({ limit: training.count });
    const order = epochOrder(this.options.seed, epoch, training.count);
    while (state.batch < batches) {
      // Lets a signal in: an event loop that never turns never sees Ctrl-C.
      await setImmediate();
      if (stopped()) return false;
      const start = performance.now();
      const batch = readBatch(training, order, state.batch);
      const loss = this.#step(() => batchLoss(this.#model, batch));
      state.seconds += (performance.now() - start) / 1000;
      state.lossSum += loss * batch.size;
      state.losses.push(loss);
      state.batch++;
      onBatch();
    }
    const accuracyAtX = await this.#accuracy(test, (fn) => fn(), stopped);
    const accuracyAtY =
      this.options.optimizer === 'adam'
        ? accuracyAtX
        : await this.#accuracy(test, (fn) => this.#trainer.atTrainingPoint(fn), stopped);
    if (accuracyAtX === undefined || accuracyAtY === undefined) return false;
    const { lossSum, seconds } = state;
    state.epochs.push({ epoch, loss: lossSum / training.count, accuracyAtX, accuracyAtY, seconds });
    Object.assign(state, { batch: 0, lossSum: 0, seconds: 0 });
    return true;
  }

  #step(lossOf: () => tf.Scalar): number {
    const cost = this.#trainer.optimizer.minimize(lossOf, true, this.#variables)!;
    const loss = cost.dataSync()[0]!;
    cost.dispose();
    return loss;
  }

  /** In pieces, so that Ctrl-C need not wait for all of it; undefined when it came. */
  async #accuracy(
    test: Digits,
    atPoint: (fn: () => number) => number,
    stopped: () => boolean,
  ): Promise<number | undefined> {
    let correct = 0;
    for (let from = 0; from < test.count; from += evaluationBatch) {
      await setImmediate();
      if (stopped()) return undefined;
      correct += atPoint(() => countCorrect(this.#model, test, from, evaluationBatch));
    }
    return correct / test.count;
  }

  save(): Promise<Uint8Array> {
    return this.#trainer.save();
  }

  async restore(state: RunState, bytes: Uint8Array): Promise<void> {
    await this.#trainer.load(bytes);
    this.state = state;
  }

  dispose(): void {
    this.#trainer.optimizer.dispose();
    this.#model.dispose();
  }
}
