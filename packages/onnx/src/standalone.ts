/** Steps as files that somebody keeps: they count by themselves, and say how to feed them. */

import {
  type GroupOptions,
  type OptimizerOptions,
  scheduleFreeAdan,
} from '@schedule-free-adan/core';
import { HostBackend, hostTensor } from '@schedule-free-adan/core/host';
import {
  advanceOver,
  type CoefficientName,
  coefficientsOver,
  type ScalarAlgebra,
} from '@schedule-free-adan/core/rule';
import { carryingModelOf } from './carried.js';
import type { Value } from './graph.js';
import type { ParameterShape } from './layout.js';
import type { Model, StringStringEntry } from './model/schema.js';
import { arenaGroups, groupPrefix, type Layout, makeLayout, stateTensor } from './state-layout.js';
import { pick, type Schedule, type StepGraph, stepGraphOf, trainingStepOf } from './step-graph.js';
import {
  checkPrefix,
  type GradientModel,
  type ModelParameter,
  readParameters,
} from './training-model.js';

export interface StepGraphOptions extends Omit<OptimizerOptions, 'placement'> {
  /** Begins every name that is added to a graph. Default `adan/`. */
  readonly prefix?: string;
  /**
   * A further input says which parameters have a gradient in a step; the others keep everything.
   * Default `false`: all have one.
   */
  readonly freezable?: boolean;
}

export interface TrainingStep extends StepGraph {
  readonly parameters: readonly ModelParameter[];
}

/** What stands in a group's `scalars`, float64. The host writes the learning rate, the graph the rest. */
export const scalarNames = [
  'step',
  'momentStep',
  'weightSum',
  'learningRateMax',
  'learningRate',
] as const;

/** The layout of a graph that counts by itself: each group has `scalars` as well. */
function countingLayout(
  parameters: readonly ParameterShape[],
  { prefix = 'adan/', freezable = false, ...options }: StepGraphOptions,
): Layout {
  // With the checks of the core's optimizer. Nothing is computed.
  const optimizer = scheduleFreeAdan(
    new HostBackend(),
    parameters.map(({ name }) => [name, hostTensor([0])] as const),
    options,
  );
  const claims = ({ parameters: names }: GroupOptions, name: string) =>
    typeof names === 'function' ? names(name) : names.includes(name);
  const owner = (name: string) =>
    1 + (options.groups ?? []).findIndex((group) => claims(group, name));
  const groups = optimizer.groups.map(({ hyperparameters }, k) => ({
    hyperparameters,
    parameters: optimizer.parameterNames.filter((name) => owner(name) === k),
  }));
  const layout = makeLayout(prefix, arenaGroups(prefix, parameters, groups), freezable);
  const state = groups.flatMap((_, k) => [
    ...layout.state.filter(({ group, key }) => group === k && key !== 'skippedSteps'),
    {
      ...stateTensor(groupPrefix(prefix, k), k, 'scalars', [scalarNames.length]),
      type: 'float64' as const,
    },
  ]);
  return { ...layout, state: [...state, ...layout.state.slice(-1)] };
}

/** The schedule in the graph: the counters are state, and the arithmetic is in float64. */
const countingSchedule: Schedule = (b, { groups, state }) => {
  const double = (value: Value | number) =>
    typeof value === 'number' ? b.constant(value, 'float64') : value;
  const scalar = (operator: string) => (one: Value | number, other: Value | number) =>
    b.node(operator, [double(one), double(other)]);
  const algebra: ScalarAlgebra<Value> = {
    add: scalar('Add'),
    sub: scalar('Sub'),
    mul: scalar('Mul'),
    div: scalar('Div'),
    pow: scalar('Pow'),
    min: scalar('Min'),
    max: scalar('Max'),
  };
  return groups.map(({ hyperparameters }, k) => {
    const { input, output } = state.find(({ group, key }) => group === k && key === 'scalars')!;
    const { learningRate, ...present } = Object.fromEntries(
      scalarNames.map((name, i) => [name, pick(b, input, i)]),
    ) as Record<(typeof scalarNames)[number], Value>;
    const next = advanceOver(algebra, present, hyperparameters, learningRate);
    const all = { ...next, learningRate };
    b.concat(
      scalarNames.map((name) => b.reshape(all[name], [1])),
      output,
    );
    const doubles = coefficientsOver(algebra, next, hyperparameters, learningRate);
    return Object.fromEntries(
      (Object.keys(doubles) as CoefficientName[]).map((name) => [
        name,
        b.cast(double(doubles[name]), 'float32'),
      ]),
    ) as Record<CoefficientName, Value>;
  });
};

/** The model with what its file says of itself: whoever finds it can run it. */
function described(
  model: Model,
  { groups, state, names, active }: Layout,
  more: Readonly<Record<string, unknown>> = {},
): Model {
  const entries: Readonly<Record<string, unknown>> = {
    format: 'step/1',
    groups: groups.map(({ hyperparameters, places }) => ({ hyperparameters, parameters: places })),
    state: state.map(({ input, output, key, group }) => ({ input, output, key, group })),
    scalars: scalarNames,
    names,
    ...(active && { active }),
    use: 'Feed every state output of a step as the state input of the next. The state begins as zeros, but parameter and z with the parameters one behind the other, and learningRate in scalars.',
    ...more,
  };
  const own = Object.entries(entries).map(
    ([key, value]): StringStringEntry => ({
      key: `schedule-free-adan.${key}`,
      value: typeof value === 'string' ? value : JSON.stringify(value),
    }),
  );
  return { ...model, metadataProps: [...(model.metadataProps ?? []), ...own] };
}

/**
 * The step as an ONNX model of its own, out of standard operators: gradients and state in, state out.
 * A gradient's input is named as its parameter. It runs wherever ONNX models run.
 * @throws OptionError, ParameterError
 */
export function buildStepGraph(
  parameters: readonly ParameterShape[],
  options: StepGraphOptions = {},
): StepGraph {
  const layout = countingLayout(parameters, options);
  const made = stepGraphOf(layout, countingSchedule);
  const model = { ...made.model, producerName: 'schedule-free-adan' };
  return { ...made, model: described(model, layout) };
}

/**
 * Makes one training-step model of a model that outputs loss and gradients: data and state in, loss,
 * the other outputs and new state out. Its parameters, initializers before, are cut out of the state.
 * @throws OnnxModelError for a value that is missing or does not fit; OptionError; ParameterError
 */
export function appendOptimizer(
  model: Model,
  {
    loss,
    gradients,
    carried = {},
    averaged: _,
    prefix = 'adan/',
    ...options
  }: GradientModel & StepGraphOptions,
): TrainingStep {
  const of = { loss, gradients, carried };
  const parameters = readParameters(model, of);
  checkPrefix(model, prefix);
  const layout = countingLayout(parameters, { prefix, ...options });
  let source = model;
  let more: Record<string, unknown> = {};
  if (Object.keys(carried).length > 0) {
    const { model: carrying, output, arena } = carryingModelOf(model, of, prefix);
    source = carrying;
    more = { carried: { input: arena.name, output, places: arena.places } };
  }
  const made = trainingStepOf(source, of, layout, countingSchedule);
  return { ...made, model: described(made.model, layout, more), parameters };
}
