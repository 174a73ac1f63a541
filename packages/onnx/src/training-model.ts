import { ParameterError } from '@schedule-free-adan/core';
import { refuse } from './errors.js';
import { GraphBuilder, reachable } from './graph.js';
import type { Arena, ParameterShape } from './layout.js';
import type { Graph, Model, Tensor, ValueInfo } from './model/schema.js';
import {
  byName,
  elementTypes,
  fits,
  floatValues,
  list,
  makeValueInfo,
  shapeOf,
  shown,
  sizeOf,
  toldOf,
  toNumber,
  typeName,
} from './model/tensors.js';
import { type Feeds, withRunner } from './runtime.js';
import { stateName } from './state-layout.js';
import type { Context } from './trainer.js';

/** Oldest operator set whose operators the step uses as they are. */
const MIN_OPSET = 13;

/** Which values of a model are what. */
export interface GradientModel {
  /** The value that holds the loss: one float32 number. */
  readonly loss: string;
  /** By parameter, the value that holds the gradient of the loss. A parameter is an initializer. */
  readonly gradients: Readonly<Record<string, string>>;
  /** By initializer, the value that takes its place after a run: the running statistics of a normalization. */
  readonly carried?: Readonly<Record<string, string>>;
  /** By carried initializer, what it is a moving average of. */
  readonly averaged?: Readonly<Record<string, string>>;
}

/** A parameter of a model, with the values that it begins with. */
export interface ModelParameter extends ParameterShape {
  readonly values: Float32Array;
}

/** Whether an operator or an operator set is one of ONNX itself. */
export const isStandard = ({ domain = '' }: { readonly domain?: string }): boolean =>
  domain === '' || domain === 'ai.onnx';

/** @throws OnnxModelError `unsupported-model` before operator set `least` */
export function graphOf(model: Model, least = MIN_OPSET): Graph {
  if (!model.graph) refuse('unsupported-model', 'The model has no graph; is the file complete?');
  const version = opsetOf(model);
  if (version < least) {
    const message = `The model uses operator set ${version}; convert it to ${least} or later.`;
    refuse('unsupported-model', message, 'opset', version);
  }
  return model.graph;
}

export const opsetOf = ({ opsetImport = [] }: Model): number =>
  toNumber(opsetImport.find(isStandard)?.version);

/** Values that nodes make. */
export const computedIn = ({ node = [] }: Graph): Set<string> =>
  new Set(node.flatMap(({ output = [] }) => output));

/** Values that a graph has, made or given. */
function valuesOf(graph: Graph): Set<string> {
  const { input = [], initializer = [] } = graph;
  const given = byName<{ name?: string }>([...input, ...initializer]);
  return new Set([...given.keys(), ...computedIn(graph)]);
}

/** Types of values, as far as the graph tells; float32 then. */
function infosOf({ input = [], output = [], valueInfo = [] }: Graph) {
  const infos = byName([...valueInfo, ...input, ...output]);
  return (name: string): ValueInfo =>
    infos.get(name) ?? { name, type: { tensorType: { elemType: elementTypes.float32 } } };
}

/** An initializer by its name. @throws OnnxModelError `unknown-value` */
export const initializerOf = (
  tensors: ReadonlyMap<string, Tensor>,
  what: string,
  name: string,
): Tensor =>
  tensors.get(name) ??
  refuse(
    'unknown-value',
    `The ${what} '${name}' is no initializer; those are ${list(tensors.keys())}.`,
    name,
  );

/** Throws unless a value, as far as its type is told, is float32 of one of these shapes. */
function checkValue(info: ValueInfo, what: string, ...shapes: (readonly number[])[]) {
  const { name = '' } = info;
  const { elemType, dims } = toldOf(info);
  if (elemType !== undefined && elemType !== elementTypes.float32) {
    refuse('wrong-dtype', `${what} is ${typeName(elemType)}, not float32.`, name, elemType);
  }
  if (dims && !shapes.some((shape) => fits(dims, shape))) {
    const message = `${what} has shape ${shown(dims)}, not [${shapes[0]}].`;
    refuse('wrong-shape', message, name, dims);
  }
}

/**
 * The parameters of a model, checked against their gradients.
 * @throws OnnxModelError, ParameterError `duplicate-parameter`
 */
export function readParameters(model: Model, { loss, gradients }: GradientModel): ModelParameter[] {
  const graph = graphOf(model);
  const values = valuesOf(graph);
  const infoOf = infosOf(graph);
  if (!values.has(loss)) {
    const outputs = list((graph.output ?? []).map(({ name = '' }) => name));
    const message = `The loss '${loss}' is no value of the model; its outputs are ${outputs}.`;
    refuse('unknown-value', message, loss);
  }
  checkValue(infoOf(loss), `The loss '${loss}'`, [], [1], [1, 1]);
  const tensors = new Map<string, Tensor>();
  for (const tensor of graph.initializer ?? []) {
    const { name = '' } = tensor;
    if (tensors.has(name) && Object.hasOwn(gradients, name)) {
      const message = `'${name}' is the name of two initializers; rename one.`;
      throw new ParameterError('duplicate-parameter', message, name);
    }
    tensors.set(name, tensor);
  }
  return Object.entries(gradients).map(([name, gradient]) => {
    const tensor = initializerOf(tensors, 'parameter', name);
    const what = `The gradient '${gradient}' of '${name}'`;
    if (!values.has(gradient)) {
      const message = `${what} is no value of the model; name a node's output.`;
      refuse('unknown-value', message, gradient);
    }
    const shape = shapeOf(tensor);
    const initial = floatValues(tensor);
    checkValue(infoOf(gradient), what, shape);
    return { name, shape, values: initial };
  });
}

export function checkPrefix(model: Model, prefix: string): void {
  for (const name of valuesOf(graphOf(model))) {
    if (prefix === '' || name.startsWith(prefix)) {
      const message = `The model has a value '${name}' already; give another prefix than '${prefix}'.`;
      refuse('invalid-option', message, 'prefix', prefix);
    }
  }
}

/** The input of a model with the parameters of a group. */
export const arenaName = (prefix: string, group: number) => stateName(prefix, group, 'parameter');

/**
 * The model with its parameters cut out of arenas, under the names that it knows them by, and with
 * other outputs.
 * @param after what comes behind the model's own nodes; `append` adds to it
 */
export function withArenas(
  model: Model,
  groups: readonly Arena[],
  after: GraphBuilder,
  append: (graph: Graph) => {
    readonly inputs?: readonly ValueInfo[];
    readonly outputs: readonly ValueInfo[];
  },
): Model {
  const graph = graphOf(model);
  const cut = new Set<string>();
  const arenas = groups.map(({ places, length }, k) => {
    const arena = arenaName(after.prefix, k);
    for (const { name, shape, start, end } of places) {
      const part = end - start === length ? arena : after.slice(arena, start, end);
      after.reshape(part, shape, name);
      cut.add(name);
    }
    return makeValueInfo(arena, 'float32', [length]);
  });
  const before = after.nodes.splice(0);
  const { inputs = [], outputs } = append(graph);
  const kept = <T extends { name?: string }>(list: readonly T[] = []) =>
    list.filter(({ name = '' }) => !cut.has(name));
  const input = kept(graph.input);
  return modelOf(
    {
      ...model,
      graph: {
        ...graph,
        node: [...before, ...(graph.node ?? []), ...after.nodes],
        initializer: [...kept(graph.initializer), ...after.constants.values()],
        input: [...input, ...byName([...arenas, ...inputs]).values()],
        valueInfo: kept(graph.valueInfo),
      },
    },
    outputs,
    input,
  );
}

/** The outputs but those with these names. */
const outputsBut = ({ output = [] }: Graph, names: readonly string[]): ValueInfo[] =>
  output.filter(({ name = '' }) => !names.includes(name));

/** Outputs of the model that are no gradients, the loss first. */
export const plainOutputs = (graph: Graph, { loss, gradients }: GradientModel): ValueInfo[] => [
  infosOf(graph)(loss),
  ...outputsBut(graph, [loss, ...Object.values(gradients)]),
];

/** What a user evaluates and exports: the model without its gradients, and what only they need. */
export function forwardModelOf(model: Model, of: GradientModel): Model {
  const graph = graphOf(model);
  const output = outputsBut(graph, Object.values(of.gradients));
  return modelOf(model, output.length > 0 ? output : plainOutputs(graph, of));
}

/**
 * The model with other outputs, and what only the old ones needed left out.
 * @param always inputs that stay
 */
export function modelOf(
  model: Model,
  outputs: readonly ValueInfo[],
  always: readonly ValueInfo[] = [],
): Model {
  const graph = graphOf(model);
  const { node, initializer, values } = reachable(graph, outputs);
  const input = (graph.input ?? []).filter(
    (info) => always.includes(info) || values.has(info.name ?? ''),
  );
  return { ...model, graph: { ...graph, node, initializer, input, output: [...outputs] } };
}

/** A forward model whose parameters are an input: each group's arena. */
export function evaluationModelOf(forward: Model, groups: readonly Arena[], prefix: string): Model {
  checkPrefix(forward, prefix);
  const held = byName(graphOf(forward).initializer);
  for (const { name, shape } of groups.flatMap(({ places }) => places)) {
    const tensor = held.get(name);
    if (tensor && String(shapeOf(tensor)) !== String(shape)) {
      const message = `'${name}' has shape [${shapeOf(tensor)}] in the forward model, not [${shape}].`;
      refuse('wrong-shape', message, name, shapeOf(tensor));
    }
  }
  return withArenas(forward, groups, new GraphBuilder(prefix), ({ output = [] }) => ({
    outputs: output,
  }));
}

/** Throws if a gradient has another size than its parameter: a batch may decide it. */
export function checkSizes(
  { gradients, parameters }: GradientModel & { readonly parameters: readonly ParameterShape[] },
  dimsOf: (name: string) => readonly number[] | undefined,
): void {
  for (const { name, shape } of parameters) {
    const dims = dimsOf(name);
    if (!dims || sizeOf(dims) === sizeOf(shape)) continue;
    const message = `The gradient '${gradients[name]}' of '${name}' has shape [${dims}] in this batch; it must have the parameter's shape [${shape}].`;
    refuse('wrong-shape', message, name, dims);
  }
}

/** Looks into what a runtime gave up on: its errors name no gradient. */
export async function diagnose(context: Context, batches: readonly Feeds[]): Promise<void> {
  const { source, gradients, carrying } = context;
  const outputs = [...new Set(Object.values(gradients))].map((name) => ({ name }));
  await withRunner(context, modelOf(source, outputs), async (runner) => {
    for (const batch of batches) {
      const results = await runner.run({}, { ...batch, ...carrying?.feeds() });
      checkSizes(context, (name) => results[gradients[name]!]?.dims);
    }
  });
}
