import { setImmediate } from 'node:timers/promises';
import type { WebGpuOptions } from '@schedule-free-adan/webgpu';
import type { Digits } from '../batches.js';
import { epochOrder, uniformNumbers } from '../random.js';
import { batchesPerEpoch, batchSize, hyperparameters } from '../settings.js';
import { endEpoch, noteLoss, type Run, type RunOptions, type RunState } from '../train.js';
import { GpuNetwork, initialWeights, reportInterval } from './network.js';

/** The run of the demo on WebGPU alone: tfjs takes no part. */
export class WebGpuRun implements Run {
  state: RunState = { epochs: [], batch: 0, lossSum: 0, seconds: 0, losses: [] };
  readonly #network: GpuNetwork;
  readonly #resident = new Map<Digits, ReturnType<GpuNetwork['resident']>>();

  private constructor(
    readonly options: RunOptions,
    network: GpuNetwork,
  ) {
    this.#network = network;
  }

  /** @param more further options of the optimizer */
  static async create(
    device: GPUDevice,
    options: RunOptions,
    more: WebGpuOptions = {},
  ): Promise<WebGpuRun> {
    const { learningRate, seed } = options;
    const network = await GpuNetwork.create(
      device,
      initialWeights(uniformNumbers(seed)),
      batchSize,
      { ...hyperparameters['sf-adan'], learningRate, ...more },
    );
    return new WebGpuRun(options, network);
  }

  async trainEpoch(
    training: Digits,
    test: Digits,
    stopped: () => boolean,
    onBatch: () => void,
  ): Promise<boolean> {
    const network = this.#network;
    const { state } = this;
    const epoch = state.epochs.length + 1;
    const batches = batchesPerEpoch({ limit: training.count });
    const digits = this.#on(training);
    network.beginEpoch(digits, epochOrder(this.options.seed, epoch, training.count));
    while (state.batch < batches) {
      await setImmediate();
      if (stopped()) return false;
      const start = performance.now();
      const from = state.batch;
      const to = Math.min(batches, from + reportInterval);
      for (let batch = from; batch < to; batch++) network.step(digits, batch);
      for (const loss of await network.losses(from, to)) {
        const size = Math.min(batchSize, training.count - state.batch * batchSize);
        noteLoss(state, loss, size);
        onBatch();
      }
      state.seconds += (performance.now() - start) / 1000;
    }
    const accuracyAtX = await network.accuracy(this.#on(test), 'x');
    const accuracyAtY = await network.accuracy(this.#on(test), 'y');
    endEpoch(state, training.count, accuracyAtX, accuracyAtY);
    return true;
  }

  #on(digits: Digits) {
    const resident = this.#resident.get(digits) ?? this.#network.resident(digits);
    this.#resident.set(digits, resident);
    return resident;
  }

  save(): Promise<Uint8Array> {
    return this.#network.optimizer.snapshot();
  }

  async restore(state: RunState, bytes: Uint8Array): Promise<void> {
    this.#network.optimizer.load(bytes);
    this.state = state;
  }

  dispose(): void {
    this.#network.dispose();
  }
}
