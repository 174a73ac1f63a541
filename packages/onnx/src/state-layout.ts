import type { Hyperparameters } from '@schedule-free-adan/core';
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

/** What a graph consists of, besides the formulas. */
export interface Layout {
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

/** @param prefix of the group, or of all that is added */
export function stateTensor(
  prefix: string,
  group: number,
  key: StateTensor['key'],
  shape: readonly number[],
): StateTensor {
  const input = prefix + key;
  return { group, key, input, output: `${input}/next`, type: 'float32', shape };
}

/** Begins the names of a group's tensors. */
export function groupPrefix(prefix: string, group: number): string {
  return `${prefix}${group}/`;
}

/** @param freezable each parameter can be frozen by itself */
export function makeLayout(
  prefix: string,
  groups: readonly ArenaGroup[],
  freezable: boolean,
): Layout {
  const state = groups.flatMap(({ form, places, length }, k) =>
    (places.length > 0 ? stateKeys(form) : []).map((key) => {
      const seen = freezable ? [places.length] : [];
      return stateTensor(groupPrefix(prefix, k), k, key, key === 'seen' ? seen : [length]);
    }),
  );
  return {
    prefix,
    groups,
    state: [...state, stateTensor(prefix, 0, 'skippedSteps', [])],
    ...(freezable && { active: `${prefix}active` }),
    names: groups.flatMap(({ places }) => places.map(({ name }) => name)),
  };
}

/**
 * Groups as a graph holds them.
 * @param groups with the names of their parameters, as a checkpoint has them
 */
export function arenaGroups(
  prefix: string,
  parameters: readonly ParameterShape[],
  groups: readonly {
    readonly hyperparameters: Hyperparameters;
    readonly parameters: readonly string[];
  }[],
): ArenaGroup[] {
  return groups.map(({ hyperparameters, parameters: names }, k) => ({
    ...arenaOf(
      `${groupPrefix(prefix, k)}parameter`,
      parameters.filter(({ name }) => names.includes(name)),
    ),
    hyperparameters,
    form: ruleForm(hyperparameters, 'y'),
  }));
}
