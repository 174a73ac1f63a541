import type { InferenceSession } from 'onnxruntime-common';
import { OnnxModelError, refuse } from '../errors.js';
import { reachable } from '../graph.js';
import { encodeModel } from '../model/codec.js';
import type { Graph, Model, ValueInfo } from '../model/schema.js';
import { arrays, elementTypes, shapeOf, sizeOf, toldOf, typeName } from '../model/tensors.js';
import type { OrtModule } from '../runtime.js';
import { invalidOption } from './choice.js';
import type { Extent } from './emit.js';
import { sequences } from './sequences.js';

/** What the probes tell of every value. */
export interface Probed {
  readonly shapes: ReadonlyMap<string, readonly Extent[]>;
  readonly types: ReadonlyMap<string, string>;
  /** Numbers of integer values that were the same in all probes. */
  readonly numbers: ReadonlyMap<string, readonly number[]>;
}

/** A graph whose lists are there, be they empty. */
export type WholeGraph = Graph & Required<Pick<Graph, 'node' | 'initializer' | 'input' | 'output'>>;
export type WholeModel = Model & { graph: WholeGraph };

/** Extents that a run decides are these in the first probe and the second: no two coincide by chance. */
const guesses = [
  [2, 3],
  [5, 7],
  [11, 13],
  [17, 19],
] as const;

/**
 * Gives every open extent of the inputs a name, or the number that was asked for.
 * @param dimensions a number, or another name, by the name of an extent or by `input:axis`
 */
export function settle(
  model: Model,
  dimensions: Readonly<Record<string, number | string>>,
): WholeModel {
  const { node = [], initializer = [], input = [], output = [] } = model.graph!;
  const used = new Set<unknown>();
  const settled = input.map((info) => {
    const { elemType, dims } = toldOf(info);
    if (!dims) return info;
    const dim = dims.map(({ dimValue = 0, dimParam }, axis) => {
      const place = `${info.name}:${axis}`;
      const fixed = Math.max(0, Number(dimValue));
      const told = dimParam || fixed || (axis === 0 ? 'batch' : place);
      const key = [place, told].find((one) => Object.hasOwn(dimensions, one));
      used.add(key);
      const wanted = key === undefined ? told : dimensions[key]!;
      return typeof wanted === 'number' ? { dimValue: wanted } : { dimParam: wanted };
    });
    return { ...info, type: { tensorType: { elemType, shape: { dim } } } };
  });
  const missed = Object.keys(dimensions).find((key) => !used.has(key));
  if (missed !== undefined) {
    const remedy = "it is no extent of an input; name one by its symbol or as 'input:axis'";
    invalidOption('dimensions', missed, remedy);
  }
  return {
    ...model,
    graph: {
      ...model.graph,
      node,
      initializer,
      input: settled as ValueInfo[],
      // Shapes that were told before may not hold now.
      output: output.map((info): ValueInfo => {
        const { elemType } = toldOf(info);
        return { name: info.name!, ...(elemType && { type: { tensorType: { elemType } } }) };
      }),
      valueInfo: [],
    },
  };
}

const notFloat32 = (name: string, type: string) => {
  const message = `'${name}' is ${type}; convert the model to float32.`;
  return refuse('unsupported-model', message, name, type);
};

/** Throws for a parameter that may have been meant to be trained. */
export function checkTypes({ initializer }: WholeGraph): void {
  for (const { name = '', dataType } of initializer) {
    if (dataType === elementTypes.float16) notFloat32(name, 'float16');
  }
}

/** Runs a model on zeros, with every value as an output. */
export async function probe(
  ort: OrtModule,
  model: WholeModel,
  sessionOptions: InferenceSession.SessionOptions,
): Promise<Probed> {
  const { node, initializer, input } = model.graph;
  const inputs = input.map((info) => {
    const { name = '' } = info;
    const { elemType, dims = [] } = toldOf(info);
    const type = typeName(elemType) as 'float32';
    if (!Object.hasOwn(arrays, type)) notFloat32(name, type);
    return { name, type, dims };
  });
  const symbols = [
    ...new Set(inputs.flatMap(({ dims }) => dims.flatMap(({ dimParam }) => dimParam || []))),
  ];
  const guess = (symbol: string) => guesses[symbols.indexOf(symbol) % guesses.length]!;
  const others = sequences(node);
  const output = node
    .flatMap(({ output = [] }) => output)
    .filter((name) => name && !others.has(name))
    .map((name) => ({ name }));
  const { initializer: read } = reachable(model.graph, output);
  const session = await ort.InferenceSession.create(
    encodeModel({ ...model, graph: { ...model.graph, initializer: read, output } }),
    { ...sessionOptions, graphOptimizationLevel: 'disabled' },
  );
  /** With numbers of integers, where there are few. */
  type Seen = { dims: readonly number[]; type: string; numbers: number[] | false };
  const runs: Map<string, Seen>[] = [];
  try {
    for (const turn of symbols.length > 0 ? [0, 1] : [0]) {
      const feeds = Object.fromEntries(
        inputs.map(({ name, type, dims }) => {
          const extents = dims.map(({ dimValue, dimParam }) =>
            dimParam ? guess(dimParam)[turn]! : Number(dimValue),
          );
          const data = new arrays[type](sizeOf(extents));
          return [name, new ort.Tensor(type, data, extents)];
        }),
      );
      // Inputs first.
      const values = Object.entries({ ...feeds, ...(await session.run(feeds)) });
      const run: (typeof runs)[number] = new Map();
      for (const [name, tensor] of values) {
        const { type } = tensor;
        const few = /int|bool/.test(type) && tensor.size <= 64;
        const numbers = few && Array.from(tensor.data as ArrayLike<number | bigint>, Number);
        run.set(name, { dims: [...tensor.dims], type, numbers });
        tensor.dispose?.();
      }
      runs.push(run);
    }
  } catch (cause) {
    const tried = symbols.map((symbol) => `${symbol} = ${guess(symbol).join(' or ')}`);
    const message = `The model does not run on extents ${tried.join(', ')}; give \`dimensions\` that it can have. ${(cause as Error).message}`;
    const error = new OnnxModelError('unsupported-model', message, 'dimensions');
    error.cause = cause;
    throw error;
  } finally {
    await session.release();
  }
  const shapes = new Map<string, readonly Extent[]>();
  const types = new Map<string, string>();
  const numbers = new Map<string, readonly number[]>();
  for (const tensor of initializer) {
    shapes.set(tensor.name!, shapeOf(tensor));
    types.set(tensor.name!, typeName(tensor.dataType));
  }
  // What the data decide may be the same by chance: only what shapes and constants decide is taken.
  const data = new Set(inputs.map(({ name }) => name));
  for (const { input = [], output = [], opType } of node) {
    if (opType === 'Shape' || opType === 'Size' || !input.some((name) => data.has(name))) continue;
    for (const name of output) data.add(name);
  }
  // Read where they show first, at an input if possible: a later value would be kept for its shape alone.
  const open = new Map<string, Extent>();
  for (const [name, first] of runs[0]!) {
    const all = runs.map((run) => run.get(name));
    const shape = first.dims.map((extent, axis) => {
      const probes = all.map((one) => one?.dims[axis] ?? -1);
      if (probes.every((p) => p === extent)) return extent;
      const key = String(probes);
      const found = open.get(key) ?? { of: name, axis, probes };
      open.set(key, found);
      return found;
    });
    shapes.set(name, shape);
    types.set(name, first.type);
    const same = all.every((one) => String(one?.numbers) === String(first.numbers));
    if (first.numbers && same && !data.has(name)) numbers.set(name, first.numbers);
  }
  return { shapes, types, numbers };
}
