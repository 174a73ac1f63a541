import { scheduleFreeAdan } from '@schedule-free-adan/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import { loadAdam, saveAdam } from './adam.js';
import { hyperparameters, type OptimizerName } from './settings.js';

/** What the training loop needs of an optimizer. */
export interface Trainer {
  readonly optimizer: tf.Optimizer;
  /** Runs `fn` with the point at which gradients are taken in the variables. */
  atTrainingPoint<R>(fn: () => R): R;
  /** The variables and the state of the optimizer, exact to the bit. */
  save(): Promise<Uint8Array>;
  load(bytes: Uint8Array): void | Promise<void>;
}

export const createTrainer: Readonly<
  Record<OptimizerName, (learningRate: number, variables: tf.Variable[]) => Trainer>
> = {
  'sf-adan': (learningRate, variables) => {
    const optimizer = scheduleFreeAdan({ ...hyperparameters['sf-adan'], learningRate });
    return {
      optimizer,
      atTrainingPoint: (fn) => optimizer.withTrainParameters(fn),
      save: () => optimizer.saveCheckpoint(),
      load: (bytes) => optimizer.loadCheckpoint(bytes, variables),
    };
  },
  adam: (learningRate, variables) => {
    const optimizer = tf.train.adam(learningRate);
    return {
      optimizer,
      atTrainingPoint: (fn) => fn(),
      save: () => saveAdam(optimizer, variables),
      load: (bytes) => loadAdam(optimizer, bytes, variables),
    };
  },
};
