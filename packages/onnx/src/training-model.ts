import { refuse, refuseParameter } from './errors.js';
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
import type { Context } from './trainer.js';

/**
 * Which values of a model are what. A name that the model lacks is an OnnxModelError `unknown-value`; a value
 * that does not fit is one of `wrong-dtype` or `wrong-shape`.
 */
export interface GradientModel {
  /** The value that holds the loss: one float32 number, of shape [], [1] or [1, 1]. */
  readonly loss: string;
  /**
   * By parameter, the value that holds the gradient of the loss: float32, of the parameter's shape. A parameter
   * is an initializer, float32 as well.
   */
  readonly gradients: Readonly<Record<string, string>>;
  /**
   * By initializer, the value that takes its place after a run, float32 and of its shape: the running
   * statistics of a normalization.
   */
  readonly carried?: Readonly<Record<string, string>>;
  /** By carried initializer, what it is a moving average of: a value of its shape. */
  readonly averaged?: Readonly<Record<string, string>>;
}

/** A parameter of a model, with the values that it begins with. */
export interface ModelParameter extends ParameterShape {
  readonly values: Float32Array;
}

/** Whether an operator or an operator set is one of ONNX itself. */
export const isStandard = ({ domain = '' }: { readonly domain?: string }): boolean =>
  domain === '' || domain === 'ai.onnx';

/**
 * @param least the oldest operator set whose operators are used as they are; 13 for the step
 * @throws OnnxModelError `unsupported-model` before that
 */
export function graphOf(model: Model, least = 13): Graph {
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
const valuesOf = (graph: Graph): Set<string> =>
  new Set([
    ...byName(graph.input).keys(),
    ...byName(graph.initializer).keys(),
    ...computedIn(graph),
  ]);

/** What a graph tells of its values. */
const infosOf = ({ input = [], output = [], valueInfo = [] }: Graph) =>
  byName([...valueInfo, ...input, ...output]);

const namesOf = (values: readonly { readonly name?: string }[] = []) =>
  list(values.map(({ name = '' }) => name));

/**
 * An initializer by its name.
 * @throws OnnxModelError `unknown-value`, ParameterError `duplicate-parameter`
 */
export function initializerOf({ initializer = [] }: Graph, what: string, name: string): Tensor {
  const [tensor, second] = initializer.filter((one) => one.name === name);
  if (second) {
    const message = `'${name}' is the name of two initializers; rename one.`;
    refuseParameter('duplicate-parameter', message, name);
  }
  return (
    tensor ??
    refuse(
      'unknown-value',
      `The ${what} '${name}' is no initializer; those are ${namesOf(initializer)}.`,
      name,
    )
  );
}

const wrongShape = (
  what: string,
  name: string,
  shape: readonly number[],
  dims: unknown,
  told = `[${dims}]`,
): never => refuse('wrong-shape', `${what} has shape ${told}, not [${shape}].`, name, dims);

const gradientOf = (gradient: string | undefined, name: string) =>
  `The gradient '${gradient}' of '${name}'`;

/**
 * The parameters of a model, checked against their gradients.
 * @throws OnnxModelError, ParameterError `duplicate-parameter`
 */
export function readParameters(model: Model, { loss, gradients }: GradientModel): ModelParameter[] {
  const graph = graphOf(model);
  const values = valuesOf(graph);
  const infos = infosOf(graph);
  /** Throws unless a value is there and, as far as its type is told, float32 of one of these shapes. */
  const check = (what: string, name: string, ...shapes: [readonly number[], ...number[][]]) => {
    if (!values.has(name)) {
      const message = `${what} is no value of the model; its outputs are ${namesOf(graph.output)}.`;
      refuse('unknown-value', message, name);
    }
    const { elemType = elementTypes.float32, dims } = toldOf(infos.get(name) ?? {});
    if (elemType !== elementTypes.float32) {
      refuse('wrong-dtype', `${what} is ${typeName(elemType)}, not float32.`, name, elemType);
    }
    if (dims && !shapes.some((shape) => fits(dims, shape))) {
      wrongShape(what, name, shapes[0], dims, shown(dims));
    }
  };
  check(`The loss '${loss}'`, loss, [], [1], [1, 1]);
  return Object.entries(gradients).map(([name, gradient]) => {
    const tensor = initializerOf(graph, 'parameter', name);
    const parameter = { name, shape: shapeOf(tensor), values: floatValues(tensor) };
    check(gradientOf(gradient, name), gradient, parameter.shape);
    return parameter;
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

/**
 * The model with its parameters cut out of arenas, under the names that it knows them by, and with
 * other outputs.
 * @param after what comes behind the model's own nodes
 * @param append adds to that, and to the inputs; gives the outputs
 */
export function withArenas(
  model: Model,
  arenas: readonly Arena[],
  after: GraphBuilder,
  append: (graph: Graph, inputs: ValueInfo[]) => readonly ValueInfo[],
): Model {
  const graph = graphOf(model);
  const cut = new Set<string>();
  const inputs = arenas.map(({ name: arena, places, length }) => {
    for (const { name, shape, start, end } of places) {
      const part = end - start === length ? arena : after.slice(arena, start, end);
      after.reshape(part, shape, name);
      cut.add(name);
    }
    return makeValueInfo(arena, 'float32', [length]);
  });
  const before = after.nodes.splice(0);
  const outputs = append(graph, inputs);
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
        input: [...input, ...byName(inputs).values()],
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
  infosOf(graph).get(loss) ?? {
    name: loss,
    type: { tensorType: { elemType: elementTypes.float32 } },
  },
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
  const output = [...byName(outputs).values()];
  return { ...model, graph: { ...graph, node, initializer, input, output } };
}

/** A forward model whose parameters are an input: each group's arena. */
export function evaluationModelOf(forward: Model, arenas: readonly Arena[], prefix: string): Model {
  checkPrefix(forward, prefix);
  const held = byName(graphOf(forward).initializer);
  for (const { name, shape } of arenas.flatMap(({ places }) => places)) {
    const tensor = held.get(name);
    if (tensor && String(shapeOf(tensor)) !== String(shape)) {
      wrongShape(`'${name}' of the forward model`, name, shape, shapeOf(tensor));
    }
  }
  return withArenas(forward, arenas, new GraphBuilder(prefix), ({ output = [] }) => output);
}

/** Throws if a gradient has another size than its parameter: a batch may decide it. */
export function checkSizes(
  { gradients, parameters }: GradientModel & { readonly parameters: readonly ParameterShape[] },
  dimsOf: (name: string) => readonly number[] | undefined,
): void {
  for (const { name, shape } of parameters) {
    const dims = dimsOf(name);
    if (dims && sizeOf(dims) !== sizeOf(shape)) {
      wrongShape(`${gradientOf(gradients[name], name)} in this batch`, name, shape, dims);
    }
  }
}

/** Looks into what a runtime gave up on: its errors name no gradient. */
export async function diagnose(context: Context, batches: readonly Feeds[]): Promise<void> {
  const { source, gradients } = context;
  const outputs = Object.values(gradients).map((name) => ({ name }));
  await withRunner(context, modelOf(source, outputs), async (runner) => {
    for (const batch of batches) {
      const results = await runner.run(runner.pick(batch));
      checkSizes(context, (name) => results[gradients[name]!]?.dims);
    }
  });
}
