import { type Coefficients, type ElementState, updateRule } from '@schedule-free-adan/core/rule';
import { GraphBuilder, type Operand, type Value } from './graph.js';
import type { Model, ValueInfo } from './model/schema.js';
import { makeValueInfo } from './model/tensors.js';
import type { Layout } from './state-layout.js';
import { type GradientModel, modelOf, plainOutputs, withArenas } from './training-model.js';

/** A graph that takes a step, and what to feed it. */
export interface StepGraph {
  readonly model: Model;
  readonly layout: Layout;
  /** Outputs to read, as far as the hyperparameters make them: names of values. */
  readonly reports: Reports;
}

export interface Reports {
  readonly gradientNorm?: Value;
  readonly clipFactor?: Value;
  /** Under 'throw': a number for each parameter of the layout, NaN where its gradient is not finite. */
  readonly finite?: Value;
}

/**
 * Appends what makes the coefficients of a step, and adds the inputs that this reads besides the state.
 * @returns those of each group
 */
export type Schedule = (
  b: GraphBuilder,
  layout: Layout,
  inputs: ValueInfo[],
) => readonly Coefficients<Value>[];

/** The element `index` of a vector, as a scalar. */
export function pick(b: GraphBuilder, vector: Value, index: number): Value {
  return b.node('Gather', [vector, b.constant(index, 'int64')], { axis: 0 });
}

/**
 * Appends a step to a graph: gradients in, new state out. The formulas are those of the core's rule and
 * schedule; here is what surrounds them: arenas, the norm, and what a bad gradient does.
 * @param inputs of the graph; those of the step are added
 */
function appendStep(
  b: GraphBuilder,
  layout: Layout,
  schedule: Schedule,
  gradients: Readonly<Record<string, Value>>,
  inputs: ValueInfo[],
): { readonly reports: Reports; readonly outputs: ValueInfo[] } {
  const { groups, state, active, prefix, names } = layout;
  const { maxGradNorm, epsilon, nonFinite } = groups[0]!.hyperparameters;
  const { add, sub, mul, div } = b;
  const sum = (values: readonly Operand[]) => values.reduce<Operand>(add, 0);
  const where = (condition: Value, a: Operand, otherwise: Operand, output?: Value) =>
    b.node('Where', [condition, a, otherwise], {}, output);
  const isOne = (value: Value) => b.cast(value, 'bool');

  const infos = (end: 'input' | 'output') =>
    state.map((tensor) => makeValueInfo(tensor[end], tensor.type, tensor.shape));
  const outputs = infos('output');
  inputs.push(...infos('input'));
  const coefficients = schedule(b, layout, inputs);
  if (active) inputs.push(makeValueInfo(active, 'float32', [names.length]));
  const reports: { -readonly [K in keyof Reports]: Reports[K] } = {};
  const report = (
    key: keyof Reports,
    operator: string,
    input: Operand[],
    shape: readonly number[] = [],
  ) => {
    const value = b.node(operator, input, {}, `${prefix}${key}`);
    outputs.push(makeValueInfo(value, 'float32', shape));
    reports[key] = value;
    return value;
  };

  let first = 0;
  const arenas = groups.map(({ places, length }) => {
    const own = active && b.slice(active, first, first + places.length);
    first += places.length;
    const filled = [...places.entries()].filter(([, { start, end }]) => end > start);
    /** A truth value for each parameter of the group, spread over its elements. */
    const spread = (numbers: Value) =>
      b.concat(
        filled.map(([i, { start, end }]) =>
          b.node('Expand', [isOne(b.slice(numbers, i, i + 1)), b.integers(end - start)]),
        ),
      );
    const flat = filled.map(([, { name, start, end }]) =>
      b.reshape(gradients[name]!, [end - start]),
    );
    const joined = flat.length > 1 ? b.concat(flat) : flat[0];
    const mask = joined && own && spread(own);
    return { own, mask, spread, length, gradient: mask ? where(mask, joined, 0) : joined };
  });
  const present = arenas.flatMap(({ gradient, length }) => (gradient ? { gradient, length } : []));

  let clip: Value | undefined;
  if (maxGradNorm > 0 && present.length > 0) {
    const squares = present.map(({ gradient, length }) => sumOfSquares(b, gradient, length));
    const norm = report('gradientNorm', 'Sqrt', [sum(squares)]);
    clip = report('clipFactor', 'Min', [1, div(maxGradNorm, add(norm, epsilon))]);
  }

  // 0 · g is 0 for every number, and NaN for NaN and infinity: so is the sum.
  let finite: Value | undefined;
  if (nonFinite !== 'ignore' && names.length > 0) {
    const nothing = (value: Value) => total(b, mul(value, 0));
    let verdict: Operand;
    if (nonFinite === 'throw') {
      const each = b.concat(names.map((name) => b.reshape(nothing(gradients[name]!), [1])));
      const masked = active ? where(isOne(active), each, 0) : each;
      verdict = total(b, report('finite', 'Add', [masked, 0], [names.length]));
    } else verdict = sum(present.map(({ gradient }) => nothing(gradient)));
    finite = b.node('Equal', [verdict, 0]);
  }
  const share = finite ? b.cast(finite, 'float32') : 1;

  groups.forEach(({ form }, k) => {
    const { gradient, own, mask, spread } = arenas[k]!;
    const tensors = state.filter(({ group }) => group === k);
    const current = Object.fromEntries(
      tensors.map(({ key, input }) => [key, input]),
    ) as unknown as ElementState<Value>;
    let result = current;
    let write: Value | undefined;
    if (gradient) {
      const clipped = clip ? mul(gradient, clip) : gradient;
      const { seen } = current;
      if (seen) current.g = where(own ? spread(seen) : isOne(seen), current.g!, clipped);
      result = updateRule<Value>(b, form, coefficients[k]!, current, clipped);
      write = mask && finite ? b.node('And', [mask, finite]) : (mask ?? finite);
    }
    for (const { key, input, output } of tensors) {
      if (key === 'skippedSteps') b.node('Add', [input, sub(1, share)], {}, output);
      else if (key === 'seen') b.node('Max', [input, own ? mul(own, share) : share], {}, output);
      else if (key !== 'scalars') {
        if (write) where(write, result[key]!, input, output);
        else b.node('Identity', [result[key]!], {}, output);
      }
    }
  });
  return { reports, outputs };
}

function total(b: GraphBuilder, value: Value): Value {
  return b.node('ReduceSum', [value], { keepdims: 0 });
}

/** Σ g², in rows: providers add up a row one by one, and a million float32 in a row lose digits. */
function sumOfSquares(b: GraphBuilder, gradient: Value, length: number): Value {
  const width = Math.ceil(Math.sqrt(length));
  const square = b.mul(gradient, gradient);
  const missing = width ** 2 - length;
  const filled = missing ? b.node('Pad', [square, b.integers(0, missing)]) : square;
  const rows = b.reshape(filled, [width, width]);
  return total(b, b.node('ReduceSum', [rows, b.integers(1)], { keepdims: 0 }));
}

/** The step alone. A gradient's input is named as its parameter. */
export function stepGraphOf(layout: Layout, schedule: Schedule): StepGraph {
  const b = new GraphBuilder(layout.prefix);
  const places = layout.groups.flatMap((group) => group.places);
  const input = places.map(({ name, shape }) => makeValueInfo(name, 'float32', shape));
  const gradients = Object.fromEntries(layout.names.map((name) => [name, name]));
  const { reports, outputs: output } = appendStep(b, layout, schedule, gradients, input);
  const initializer = [...b.constants.values()];
  const graph = { node: b.nodes, name: 'schedule-free-adan step', initializer, input };
  // Every runtime of the last years knows these versions.
  const opsetImport = [{ domain: '', version: 17 }];
  const model = modelOf({ irVersion: 8, graph, opsetImport }, output, input);
  return { model, layout, reports };
}

/** Loss, gradients and step. */
export function trainingStepOf(
  model: Model,
  of: GradientModel,
  layout: Layout,
  schedule: Schedule,
): StepGraph {
  const after = new GraphBuilder(layout.prefix);
  let reports: Reports = {};
  const made = withArenas(model, layout.groups, after, (graph, inputs) => {
    const step = appendStep(after, layout, schedule, of.gradients, inputs);
    reports = step.reports;
    return [...plainOutputs(graph, of), ...step.outputs];
  });
  return { model: made, layout, reports };
}
