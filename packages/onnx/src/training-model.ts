import { ParameterError } from '@schedule-free-adan/core';
import { OnnxModelError } from './errors.js';
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
import { type Feeds, Runner } from './runtime.js';
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

function refuse(
  code: OnnxModelError['code'],
  message: string,
  subject?: string,
  value?: unknown,
): never {
  throw new OnnxModelError(code, message, subject, value);
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

/** Everything in a graph that has a name: what makes it, and its type as far as it is told. */
function describe(graph: Graph) {
  const { input = [], output = [], valueInfo = [], initializer = [], node = [] } = graph;
  const computed = node.flatMap(({ output: names = [] }) => names);
  const made = new Set([
    ...byName<{ name?: string }>([...input, ...initializer]).keys(),
    ...computed,
  ]);
  return { made, infos: byName([...valueInfo, ...input, ...output]) };
}

/** Throws unless a value, as far as its type is told, is float32 of that shape. */
function checkValue(
  info: ValueInfo | undefined,
  what: string,
  shapes: readonly (readonly number[])[],
) {
  if (!info?.type?.tensorType) return;
  const { name = '' } = info;
  const { elemType, dims } = toldOf(info);
  if (elemType !== elementTypes.float32) {
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
  const { made, infos } = describe(graph);
  if (!made.has(loss)) {
    const outputs = list((graph.output ?? []).map(({ name = '' }) => name));
    refuse(
      'unknown-value',
      `The loss '${loss}' is no value of the model; its outputs are ${outputs}.`,
      loss,
    );
  }
  checkValue(infos.get(loss), `The loss '${loss}'`, [[], [1], [1, 1]]);
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
    const tensor = tensors.get(name);
    if (!tensor) {
      refuse(
        'unknown-value',
        `The parameter '${name}' is no initializer of the model; those are ${list(tensors.keys())}.`,
        name,
      );
    }
    if (!made.has(gradient)) {
      refuse(
        'unknown-value',
        `The gradient '${gradient}' of '${name}' is no value of the model; name a node's output.`,
        gradient,
      );
    }
    const values = floatValues(tensor);
    const shape = shapeOf(tensor);
    checkValue(infos.get(gradient), `The gradient '${gradient}' of '${name}'`, [shape]);
    return { name, shape, values };
  });
}

export function checkPrefix(model: Model, prefix: string): void {
  const { made } = describe(graphOf(model));
  for (const name of made) {
    if (prefix === '' || name.startsWith(prefix)) {
      const message = `The model has a value '${name}' already; give another prefix than '${prefix}'.`;
      refuse('invalid-option', message, 'prefix', prefix);
    }
  }
}

/** A value's type for an output, as far as the graph tells. */
const outputInfo = (graph: Graph, name: string): ValueInfo =>
  describe(graph).infos.get(name) ?? {
    name,
    type: { tensorType: { elemType: elementTypes.float32 } },
  };

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
  const { prefix } = after;
  const before = new GraphBuilder(`${prefix}cut/`);
  const cut = new Set<string>();
  const arenas = groups.map(({ places, length }, k) => {
    const arena = arenaName(prefix, k);
    for (const { name, shape, start, end } of places) {
      const part = end - start === length ? arena : before.slice(arena, start, end);
      before.reshape(part, shape, name);
      cut.add(name);
    }
    return makeValueInfo(arena, 'float32', [length]);
  });
  const { inputs = [], outputs } = append(graph);
  const kept = <T extends { name?: string }>(list: readonly T[] = []) =>
    list.filter(({ name = '' }) => !cut.has(name));
  const { node, initializer, values } = reachable(
    {
      node: [...before.nodes, ...(graph.node ?? []), ...after.nodes],
      initializer: [
        ...kept(graph.initializer),
        ...before.constants.values(),
        ...after.constants.values(),
      ],
    },
    outputs,
  );
  const own = [...byName([...arenas, ...inputs])].filter(([name]) => values.has(name));
  return {
    ...model,
    graph: {
      ...graph,
      node,
      initializer,
      input: [...kept(graph.input), ...own.map(([, info]) => info)],
      output: [...outputs],
      valueInfo: kept(graph.valueInfo),
    },
  };
}

/** Outputs of the model that are no gradients, the loss first. */
export function plainOutputs(graph: Graph, { loss, gradients }: GradientModel): ValueInfo[] {
  const others = (graph.output ?? []).filter(
    ({ name = '' }) => name !== loss && !Object.values(gradients).includes(name),
  );
  return [outputInfo(graph, loss), ...others];
}

/** What a user evaluates and exports: the model without its gradients, and what only they need. */
export function forwardModelOf(model: Model, of: GradientModel): Model {
  const graph = graphOf(model);
  const wanted = new Set(plainOutputs(graph, of).map(({ name }) => name));
  const output = (graph.output ?? []).filter(({ name }) => wanted.has(name));
  if (output.length === 0) output.push(outputInfo(graph, of.loss));
  return modelOf(model, output);
}

/** The model with other outputs, and what only the old ones needed left out. */
export function modelOf(model: Model, output: ValueInfo[]): Model {
  const graph = graphOf(model);
  const { node, initializer, values } = reachable(graph, output);
  const input = (graph.input ?? []).filter(({ name = '' }) => values.has(name));
  return { ...model, graph: { ...graph, node, initializer, input, output } };
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
    throw new OnnxModelError('wrong-shape', message, name, dims);
  }
}

/** Looks into what a runtime gave up on: its errors name no gradient. */
export async function diagnose(context: Context, batches: readonly Feeds[]): Promise<void> {
  const { ort, source, gradients, sessionOptions, carrying } = context;
  const output = [...new Set(Object.values(gradients))].map((name) => ({ name }));
  const model = { ...source, graph: { ...source.graph, output } };
  const runner = await Runner.create(ort, model, sessionOptions);
  try {
    for (const batch of batches) {
      const results = await runner.run(runner.pick({ ...batch, ...carrying?.feeds }));
      checkSizes(context, (name) => results[gradients[name]!]?.dims);
    }
  } finally {
    await runner.release();
  }
}
