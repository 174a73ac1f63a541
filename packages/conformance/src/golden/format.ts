import type { HyperparameterOptions } from '@schedule-free-adan/core';

/** A file of trajectories that published reference code computed in float64. */
export interface GoldenFile {
  readonly format: string;
  readonly cases: readonly GoldenCase[];
}

type Options = { readonly [K in keyof HyperparameterOptions]?: HyperparameterOptions[K] };

/** One run of the reference code: parameters, gradients, and where they led. Arrays are by parameter. */
export interface GoldenCase {
  readonly name: string;
  readonly note: string;
  readonly source: string;
  readonly shapes: readonly (readonly number[])[];
  readonly steps: number;
  readonly config: Options & {
    readonly groups?: readonly (Options & { readonly params: readonly number[] })[];
  };
  readonly initial: readonly (readonly number[])[];
  /** By step and parameter; null = no gradient. */
  readonly gradients: readonly (readonly (readonly number[] | null)[])[];
  /** Multiplies the learning rate of each step. */
  readonly learningRateFactor?: readonly number[] | null;
  /** Steps before which the moments are reset. */
  readonly restartBeforeStep?: readonly number[] | null;
  readonly expected: readonly GoldenExpectation[];
}

export type GoldenKey = 'x' | 'y' | 'z' | 'm' | 'v' | 'n' | 'param';

/** Values after a step, as far as the code shows them; null = it does not. */
export type GoldenExpectation = { readonly step: number } & {
  readonly [K in GoldenKey]?: readonly (readonly number[] | null)[];
};
