import { CheckpointError } from './errors.js';
import { type Hyperparameters, resolveHyperparameters } from './hyperparameters.js';
import { numbers } from './interpreters/numbers.js';
import { decodeSafetensors, encodeSafetensors, type StoredTensor, sizeOf } from './safetensors.js';
import type { Scalars } from './schedule.js';
import {
  evaluationPoint,
  type Placement,
  ruleForm,
  stateKeys,
  trainingPoint,
} from './update-rule.js';

const FORMAT = 'schedule-free-adan/1';

/** The state of one parameter: x or y, and z, m, v, n, g as far as they exist. */
export type StoredKey = 'x' | 'y' | 'z' | 'm' | 'v' | 'n' | 'g';

export interface StoredGroup {
  readonly hyperparameters: Hyperparameters;
  readonly scalars: Scalars;
  readonly parameters: readonly string[];
}

/** A training state without its device: what a checkpoint holds. */
export interface TrainingState {
  readonly groups: readonly StoredGroup[];
  readonly skippedSteps: number;
  readonly tensors: ReadonlyMap<string, { readonly [K in StoredKey]?: StoredTensor }>;
}

/**
 * Writes a training state as a safetensors file. A tensor's name is the parameter's name, a dot and
 * one of x, y, z, m, v, n, g; scalars are in the metadata, in full float64 precision.
 */
export function encodeCheckpoint(state: TrainingState): Uint8Array {
  const tensors = new Map<string, StoredTensor>();
  for (const [name, stored] of state.tensors) {
    for (const [key, tensor] of Object.entries(stored)) tensors.set(`${name}.${key}`, tensor);
  }
  const metadata = {
    format: FORMAT,
    groups: JSON.stringify(state.groups),
    skippedSteps: JSON.stringify(state.skippedSteps),
  };
  return encodeSafetensors({ metadata, tensors });
}

/**
 * Reads what {@link encodeCheckpoint} wrote, on whatever backend.
 * @throws CheckpointError `invalid-checkpoint` when damaged, `unsupported-checkpoint` when it is a
 * safetensors file of something else or of a later version.
 */
export function decodeCheckpoint(bytes: Uint8Array): TrainingState {
  const { metadata, tensors } = decodeSafetensors(bytes);
  if (metadata.format !== FORMAT) {
    throw new CheckpointError(
      'unsupported-checkpoint',
      `This file's format is ${metadata.format ?? 'not given'}; this version reads ${FORMAT}.`,
      'format',
      metadata.format,
    );
  }
  const invalid = (why: string, subject?: string) =>
    new CheckpointError('invalid-checkpoint', `This checkpoint is incomplete: ${why}.`, subject);
  let groups: StoredGroup[];
  let skippedSteps: number;
  try {
    skippedSteps = Number(metadata.skippedSteps);
    groups = (JSON.parse(metadata.groups!) as StoredGroup[]).map((group) => ({
      ...group,
      hyperparameters: resolveHyperparameters(group.hyperparameters),
    }));
    for (const { step, momentStep, weightSum, learningRateMax } of groups.map((g) => g.scalars)) {
      if (![step, momentStep, weightSum, learningRateMax, skippedSteps].every(Number.isFinite)) {
        throw new Error('a scalar is missing');
      }
    }
  } catch (cause) {
    throw invalid(`its groups can't be read (${(cause as Error).message})`, 'groups');
  }
  const parameters: TrainingState['tensors'] = new Map(
    groups.flatMap((group) =>
      group.parameters.map((name) => {
        const stored: { [K in StoredKey]?: StoredTensor } = {};
        for (const key of ['x', 'y', 'z', 'm', 'v', 'n', 'g'] as const) {
          const tensor = tensors.get(`${name}.${key}`);
          if (tensor) stored[key] = tensor;
        }
        const shape = (stored.x ?? stored.y)?.shape;
        for (const key of stateKeys(ruleForm(group.hyperparameters, 'x'))) {
          const tensor = key === 'parameter' ? (stored.x ?? stored.y) : stored[key];
          if (!tensor && key !== 'g') throw invalid(`'${name}.${key}' is missing`, name);
          if (tensor && String(tensor.shape) !== String(shape)) {
            throw invalid(`'${name}.${key}' has shape [${tensor.shape}], not [${shape}]`, name);
          }
        }
        return [name, stored] as const;
      }),
    ),
  );
  return { groups, skippedSteps, tensors: parameters };
}

/** The point that `placement` keeps, out of a stored parameter that may hold the other one. */
export function storedPoint(
  stored: { readonly [K in StoredKey]?: StoredTensor },
  placement: Placement,
  momentum: number,
): StoredTensor {
  const same = stored[placement];
  if (same) return same;
  const other = (stored.x ?? stored.y)!;
  if (!stored.z) return other;
  const c = { momentum, oneMinusMomentum: 1 - momentum };
  const point = placement === 'x' ? evaluationPoint : trainingPoint;
  const data = new Float64Array(sizeOf(other.shape));
  for (let i = 0; i < data.length; i++) {
    data[i] = point(numbers, c, other.data[i]!, stored.z.data[i]!);
  }
  return { shape: other.shape, data };
}
