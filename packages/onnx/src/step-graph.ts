import type { Hyperparameters, OptimizerOptions } from '@schedule-free-adan/core';
import {
  advanceOver,
  type CoefficientName,
  type Coefficients,
  coefficients,
  coefficientsOver,
  type ElementState,
  initialScalars,
  type ScalarAlgebra,
  stateKeys,
  updateRule,
} from '@schedule-free-adan/core/rule';
import { GraphBuilder, type Operand, reachable, type Value } from './graph.js';
import type { ParameterShape } from './layout.js';
import type { Model, StringStringEntry, ValueInfo } from './model/schema.js';
import { makeValueInfo } from './model/tensors.js';
import {
  arenaGroups,
  coefficientsName,
  type Layout,
  makeLayout,
  scalarNames,
} from './state-layout.js';

/** Operator set of the graphs that are made from nothing: every runtime of the last years knows it. */
const OPSET = 17;
const IR_VERSION = 8;

export interface StepGraphOptions extends Omit<OptimizerOptions, 'placement'> {
  /** Begins every name that is added to a graph. Default `adan/`. */
  readonly prefix?: string;
  /**
   * A further input says which parameters have a gradient in a step; the others keep everything.
   * Default `false`: all have one.
   */
  readonly freezable?: boolean;
}

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

/** Also knows the schedule's arithmetic. */
export class StepBuilder extends GraphBuilder {
  /** The element `index` of a vector, as a scalar. */
  pick(vector: Value, index: number): Value {
    return this.node('Gather', [vector, this.constant(index, 'int64')], { axis: 0 });
  }

  /** The schedule's arithmetic, in float64. */
  readonly scalars: ScalarAlgebra<Value> = {
    add: this.#scalar('Add'),
    sub: this.#scalar('Sub'),
    mul: this.#scalar('Mul'),
    div: this.#scalar('Div'),
    pow: this.#scalar('Pow'),
    min: this.#scalar('Min'),
    max: this.#scalar('Max'),
  };

  /** A scalar of the schedule; a number becomes a constant. */
  double(value: Value | number): Value {
    return typeof value === 'number' ? this.constant(value, 'float64') : value;
  }

  #scalar(operator: string) {
    return (a: Value | number, b: Value | number) =>
      this.node(operator, [this.double(a), this.double(b)]);
  }
}

/**
 * Appends a step to a graph: gradients in, new state out. The formulas are those of the core's rule and
 * schedule; here is what surrounds them: arenas, the norm, and what a bad gradient does.
 */
export function appendStep(
  b: StepBuilder,
  layout: Layout,
  gradients: ReadonlyMap<string, Value>,
): Reports {
  const { groups, state, active, prefix, names } = layout;
  const { maxGradNorm, epsilon, nonFinite } = groups[0]!.hyperparameters;
  const { add, sub, mul, div } = b;
  const sum = (values: readonly Operand[]) => values.reduce<Operand>(add, 0);
  const where = (condition: Value, a: Operand, otherwise: Operand) =>
    b.node('Where', [condition, a, otherwise]);
  const isOne = (value: Value) => b.cast(value, 'bool');
  const reports: { -readonly [K in keyof Reports]: Reports[K] } = {};

  let first = 0;
  const arenas = groups.map(({ places, length }) => {
    const own =
      active && places.length > 0 ? b.slice(active, first, first + places.length) : undefined;
    first += places.length;
    if (length === 0) return { own, gradient: undefined };
    const filled = [...places.entries()].filter(([, { start, end }]) => end > start);
    /** A truth value for each parameter of the group, spread over its elements. */
    const spread = (numbers: Value) =>
      b.concat(
        filled.map(([i, { start, end }]) =>
          b.node('Expand', [isOne(b.slice(numbers, i, i + 1)), b.integers(end - start)]),
        ),
      );
    const flat = filled.map(([, { name, start, end }]) =>
      b.reshape(gradients.get(name)!, [end - start]),
    );
    const joined = flat.length === 1 ? flat[0]! : b.concat(flat);
    const mask = own && spread(own);
    return { gradient: mask ? where(mask, joined, 0) : joined, own, mask, spread, length };
  });
  const present = arenas.filter((arena) => arena.gradient !== undefined);

  let clip: Value | undefined;
  if (maxGradNorm > 0 && present.length > 0) {
    const squares = present.map(({ gradient, length }) => sumOfSquares(b, gradient, length));
    const norm = b.node('Sqrt', [sum(squares)], {}, `${prefix}gradientNorm`);
    const ratio = div(maxGradNorm, add(norm, epsilon));
    clip = b.node('Min', [1, ratio], {}, `${prefix}clipFactor`);
    reports.gradientNorm = norm;
    reports.clipFactor = clip;
  }

  // 0 · g is 0 for every number, and NaN for NaN and infinity: so is the sum.
  let finite: Value | undefined;
  if (nonFinite !== 'ignore' && names.length > 0) {
    const nothing = (value: Value) => total(b, mul(value, 0));
    let verdict: Operand;
    if (nonFinite === 'throw') {
      const each = b.concat(names.map((name) => b.reshape(nothing(gradients.get(name)!), [1])));
      reports.finite = b.node(
        'Add',
        [active ? where(isOne(active), each, 0) : each, 0],
        {},
        `${prefix}finite`,
      );
      verdict = total(b, reports.finite);
    } else verdict = sum(present.map(({ gradient }) => nothing(gradient)));
    finite = b.node('Equal', [verdict, 0]);
  }
  const skipped = state.find(({ key }) => key === 'skippedSteps')!;
  const share = finite ? b.cast(finite, 'float32') : 1;
  b.node('Add', [skipped.input, sub(1, share)], {}, skipped.output);

  groups.forEach(({ hyperparameters: h, form, places }, k) => {
    const of = (key: string) => state.find((s) => s.group === k && s.key === key)!;
    /** The schedule, and what it gives; or what the host says that it gives. */
    const coefficientsHere = (): Record<CoefficientName, Value> => {
      if (layout.hostSchedule) {
        const numbers = coefficientsName(prefix, k);
        return Object.fromEntries(
          coefficientNames(h).map((name, i) => [name, b.pick(numbers, i)]),
        ) as Record<CoefficientName, Value>;
      }
      const scalars = of('scalars');
      const { learningRate, ...present } = Object.fromEntries(
        scalarNames.map((name, i) => [name, b.pick(scalars.input, i)]),
      ) as Record<(typeof scalarNames)[number], Value>;
      const next = advanceOver(b.scalars, present, h, learningRate);
      const all = { ...next, learningRate };
      b.concat(
        scalarNames.map((name) => b.reshape(all[name], [1])),
        scalars.output,
      );
      const doubles = coefficientsOver(b.scalars, next, h, learningRate);
      return Object.fromEntries(
        (Object.keys(doubles) as CoefficientName[]).map((name) => [
          name,
          b.cast(b.double(doubles[name]), 'float32'),
        ]),
      ) as Record<CoefficientName, Value>;
    };
    const c: Coefficients<Value> = coefficientsHere();

    const arena = arenas[k]!;
    const taken = arena.own ? mul(arena.own, share) : share;
    if (arena.gradient === undefined) {
      for (const key of places.length > 0 ? stateKeys(form) : []) {
        const { input, output } = of(key);
        if (key === 'seen') b.node('Max', [input, taken], {}, output);
        else b.node('Identity', [input], {}, output);
      }
      return;
    }
    const gradient = clip ? mul(arena.gradient, clip) : arena.gradient;
    const keys = stateKeys(form);
    const current = Object.fromEntries(
      keys.map((key) => [key, of(key).input]),
    ) as unknown as ElementState<Value>;
    if (form.gradientDifference) {
      const seen = arena.own ? arena.spread(current.seen!) : isOne(current.seen!);
      current.g = where(seen, current.g!, gradient);
    }
    const result = updateRule(b, form, c, current, gradient);
    if (form.gradientDifference) result.seen = b.node('Max', [current.seen!, taken]);
    let write = finite;
    if (arena.mask) write = finite ? b.node('And', [arena.mask, finite]) : arena.mask;
    for (const key of keys) {
      const { input, output } = of(key);
      if (write && key !== 'seen') {
        b.node('Where', [write, result[key]!, input], {}, output);
      } else b.node('Identity', [result[key]!], {}, output);
    }
  });
  return reports;
}

/** In the order in which the host gives them. */
const coefficientNames = (hyperparameters: Hyperparameters) =>
  Object.keys(coefficients({ hyperparameters, scalars: initialScalars })) as CoefficientName[];

const total = (b: GraphBuilder, value: Value) => b.node('ReduceSum', [value], { keepdims: 0 });

/** Σ g², in rows: providers add up a row one by one, and a million float32 in a row lose digits. */
function sumOfSquares(b: GraphBuilder, gradient: Value, length: number): Value {
  const square = b.mul(gradient, gradient);
  const width = Math.floor(Math.sqrt(length));
  const rest = length % width;
  if (width < 16) return total(b, square);
  const body = rest === 0 ? square : b.slice(square, 0, length - rest);
  const rows = b.reshape(body, [(length - rest) / width, width]);
  const sum = total(b, b.node('ReduceSum', [rows, b.integers(1)], { keepdims: 0 }));
  return rest === 0 ? sum : b.add(sum, total(b, b.slice(square, length - rest, length)));
}

/** What a step reads and writes besides the model's own values. */
export function stateInfos({ state, active, names, hostSchedule, prefix, groups }: Layout): {
  inputs: ValueInfo[];
  outputs: ValueInfo[];
} {
  const infos = (end: 'input' | 'output') =>
    state.map((tensor) => makeValueInfo(tensor[end], tensor.type, tensor.shape));
  const inputs = infos('input');
  if (hostSchedule) {
    groups.forEach(({ hyperparameters }, k) => {
      const shape = [coefficientNames(hyperparameters).length];
      inputs.push(makeValueInfo(coefficientsName(prefix, k), 'float32', shape));
    });
  }
  if (active) inputs.push(makeValueInfo(active, 'float32', [names.length]));
  return { inputs, outputs: infos('output') };
}

export const reportInfos = (reports: Reports, names: number): ValueInfo[] =>
  Object.entries(reports).map(([key, value]) =>
    makeValueInfo(value, 'float32', key === 'finite' ? [names] : []),
  );

/** What the file says of itself: whoever finds it can run it. */
export function metadata({ groups, state, names, active }: Layout): StringStringEntry[] {
  const entries: Readonly<Record<string, unknown>> = {
    format: 'step/1',
    groups: groups.map(({ hyperparameters, places }) => ({ hyperparameters, parameters: places })),
    state: state.map(({ input, output, key, group }) => ({ input, output, key, group })),
    scalars: scalarNames,
    names,
    ...(active && { active }),
    use: 'Feed every state output of a step as the state input of the next. The state begins as zeros, but parameter and z with the parameters one behind the other, and learningRate in scalars.',
  };
  return Object.entries(entries).map(([key, value]) => ({
    key: `schedule-free-adan.${key}`,
    value: typeof value === 'string' ? value : JSON.stringify(value),
  }));
}

/**
 * The step as an ONNX model of its own, out of standard operators: gradients and state in, state out.
 * A gradient's input is named as its parameter. It runs wherever ONNX models run.
 * @throws OptionError, ParameterError
 */
export function buildStepGraph(
  parameters: readonly ParameterShape[],
  { prefix = 'adan/', freezable = false, ...options }: StepGraphOptions = {},
): StepGraph {
  return stepGraphOf(makeLayout(arenaGroups(prefix, parameters, options), { prefix, freezable }));
}

export function stepGraphOf(layout: Layout): StepGraph {
  const builder = new StepBuilder(layout.prefix);
  const places = layout.groups.flatMap((group) => group.places);
  const gradients = new Map(places.map(({ name }) => [name, name]));
  const reports = appendStep(builder, layout, gradients);
  const { inputs, outputs } = stateInfos(layout);
  const output = [...outputs, ...reportInfos(reports, places.length)];
  const { node, initializer } = reachable(
    { node: builder.nodes, initializer: [...builder.constants.values()] },
    output,
  );
  const model: Model = {
    irVersion: IR_VERSION,
    producerName: 'schedule-free-adan',
    graph: {
      node,
      name: 'schedule-free-adan step',
      initializer,
      input: [...places.map(({ name, shape }) => makeValueInfo(name, 'float32', shape)), ...inputs],
      output,
    },
    opsetImport: [{ domain: '', version: OPSET }],
    metadataProps: metadata(layout),
  };
  return { model, layout, reports };
}
