import {
  type GroupOptions,
  type Hyperparameters,
  type OptimizerOptions,
  scheduleFreeAdan,
} from '@schedule-free-adan/core';
import { type RuleForm, ruleForm, type StateKey, stateKeys } from '@schedule-free-adan/core/rule';
import { HostBackend, hostTensor } from './host.js';
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

/** A tensor that goes into a step and comes out renewed. */
export interface StateTensor {
  readonly group: number;
  /** A tensor of the rule, an arena long; or numbers of the group or the run. */
  readonly key: StateKey | 'scalars' | 'skippedSteps';
  readonly input: string;
  readonly output: string;
  readonly type: 'float32' | 'float64';
  readonly shape: readonly number[];
}

/** What stands in a group's `scalars`, float64. The host writes the learning rate, the graph the rest. */
export const scalarNames = [
  'step',
  'momentStep',
  'weightSum',
  'learningRateMax',
  'learningRate',
] as const;

/** What a graph consists of, besides the formulas. */
export interface Layout {
  /**
   * The counters stay on the host, which feeds a group's coefficients ({@link coefficientsName}): for
   * runtimes without float64. Else the graph counts by itself.
   */
  readonly hostSchedule: boolean;
  readonly prefix: string;
  readonly groups: readonly ArenaGroup[];
  readonly state: readonly StateTensor[];
  /**
   * Each parameter has an activity of its own, 1 or 0, in the input `active` (in the order of
   * `names`), and remembers by itself whether it has met a gradient.
   */
  readonly active?: string;
  /** All parameters, group by group. */
  readonly names: readonly string[];
}

/** Groups as the optimizer of the core makes them, with its checks. */
export function arenaGroups(
  parameters: readonly ParameterShape[],
  options: Omit<OptimizerOptions, 'placement'>,
): ArenaGroup[] {
  const optimizer = scheduleFreeAdan(
    new HostBackend(),
    parameters.map(({ name, shape }) => [name, hostTensor(shape)] as const),
    options,
  );
  const hyperparameters = optimizer.groups.map((group) => group.hyperparameters as Hyperparameters);
  optimizer.dispose();
  const owner = ({ name }: ParameterShape) =>
    1 + (options.groups ?? []).findIndex((group) => claims(group, name));
  return hyperparameters.map((h, k) =>
    makeGroup(
      h,
      parameters.filter((parameter) => owner(parameter) === k),
    ),
  );
}

const claims = ({ parameters }: GroupOptions, name: string) =>
  typeof parameters === 'function' ? parameters(name) : parameters.includes(name);

export function makeGroup(
  hyperparameters: Hyperparameters,
  parameters: readonly ParameterShape[],
): ArenaGroup {
  let length = 0;
  const places = parameters.map(({ name, shape }) => {
    const start = length;
    length += sizeOf(shape);
    return { name, shape, start, end: length };
  });
  return { hyperparameters, form: ruleForm(hyperparameters, 'y'), places, length };
}

/** The input with a group's coefficients, float32, where the host has the schedule. */
export const coefficientsName = (prefix: string, group: number) => `${prefix}${group}/coefficients`;

export function makeLayout(
  groups: readonly ArenaGroup[],
  {
    prefix,
    freezable,
    hostSchedule = false,
  }: { prefix: string; freezable: boolean; hostSchedule?: boolean },
): Layout {
  const state: StateTensor[] = [];
  const add = (
    group: number,
    key: StateTensor['key'],
    type: StateTensor['type'],
    shape: readonly number[],
  ) => {
    const input = `${prefix}${key === 'skippedSteps' ? key : `${group}/${key}`}`;
    state.push({ group, key, input, output: `${input}/next`, type, shape });
  };
  groups.forEach(({ form, places, length }, k) => {
    for (const key of places.length > 0 ? stateKeys(form) : []) {
      add(k, key, 'float32', key === 'seen' ? (freezable ? [places.length] : []) : [length]);
    }
    add(k, 'scalars', 'float64', [scalarNames.length]);
  });
  add(0, 'skippedSteps', 'float32', []);
  return {
    prefix,
    hostSchedule,
    groups,
    state,
    ...(freezable && { active: `${prefix}active` }),
    names: groups.flatMap(({ places }) => places.map(({ name }) => name)),
  };
}
