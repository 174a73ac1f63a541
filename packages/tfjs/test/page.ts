// Runs in a page: the scenarios on every backend that a browser has, and models that come and go.
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { useBackend } from '../conformance/browser.mjs';
import {
  across,
  asFiles,
  compiled,
  type ModelFiles,
  memoryOver,
  trainOn,
  validation,
} from './scenarios.js';

let model: tfl.LayersModel;

const scenarios = {
  useBackend,
  validation,
  memoryOver,
  across,
  /** A new model, or one that is loaded; gives the losses of its epochs. */
  async train(from: string | undefined, epochs: number): Promise<number[]> {
    model = from === undefined ? compiled() : await tfl.loadLayersModel(from);
    return trainOn(model, epochs);
  },
  async save(url: string): Promise<void> {
    await model.save(url, { includeOptimizer: true });
  },
  copy: (from: string, to: string) => tf.io.copyModel(from, to),
  models: () => tf.io.listModels(),
  /** What lies in the browser's storage, as bytes that can be carried elsewhere. */
  async stored(url: string): Promise<ModelFiles> {
    const [handler] = tf.io.getLoadHandlers(url);
    return asFiles(await (handler as tf.io.IOHandler).load!());
  },
};
Object.assign(globalThis, { scenarios });
