import type { InferenceSession } from 'onnxruntime-common';
import { OnnxModelError } from '../errors.js';
import { encodeModel } from '../model/codec.js';
import type { Model } from '../model/schema.js';
import { arrays, sizeOf, toldOf, typeName } from '../model/tensors.js';
import type { OrtModule } from '../runtime.js';
import type { Extent } from './emit.js';
import { sequences } from './sequences.js';

/** What the probes tell of every value. */
export interface Probed {
  readonly shapes: ReadonlyMap<string, readonly Extent[]>;
  readonly types: ReadonlyMap<string, string>;
  /** Numbers of integer values that were the same in all probes. */
  readonly numbers: ReadonlyMap<string, readonly number[]>;
}

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
export function settle(model: Model, dimensions: Readonly<Record<string, number | string>>): Model {
  const used = new Set<string>();
  const input = (model.graph!.input ?? []).map((info) => {
    const type = info.type?.tensorType;
    if (!type?.shape) return info;
    const dim = (type.shape.dim ?? []).map(({ dimValue, dimParam }, axis) => {
      const place = `${info.name}:${axis}`;
      const name =
        dimParam || (Number(dimValue ?? 0) > 0 ? undefined : axis === 0 ? 'batch' : place);
      const key = [place, name].find((k) => k !== undefined && Object.hasOwn(dimensions, k));
      if (key !== undefined) used.add(key);
      const wanted = key === undefined ? (name ?? Number(dimValue)) : dimensions[key]!;
      return typeof wanted === 'number' ? { dimValue: wanted } : { dimParam: wanted };
    });
    return { ...info, type: { tensorType: { ...type, shape: { dim } } } };
  });
  for (const key of Object.keys(dimensions)) {
    if (used.has(key)) continue;
    const message = `'${key}' is no extent of an input; name one by its symbol or as 'input:axis'.`;
    throw new OnnxModelError('invalid-option', message, 'dimensions', key);
  }
  // Shapes that were told before may not hold now.
  const output = (model.graph!.output ?? []).map(({ name, type }) => ({
    name: name!,
    ...(type?.tensorType && { type: { tensorType: { elemType: type.tensorType.elemType! } } }),
  }));
  return { ...model, graph: { ...model.graph, input, output, valueInfo: [] } };
}

/** Runs a model on zeros, with every value as an output. */
export async function probe(
  ort: OrtModule,
  model: Model,
  sessionOptions: InferenceSession.SessionOptions,
): Promise<Probed> {
  const graph = model.graph!;
  const inputs = graph.input ?? [];
  const symbols = [
    ...new Set(
      inputs.flatMap((info) => (toldOf(info).dims ?? []).flatMap(({ dimParam }) => dimParam || [])),
    ),
  ];
  const nodes = graph.node ?? [];
  const others = sequences(nodes);
  const names = [...new Set(nodes.flatMap(({ output = [] }) => output))].filter(
    (name) => name && !others.has(name),
  );
  const session = await ort.InferenceSession.create(
    encodeModel({ ...model, graph: { ...graph, output: names.map((name) => ({ name })) } }),
    { ...sessionOptions, graphOptimizationLevel: 'disabled' },
  );
  const runs: {
    dims: Map<string, readonly number[]>;
    types: Map<string, string>;
    numbers: Map<string, readonly number[]>;
  }[] = [];
  try {
    for (let turn = 0; turn < (symbols.length > 0 ? 2 : 1); turn++) {
      const seen = {
        dims: new Map<string, readonly number[]>(),
        types: new Map<string, string>(),
        numbers: new Map<string, readonly number[]>(),
      };
      const feeds = Object.fromEntries(
        inputs.map((info) => {
          const { name = '' } = info;
          const told = toldOf(info);
          const dims = (told.dims ?? []).map(({ dimValue, dimParam }) =>
            dimParam
              ? guesses[symbols.indexOf(dimParam) % guesses.length]![turn]!
              : Number(dimValue),
          );
          const element = typeName(told.elemType);
          if (!Object.hasOwn(arrays, element)) {
            const message = `The input '${name}' is ${element}; convert the model to float32.`;
            throw new OnnxModelError('unsupported-model', message, name, element);
          }
          const data = new arrays[element as 'float32'](sizeOf(dims));
          seen.dims.set(name, dims);
          seen.types.set(name, element);
          return [name, new ort.Tensor(element as 'float32', data, dims)];
        }),
      );
      for (const [name, tensor] of Object.entries(await session.run(feeds))) {
        seen.dims.set(name, [...tensor.dims]);
        seen.types.set(name, tensor.type);
        if (/int|bool/.test(tensor.type) && tensor.size <= 64) {
          seen.numbers.set(name, Array.from(tensor.data as ArrayLike<number | bigint>, Number));
        }
        tensor.dispose?.();
      }
      runs.push(seen);
    }
  } catch (cause) {
    if (cause instanceof OnnxModelError) throw cause;
    const message = `The model does not run on extents ${symbols.map((s, i) => `${s} = ${guesses[i % guesses.length]!.join(' or ')}`).join(', ')}; give \`dimensions\` that it can have. ${(cause as Error).message}`;
    const error = new OnnxModelError('unsupported-model', message, 'dimensions');
    error.cause = cause;
    throw error;
  } finally {
    await session.release();
  }
  const [first] = runs;
  const shapes = new Map<string, readonly Extent[]>();
  for (const tensor of graph.initializer ?? []) {
    const { name = '', dims = [], dataType } = tensor;
    shapes.set(name, dims.map(Number));
    first!.types.set(name, typeName(dataType));
  }
  // Read where they show first, at an input if possible: a later value would be kept for its shape alone.
  const open = new Map<string, Extent>();
  for (const [name, dims] of first!.dims) {
    shapes.set(
      name,
      dims.map((extent, axis) => {
        const probes = runs.map((run) => run.dims.get(name)?.[axis] ?? -1);
        if (probes.every((p) => p === extent)) return extent;
        const found = open.get(String(probes)) ?? { of: name, axis, probes };
        open.set(String(probes), found);
        return found;
      }),
    );
  }
  // What the data decide may be the same by chance: only what shapes and constants decide is taken.
  const data = new Set(inputs.map(({ name = '' }) => name));
  for (const { input = [], output = [], opType } of graph.node ?? []) {
    if (opType === 'Shape' || opType === 'Size' || !input.some((name) => data.has(name))) continue;
    for (const name of output) data.add(name);
  }
  const numbers = [...first!.numbers].filter(
    ([name, list]) =>
      !data.has(name) && runs.every((run) => String(run.numbers.get(name)) === String(list)),
  );
  return { shapes, types: first!.types, numbers: new Map(numbers) };
}
