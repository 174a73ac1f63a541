import { setImmediate } from 'node:timers/promises';
import type * as tf from '@tensorflow/tfjs-core';
import type { Sequential } from '@tensorflow/tfjs-layers';
import { type Batch, consecutive, type Digits, readBatch } from './batches.js';
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
  /** The trained model as a file, where the backend has such. */
  exportModel?(): Promise<Uint8Array>;
  dispose(): void | Promise<void>;
}

/** The point at which a model is evaluated: the average, or where gradients are taken. */
export type Point = 'x' | 'y';

/** A batch of `size` digits is done. */
export function noteLoss(state: RunState, loss: number, size: number): void {
  state.lossSum += loss * size;
  state.losses.push(loss);
  state.batch++;
}

/** An epoch of `count` digits is done, and tested. */
export function endEpoch(
  state: RunState,
  count: number,
  accuracyAtX: number,
  accuracyAtY: number,
): void {
  const { epochs, lossSum, seconds } = state;
  const epoch = epochs.length + 1;
  epochs.push({ epoch, loss: lossSum / count, accuracyAtX, accuracyAtY, seconds });
  Object.assign(state, { batch: 0, lossSum: 0, seconds: 0 });
}

/** A run whose batches come from the host, one by one. */
export abstract class HostRun implements Run {
  state: RunState = { epochs: [], batch: 0, lossSum: 0, seconds: 0, losses: [] };
  abstract readonly options: RunOptions;

  /** Takes a step, and gives the loss. */
  protected abstract step(batch: Batch): number | Promise<number>;
  /** How many digits of the batch are named correctly. */
  protected abstract countCorrect(batch: Batch, at: Point): number | Promise<number>;
  abstract save(): Promise<Uint8Array>;
  protected abstract load(bytes: Uint8Array): void | Promise<void>;
  abstract dispose(): void | Promise<void>;

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
      const loss = await this.step(batch);
      state.seconds += (performance.now() - start) / 1000;
      noteLoss(state, loss, batch.size);
      onBatch();
    }
    const accuracyAtX = await this.#accuracy(test, 'x', stopped);
    const accuracyAtY =
      this.options.optimizer === 'adam' ? accuracyAtX : await this.#accuracy(test, 'y', stopped);
    if (accuracyAtX === undefined || accuracyAtY === undefined) return false;
    endEpoch(state, training.count, accuracyAtX, accuracyAtY);
    return true;
  }

  /** In pieces, so that Ctrl-C need not wait for all of it; undefined when it came. */
  async #accuracy(test: Digits, at: Point, stopped: () => boolean): Promise<number | undefined> {
    let correct = 0;
    for (let from = 0; from < test.count; from += evaluationBatch) {
      await setImmediate();
      if (stopped()) return undefined;
      correct += await this.countCorrect(consecutive(test, from, evaluationBatch), at);
    }
    return correct / test.count;
  }

  async restore(state: RunState, bytes: Uint8Array): Promise<void> {
    await this.load(bytes);
    this.state = state;
  }
}

/** A run on a backend of tfjs. */
export class TfjsRun extends HostRun {
  readonly #model: Sequential;
  readonly #variables: tf.Variable[];
  readonly #trainer: Trainer;

  constructor(readonly options: RunOptions) {
    super();
    const { model, optimizer, learningRate, seed } = options;
    this.#model = buildModel[model](optimizer, seed);
    this.#variables = variablesOf(this.#model);
    this.#trainer = createTrainer[optimizer](learningRate, this.#variables);
  }

  protected step(batch: Batch): number {
    const lossOf = () => batchLoss(this.#model, batch);
    const cost = this.#trainer.optimizer.minimize(lossOf, true, this.#variables)!;
    const loss = cost.dataSync()[0]!;
    cost.dispose();
    return loss;
  }

  protected countCorrect(batch: Batch, at: Point): number {
    const count = () => countCorrect(this.#model, batch);
    return at === 'x' ? count() : this.#trainer.atTrainingPoint(count);
  }

  save(): Promise<Uint8Array> {
    return this.#trainer.save();
  }

  protected load(bytes: Uint8Array) {
    return this.#trainer.load(bytes);
  }

  dispose(): void {
    this.#trainer.optimizer.dispose();
    this.#model.dispose();
  }
}
