import { refuse } from '../errors.js';
import type { Dimension, Graph, Int, Model, Tensor, ValueInfo } from './schema.js';

/** Numbers of element types in ONNX files. */
export const elementTypes = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  string: 8,
  bool: 9,
  float16: 10,
  float64: 11,
} as const;
export type ElementType = keyof typeof elementTypes;

export const typeName = (dataType: number | undefined): string =>
  Object.entries(elementTypes).find(([, number]) => number === dataType)?.[0] ??
  `element type ${dataType ?? 'none'}`;

export const shapeOf = ({ dims = [] }: Tensor): number[] => dims.map(Number);
export const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** Arrays of element types. */
export const arrays = {
  float32: Float32Array,
  float64: Float64Array,
  int32: Int32Array,
  int64: BigInt64Array,
  bool: Uint8Array,
  uint8: Uint8Array,
  int8: Int8Array,
} as const;
/** Element types that there are arrays of. */
export type ArrayType = keyof typeof arrays;

/** A tensor with these values, as raw bytes. */
export function makeTensor(
  name: string,
  type: ArrayType,
  dims: readonly number[],
  values: Iterable<number>,
): Tensor {
  const convert = (type === 'int64' ? BigInt : Number) as typeof Number;
  const data = arrays[type as 'float32'].from([...values], convert);
  return {
    name,
    dims: [...dims],
    dataType: elementTypes[type],
    rawData: new Uint8Array(data.buffer),
  };
}

/** What a graph's input or output is. `undefined` for a dimension that a run decides. */
export function makeValueInfo(
  name: string,
  type: ElementType,
  shape: readonly (number | string)[],
): ValueInfo {
  const dim = shape.map((d) => (typeof d === 'number' ? { dimValue: d } : { dimParam: d }));
  return { name, type: { tensorType: { elemType: elementTypes[type], shape: { dim } } } };
}

/** Element type and extents of a value, as far as a model tells. */
export function toldOf({ type }: ValueInfo) {
  const { elemType, shape } = type?.tensorType ?? {};
  return { elemType, dims: shape?.dim };
}
/** Whether a shape has the extents that a model tells. */
export const fits = (dims: readonly Dimension[], shape: readonly number[]): boolean =>
  dims.length === shape.length &&
  dims.every(({ dimValue }, i) => dimValue === undefined || Number(dimValue) === shape[i]);
/** Extents as an error shows them. */
export const shown = (dims: readonly Dimension[]): string =>
  `[${dims.map(({ dimValue, dimParam }) => dimValue ?? dimParam ?? '?')}]`;
/** Names as an error shows them. */
export const list = (names: Iterable<string>): string =>
  [...names].map((name) => `'${name}'`).join(', ');

/** By name, in their order; of several with one name the last. */
export const byName = <T extends { name?: string }>(list: readonly T[] = []): Map<string, T> =>
  new Map(list.map((one) => [one.name ?? '', one]));

const isExternal = (tensor: Tensor) => tensor.dataLocation === 1;

/**
 * The values of a float32 tensor, as a copy.
 * @throws OnnxModelError `wrong-dtype`, `missing-external-data`, or `wrong-shape` where there are more or
 * fewer values than the shape says.
 */
export function floatValues(tensor: Tensor): Float32Array {
  const { name = '', dataType, rawData, floatData } = tensor;
  if (dataType !== elementTypes.float32) {
    const message = `'${name}' holds ${typeName(dataType)}, not float32; convert the model.`;
    refuse('wrong-dtype', message, name, dataType);
  }
  if (isExternal(tensor)) {
    const message = `The values of '${name}' are in another file; pass the model through inlineExternalData first.`;
    refuse('missing-external-data', message, name);
  }
  const shape = shapeOf(tensor);
  const bytes = rawData?.length ?? 4 * (floatData?.length ?? 0);
  if (bytes !== 4 * sizeOf(shape)) {
    const message = `'${name}' of shape [${shape}] holds ${bytes} bytes; the file is damaged.`;
    refuse('wrong-shape', message, name, bytes);
  }
  const values = valuesIn(tensor) as Float32Array;
  return rawData ? values : new Float32Array(values);
}

/** What a tensor of any type in {@link arrays} holds: raw bytes as a copy. */
function valuesIn({ dataType, rawData, floatData, int64Data, int32Data }: Tensor) {
  const kind = arrays[typeName(dataType) as 'float32'];
  return rawData
    ? new kind(new Uint8Array(rawData).buffer)
    : (floatData ?? int64Data ?? int32Data ?? []);
}

/** That as numbers, 64-bit integers as far as a number goes. */
export const numbersOf = (tensor: Tensor): number[] =>
  Array.from(valuesIn(tensor) as ArrayLike<number>, Number);

/** The same tensor with other values: kept in the field where they were, so that nothing else changes. */
export function withFloatValues(tensor: Tensor, values: Float32Array): Tensor {
  if (tensor.floatData) return { ...tensor, floatData: values.slice() };
  return { ...tensor, rawData: new Uint8Array(values.slice().buffer) };
}

function* attributeGraphs(graph: Graph): Generator<Graph> {
  yield graph;
  for (const { attribute = [] } of graph.node ?? []) {
    for (const { g, graphs = [] } of attribute) {
      for (const inner of g ? [g, ...graphs] : graphs) yield* attributeGraphs(inner);
    }
  }
}

/**
 * Reads the tensors that a model keeps in other files, and returns the model with them inside.
 * @param files the contents by the `location` that the model names
 * @throws OnnxModelError `missing-external-data` for a file that is not there or too short
 */
export function inlineExternalData(
  model: Model,
  files: Readonly<Record<string, Uint8Array>>,
): Model {
  const copy = structuredCloneOfGraphs(model);
  for (const graph of copy.graph ? attributeGraphs(copy.graph) : []) {
    graph.initializer = (graph.initializer ?? []).map((tensor) => inline(tensor, files));
    for (const { attribute = [] } of graph.node ?? []) {
      for (const a of attribute) if (a.t) a.t = inline(a.t, files);
    }
  }
  return copy;
}

/**
 * The reverse: moves the values of large initializers out of a model, into one file beside it. Offsets
 * are multiples of 4096, so that a runtime may map the file.
 * @param location name of that file, relative to the model's
 * @param options `minimum`: bytes from which values move. Default 1024.
 * @throws OnnxModelError `invalid-option` for a location that is empty, absolute or leads upwards, or
 * that the model uses already
 */
export function externalizeData(
  model: Model,
  location: string,
  { minimum = 1024 }: { readonly minimum?: number } = {},
): { model: Model; data: Uint8Array } {
  if (location === '' || /^[/\\]|^[a-z]:|(^|[/\\])\.\.([/\\]|$)/i.test(location)) {
    const message = `location is ${JSON.stringify(location)}; give a path below the model's folder.`;
    refuse('invalid-option', message, 'location', location);
  }
  if (!(minimum >= 0)) {
    const message = `minimum is ${minimum}; give a number of bytes, 0 or more.`;
    refuse('invalid-option', message, 'minimum', minimum);
  }
  const copy = structuredCloneOfGraphs(model);
  const pieces: { offset: number; bytes: Uint8Array }[] = [];
  let end = 0;
  const externalize = (tensor: Tensor): Tensor => {
    const { externalData = [], rawData, ...rest } = tensor;
    if (isExternal(tensor)) {
      if (externalData.some(({ key, value }) => key === 'location' && value === location)) {
        const message = `'${tensor.name ?? ''}' lies in '${location}' already; give another location.`;
        refuse('invalid-option', message, 'location', location);
      }
      return tensor;
    }
    if (!rawData || rawData.length < minimum || rawData.length === 0) return tensor;
    const offset = Math.ceil(end / 4096) * 4096;
    end = offset + rawData.length;
    pieces.push({ offset, bytes: rawData });
    const entries = { location, offset, length: rawData.length };
    return {
      ...rest,
      dataLocation: 1,
      externalData: Object.entries(entries).map(([key, value]) => ({ key, value: String(value) })),
    };
  };
  for (const graph of copy.graph ? attributeGraphs(copy.graph) : []) {
    if (graph.initializer) graph.initializer = graph.initializer.map(externalize);
  }
  const data = new Uint8Array(end);
  for (const { offset, bytes } of pieces) data.set(bytes, offset);
  return { model: copy, data };
}

/** Fresh graphs, nodes and attributes, so that the caller's stay as they are; values are shared. */
function structuredCloneOfGraphs(model: Model): Model {
  const copyGraph = (graph: Graph): Graph => ({
    ...graph,
    ...(graph.node && {
      node: graph.node.map((node) => ({
        ...node,
        ...(node.attribute && {
          attribute: node.attribute.map((a) => ({
            ...a,
            ...(a.g && { g: copyGraph(a.g) }),
            ...(a.graphs && { graphs: a.graphs.map(copyGraph) }),
          })),
        }),
      })),
    }),
  });
  return { ...model, ...(model.graph && { graph: copyGraph(model.graph) }) };
}

function inline(tensor: Tensor, files: Readonly<Record<string, Uint8Array>>): Tensor {
  if (!isExternal(tensor)) return tensor;
  const { externalData = [], dataLocation: _, ...rest } = tensor;
  const entry = (key: string) => externalData.find((e) => e.key === key)?.value;
  const { name = '' } = tensor;
  const location = entry('location') ?? '';
  const file = Object.hasOwn(files, location) ? files[location] : undefined;
  const offset = Number(entry('offset') ?? 0);
  const length = Number(entry('length') ?? (file?.length ?? 0) - offset);
  if (!file || !(offset >= 0 && length >= 0 && offset + length <= file.length)) {
    const what = file
      ? `bytes ${offset} to ${offset + length} of '${location}', which has ${file.length}`
      : `'${location}', which is not among the files`;
    const message = `'${name}' needs ${what}; pass that file with inlineExternalData.`;
    refuse('missing-external-data', message, name, location);
  }
  return { ...rest, rawData: file.subarray(offset, offset + length) };
}

/** An integer of a file, where it must fit a number. */
export const toNumber = (value: Int | undefined): number => Number(value ?? 0);
