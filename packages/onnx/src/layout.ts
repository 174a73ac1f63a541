import {
  type GroupOptions,
  type Hyperparameters,
  type OptimizerOptions,
  scheduleFreeAdan,
} from '@schedule-free-adan/core';
import { HostBackend, hostTensor } from '@schedule-free-adan/core/host';
import { type RuleForm, ruleForm } from '@schedule-free-adan/core/rule';
import { sizeOf } from './model/tensors.js';

export interface ParameterShape {
  readonly name: string;
  readonly shape: readonly number[];
}

/** Where a parameter lies in the arena of its group. */
export interface Place extends ParameterShape {
  readonly start: number;
  readonly end: number;
}

/** A vector with parameters one behind the other, perhaps with gaps. */
export interface Arena {
  readonly places: readonly Place[];
  readonly length: number;
}

/** A parameter group as a graph holds it: all its parameters in one vector. */
export interface ArenaGroup extends Arena {
  readonly hyperparameters: Hyperparameters;
  readonly form: RuleForm;
}

/** Groups as the optimizer of the core makes them, with its checks. */
export function arenaGroups(
  parameters: readonly ParameterShape[],
  options: Omit<OptimizerOptions, 'placement'>,
): ArenaGroup[] {
  const optimizer = scheduleFreeAdan(
    new HostBackend(),
    // Names are checked, and nothing is computed.
    parameters.map(({ name }) => [name, hostTensor([0])] as const),
    options,
  );
  const owner = ({ name }: ParameterShape) =>
    1 + (options.groups ?? []).findIndex((group) => claims(group, name));
  return optimizer.groups.map(({ hyperparameters }, k) =>
    makeGroup(
      hyperparameters,
      parameters.filter((parameter) => owner(parameter) === k),
    ),
  );
}

const claims = ({ parameters }: GroupOptions, name: string) =>
  typeof parameters === 'function' ? parameters(name) : parameters.includes(name);

/** Tensors one behind the other. */
export function arenaOf(tensors: readonly ParameterShape[]): Arena {
  let length = 0;
  const places = tensors.map(({ name, shape }) => {
    const start = length;
    length += sizeOf(shape);
    return { name, shape, start, end: length };
  });
  return { places, length };
}

/** Values by name as the vector that they lie in. */
export function packed(
  { places, length }: Arena,
  valuesOf: (name: string) => ArrayLike<number>,
): Float32Array {
  const arena = new Float32Array(length);
  for (const { name, start } of places) arena.set(valuesOf(name), start);
  return arena;
}

export const makeGroup = (
  hyperparameters: Hyperparameters,
  parameters: readonly ParameterShape[],
): ArenaGroup => ({
  hyperparameters,
  form: ruleForm(hyperparameters, 'y'),
  ...arenaOf(parameters),
});
