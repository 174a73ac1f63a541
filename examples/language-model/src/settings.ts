import type { OnnxBackendName } from 'example-digits/settings';

/** The extents of a transformer. */
export interface Shape {
  /** Characters that it looks at. */
  readonly context: number;
  readonly width: number;
  readonly heads: number;
  readonly layers: number;
}

/** All that decides the numbers of a run. */
export interface Settings extends Shape {
  readonly steps: number;
  /** Pieces of text in a step. */
  readonly batch: number;
  readonly learningRate: number;
  readonly seed: number;
  readonly backend: OnnxBackendName;
}

export const defaults: Settings = {
  steps: 2000,
  batch: 16,
  context: 64,
  width: 64,
  heads: 4,
  layers: 2,
  learningRate: 0.02,
  seed: 1,
  backend: 'onnx',
};

/** What the optimizer is told besides the learning rate; what is not here is a library default. */
export const hyperparameters = { weightDecay: 0.1, warmupSteps: 100, maxGradNorm: 1 } as const;

/** Steps between looks at unseen text, each with a sample. */
export const evaluateEvery = 200;
export const sampleLength = 240;
