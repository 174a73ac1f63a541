import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { OptimizerName, TfjsBackendName } from './settings.js';
import type { EpochResult } from './train.js';

export const studyPath = fileURLToPath(new URL('../results/study.json', import.meta.url));

export interface Contender {
  readonly optimizer: OptimizerName;
  readonly learningRate: number;
}

/** What decides the numbers of a study. */
export interface StudySettings {
  readonly backend: TfjsBackendName;
  readonly epochs: number;
  readonly seeds: readonly number[];
  readonly limit: number;
  readonly batchSize: number;
  readonly contenders: readonly (Contender & { readonly hyperparameters: object })[];
}

export interface StudyRun extends Contender {
  readonly seed: number;
  readonly epochs: readonly EpochResult[];
}

export interface Study {
  readonly date: string;
  readonly machine: { readonly cpu: string; readonly threads: number; readonly system: string };
  readonly versions: Readonly<Record<string, string>>;
  readonly settings: StudySettings;
  readonly runs: readonly StudyRun[];
}

export const readStudy = (path: string): Study | undefined =>
  existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Study) : undefined;

export interface Statistic {
  readonly mean: number;
  /** Standard error of the mean; of a single value there is none. */
  readonly standardError: number | null;
}

export function statistic(values: readonly number[]): Statistic {
  const n = values.length;
  const mean = values.reduce((a, b) => a + b, 0) / n;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, standardError: n > 1 ? Math.sqrt(squares / (n - 1) / n) : null };
}

/** One number of every epoch, over the seeds. */
export function perEpoch(
  study: Study,
  contender: Contender,
  value: (result: EpochResult) => number,
): readonly Statistic[] {
  const runs = study.runs.filter(
    ({ optimizer, learningRate }) =>
      optimizer === contender.optimizer && learningRate === contender.learningRate,
  );
  return Array.from({ length: study.settings.epochs }, (_, i) =>
    statistic(runs.map(({ epochs }) => value(epochs[i]!))),
  );
}
