import { CheckpointError } from './errors.js';
import { type Hyperparameters, resolveHyperparameters } from './hyperparameters.js';
import { decodeSafetensors, encodeSafetensors, type StoredTensor, usable } from './safetensors.js';
import { initialScalars, type Scalars } from './schedule.js';

const FORMAT = 'schedule-free-adan/1';

/** x or y of a parameter, and z, m, v, n, g, seen as far as its group keeps them. */
export type StoredKey = 'x' | 'y' | 'z' | 'm' | 'v' | 'n' | 'g' | 'seen';
/** The tensors of one parameter in a checkpoint. */
export type StoredParameter = { readonly [K in StoredKey]?: StoredTensor };

/** A parameter group in a checkpoint. */
export interface StoredGroup {
  readonly hyperparameters: Hyperparameters;
  readonly scalars: Scalars;
  /** Names. */
  readonly parameters: readonly string[];
}

/** A training state without its device: what a checkpoint holds. */
export interface TrainingState {
  readonly groups: readonly StoredGroup[];
  /** Steps skipped so far for NaN or ±Infinity. */
  readonly skippedSteps: number;
  /** By parameter name. */
  readonly tensors: ReadonlyMap<string, StoredParameter>;
}

/**
 * Writes a training state as a safetensors file. A tensor's name is the parameter's name, a dot and
 * its {@link StoredKey}; scalars are in the metadata, in full float64 precision.
 */
export function encodeCheckpoint({ tensors, ...scalars }: TrainingState): Uint8Array {
  const files = [...tensors].flatMap(([name, stored]) =>
    Object.entries(stored).map(([key, tensor]) => [`${name}.${key}`, tensor] as const),
  );
  const metadata = { format: FORMAT, state: JSON.stringify(scalars) };
  return encodeSafetensors({ metadata, tensors: new Map(files) });
}

/**
 * Reads what {@link encodeCheckpoint} wrote, on whatever backend. Tensors that belong to no parameter are
 * passed by: an adapter may keep state of its own in the file.
 * @throws CheckpointError `invalid-checkpoint` when damaged, `unsupported-checkpoint` when it is a
 * safetensors file of something else or of a later version.
 */
export function decodeCheckpoint(bytes: Uint8Array): TrainingState {
  const { metadata, tensors } = decodeSafetensors(bytes);
  const { format, state } = metadata;
  if (format !== FORMAT) {
    const message = `The format is '${format}', not '${FORMAT}'.`;
    throw new CheckpointError('unsupported-checkpoint', message, 'format', format);
  }
  return usable(() => {
    const { groups, skippedSteps } = JSON.parse(state!) as TrainingState;
    const parameters = new Map<string, StoredParameter>();
    for (const { hyperparameters, scalars, parameters: names } of groups) {
      resolveHyperparameters(hyperparameters);
      for (const key in initialScalars) {
        if (!Number.isFinite(scalars[key as keyof Scalars])) throw new Error(`${key} is missing`);
      }
      for (const name of names) parameters.set(name, {});
    }
    for (const [name, tensor] of tensors) {
      const dot = name.lastIndexOf('.');
      Object.assign(parameters.get(name.slice(0, dot)) ?? {}, { [name.slice(dot + 1)]: tensor });
    }
    for (const [name, { x, y }] of parameters) {
      if (!x && !y) throw new Error(`'${name}.x' is missing`);
    }
    return { groups, skippedSteps, tensors: parameters };
  });
}
