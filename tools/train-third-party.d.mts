import type { OrtModule } from '@schedule-free-adan/onnx';

interface ZooEntry {
  readonly package: string;
  readonly file: string;
}
interface Outcome {
  readonly nodes: number;
  readonly operators: readonly string[];
  readonly loss?: { readonly before: number; readonly after: number };
  readonly refused?: { readonly code: string; readonly message: string };
}
export const zoo: readonly ZooEntry[];
export const nameOf: (entry: ZooEntry) => string;
export const trainThirdParty: (
  entry: ZooEntry,
  options: {
    readonly ort: OrtModule;
    readonly sessionOptions?: object;
    readonly steps?: number;
    readonly learningRate: number;
    readonly trainingForm?: RegExp;
  },
) => Promise<Outcome>;
