import { onnxBackendNames } from 'example-digits/settings';

export const backendNames = ['tfjs', ...onnxBackendNames] as const;
export type BackendName = (typeof backendNames)[number];

/** Training digits in a step. */
export const batchSize = 50;

/** All that decides the numbers of a run. */
export interface Settings {
  readonly backend: BackendName;
  /** Training digits, and test digits. */
  readonly digits: number;
  readonly test: number;
  /** Of the new head; then come half as many. */
  readonly epochs: number;
}

export const defaults: Settings = { backend: 'tfjs', digits: 2000, test: 1000, epochs: 10 };

export const unfrozenEpochs = (epochs: number): number => Math.ceil(epochs / 2);

/** What a run comes to: shares of the test digits that are read rightly. */
export interface Result {
  /** The new head as it came out of its initializer. */
  readonly before: number;
  readonly head: number;
  /** After more of the network was trained as well. */
  readonly unfrozen: number;
  /** From the start to the end, loading of frameworks apart. */
  readonly seconds: number;
}

export const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
