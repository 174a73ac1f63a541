import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Batch } from '../batches.js';
import { writeAtomically } from '../files.js';
import { hyperparameters, type OnnxBackendName } from '../settings.js';
import { HostRun, type Point, type RunOptions } from '../train.js';
import { forwardModel } from './model.js';
import { OnnxNetwork } from './network.js';
import { runtimes } from './runtimes.js';

/** A run in ONNX Runtime, from a forward model in the run's folder. */
export class OnnxRun extends HostRun {
  private constructor(
    readonly options: RunOptions,
    readonly network: OnnxNetwork,
  ) {
    super();
  }

  static async create(
    backend: OnnxBackendName,
    options: RunOptions,
    folder: string,
  ): Promise<OnnxRun> {
    const { model, seed, learningRate } = options;
    const path = join(folder, `${model}-seed-${seed}.onnx`);
    writeAtomically(path, await forwardModel(model, seed));
    const ort = await runtimes[backend]();
    const network = await OnnxNetwork.create(new Uint8Array(readFileSync(path)), {
      ort,
      ...hyperparameters['sf-adan'],
      learningRate,
    });
    return new OnnxRun(options, network);
  }

  protected step(batch: Batch) {
    return this.network.step(batch);
  }
  protected countCorrect(batch: Batch, at: Point) {
    return this.network.countCorrect(batch, at);
  }
  save() {
    return this.network.trainer.save();
  }
  protected load(bytes: Uint8Array) {
    return this.network.trainer.load(bytes);
  }
  exportModel() {
    return this.network.trainer.exportModel();
  }
  dispose() {
    return this.network.dispose();
  }
}
