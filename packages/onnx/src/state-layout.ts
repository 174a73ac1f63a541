import {
  type GroupOptions,
  type Hyperparameters,
  type OptimizerOptions,
  scheduleFreeAdan,
} from '@schedule-free-adan/core';
import { HostBackend, hostTensor } from '@schedule-free-adan/core/host';
import { type RuleForm, ruleForm, type StateKey, stateKeys } from '@schedule-free-adan/core/rule';
import { type Arena, arenaOf, type ParameterShape } from './layout.js';

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

/** The input with a tensor of a group. */
export const stateName = (prefix: string, group: number, key: string) =>
  `${prefix}${key === 'skippedSteps' ? '' : `${group}/`}${key}`;

/** The input with a group's coefficients, float32, where the host has the schedule. */
export const coefficientsName = (prefix: string, group: number) =>
  stateName(prefix, group, 'coefficients');

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
    const input = stateName(prefix, group, key);
    state.push({ group, key, input, output: `${input}/next`, type, shape });
  };
  groups.forEach(({ form, places, length }, k) => {
    for (const key of places.length > 0 ? stateKeys(form) : []) {
      add(k, key, 'float32', key === 'seen' ? (freezable ? [places.length] : []) : [length]);
    }
    if (!hostSchedule) add(k, 'scalars', 'float64', [scalarNames.length]);
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

/** Groups as the optimizer of the core makes them, with its checks. */
export function arenaGroups(
  prefix: string,
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
    groupOf(
      hyperparameters,
      arenaOf(
        stateName(prefix, k, 'parameter'),
        parameters.filter((parameter) => owner(parameter) === k),
      ),
    ),
  );
}

const claims = ({ parameters }: GroupOptions, name: string) =>
  typeof parameters === 'function' ? parameters(name) : parameters.includes(name);

/** The group of an arena's parameters. */
export const groupOf = (hyperparameters: Hyperparameters, arena: Arena): ArenaGroup => ({
  ...arena,
  hyperparameters,
  form: ruleForm(hyperparameters, 'y'),
});
