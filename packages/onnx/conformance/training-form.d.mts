import type { Model } from '../src/model/index.js';
import type { OrtModule } from '../src/runtime.js';

type Numbers = Record<string, number[]>;

export function normalizedModel(): Model;
export function batchOf(t: number, n?: number): { x: Float32Array; target: Float32Array };
export function runNormalized(
  ort: OrtModule,
  form: string,
): Promise<{
  points: Numbers[];
  after: Numbers[];
  same: boolean;
  skippedSteps: number;
  x: Numbers;
  evaluated: number[];
  exported: number[];
  count: number;
  recalibrated: Numbers;
  again: number[];
  stateBytes: number;
}>;
export function runDropout(
  ort: OrtModule,
  form: string,
): Promise<{ steps: number[][]; evaluated: number[] }>;
