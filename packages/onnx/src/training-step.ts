import { carryingModelOf } from './carried.js';
import type { Model } from './model/schema.js';
import { arenaGroups, type Layout, makeLayout } from './state-layout.js';
import {
  appendStep,
  metadata,
  type Reports,
  reportInfos,
  StepBuilder,
  type StepGraphOptions,
  stateInfos,
} from './step-graph.js';
import {
  checkPrefix,
  type GradientModel,
  type ModelParameter,
  plainOutputs,
  readParameters,
  withArenas,
} from './training-model.js';

export interface TrainingStep {
  readonly model: Model;
  readonly layout: Layout;
  readonly parameters: readonly ModelParameter[];
  readonly reports: Reports;
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
    freezable = false,
    ...options
  }: GradientModel & StepGraphOptions,
): TrainingStep {
  const of = { loss, gradients, carried };
  const parameters = readParameters(model, of);
  checkPrefix(model, prefix);
  const layout = makeLayout(arenaGroups(prefix, parameters, options), { prefix, freezable });
  if (Object.keys(carried).length === 0)
    return { ...trainingStepOf(model, of, layout), parameters };
  const { model: source, output, arena } = carryingModelOf(model, of, prefix);
  const made = trainingStepOf(source, of, layout);
  made.model.metadataProps.push({
    key: 'schedule-free-adan.carried',
    value: JSON.stringify({ input: arena.name, output, places: arena.places }),
  });
  return { ...made, parameters };
}

export function trainingStepOf(model: Model, of: GradientModel, layout: Layout) {
  const after = new StepBuilder(layout.prefix);
  let reports: Reports = {};
  const made = withArenas(model, layout.groups, after, (graph, inputs) => {
    reports = appendStep(after, layout, new Map(Object.entries(of.gradients)));
    const own = stateInfos(layout);
    inputs.push(...own.inputs);
    return [
      ...plainOutputs(graph, of),
      ...own.outputs,
      ...reportInfos(reports, layout.names.length),
    ];
  });
  const metadataProps = [...(model.metadataProps ?? []), ...metadata(layout)];
  return { model: { ...made, metadataProps }, layout, reports };
}
