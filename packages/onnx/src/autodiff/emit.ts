import { GraphBuilder, type Operand, type Value } from '../graph.js';
import type { AttributeValue } from '../model/nodes.js';
import { sizeOf } from '../model/tensors.js';

/** An extent that a run decides: where to read it, and what it was in the probes. */
export interface RunExtent {
  readonly of: Value;
  readonly axis: number;
  readonly probes: readonly number[];
}
export type Extent = number | RunExtent;
export type Shape = readonly Extent[];

/** Whether two extents are the same in every run, as far as the probes tell. */
export const same = (a: Extent, b: Extent): boolean =>
  typeof a === 'number' || typeof b === 'number' ? a === b : String(a.probes) === String(b.probes);

export const range = (length: number, start = 0): number[] =>
  Array.from({ length }, (_, i) => i + start);

/** The permutation that takes another one back. */
export const inverse = (perm: readonly number[]): number[] => perm.map((_, i) => perm.indexOf(i));

/** Appends gradients to a graph. The same operator on the same values is made once. */
export class Emitter extends GraphBuilder {
  readonly #made = new Map<string, Value>();

  override node(
    opType: string,
    input: readonly Operand[],
    attributes: Readonly<Record<string, AttributeValue>> = {},
    output?: Value,
  ): Value {
    if (output !== undefined) return super.node(opType, input, attributes, output);
    const values = input.map((operand) => this.value(operand));
    const key = JSON.stringify([opType, values, attributes]);
    const made = this.#made.get(key) ?? super.node(opType, values, attributes);
    this.#made.set(key, made);
    return made;
  }

  neg(a: Value): Value {
    return this.node('Neg', [a]);
  }
  exp(a: Value): Value {
    return this.node('Exp', [a]);
  }
  where(condition: Value, a: Operand, b: Operand): Value {
    return this.node('Where', [condition, a, b]);
  }
  greater(a: Operand, b: Operand): Value {
    return this.node('Greater', [a, b]);
  }
  /** 1 where a = b, and 0 elsewhere. */
  equal(a: Value, b: Value): Value {
    return this.cast(this.node('Equal', [a, b]), 'float32');
  }
  scale(a: Value, factor: number): Value {
    return factor === 1 ? a : this.mul(a, factor);
  }

  sum(value: Value, axes: readonly number[], keepdims: 0 | 1 = 1): Value {
    if (axes.length === 0) return value;
    return this.node('ReduceSum', [value, this.integers(...axes)], { keepdims });
  }
  mean(value: Value, axes: readonly number[]): Value {
    return this.node('ReduceMean', [value, this.integers(...axes)], { keepdims: 1 });
  }

  transpose(value: Value, perm: readonly number[]): Value {
    return perm.every((axis, i) => axis === i) ? value : this.node('Transpose', [value], { perm });
  }
  matMul(a: Value, b: Value): Value {
    return this.node('MatMul', [a, b]);
  }
  gemm(a: Value, b: Value, transA: boolean, transB: boolean): Value {
    return this.node('Gemm', [a, b], { transA: Number(transA), transB: Number(transB) });
  }
  concatOn(values: readonly Value[], axis: number): Value {
    return values.length === 1 ? values[0]! : this.node('Concat', values, { axis });
  }
  /** Elements `start` to `end` along an axis. */
  cut(value: Value, axis: number, start: number, end: number, step = 1): Value {
    const vectors = [start, end, axis, step].map((n) => this.integers(n));
    return this.node('Slice', [value, ...vectors]);
  }
  pad(value: Value, begins: readonly number[], ends: readonly number[], fill = 0): Value {
    if ([...begins, ...ends].every((n) => n === 0)) return value;
    return this.node('Pad', [value, this.integers(...begins, ...ends), fill]);
  }

  extent({ of, axis }: RunExtent): Value {
    return this.node('Shape', [of], { start: axis, end: axis + 1 });
  }
  /** A shape as a vector of int64; constant where it can be. */
  shapeVector(shape: Shape): Value {
    if (shape.every((e) => typeof e === 'number')) return this.integers(...(shape as number[]));
    const { of } = shape[0] as RunExtent;
    // The first extents of one value, none of them known before: read at once.
    if (shape.every((e, i) => typeof e !== 'number' && e.of === of && e.axis === i)) {
      return this.node('Shape', [of], { start: 0, end: shape.length });
    }
    return this.concat(
      shape.map((e) => (typeof e === 'number' ? this.integers(e) : this.extent(e))),
    );
  }
  shaped(value: Value, shape: Shape): Value {
    const numbers = shape.map((e) => (typeof e === 'number' ? e : -1));
    const free = numbers.filter((n) => n < 0).length;
    if (free === 0 || (free === 1 && !numbers.includes(0))) return this.reshape(value, numbers);
    return this.node('Reshape', [value, this.shapeVector(shape)], { allowzero: 1 });
  }
  expand(value: Operand, shape: Shape): Value {
    return this.node('Expand', [value, this.shapeVector(shape)]);
  }
  zeros(shape: Shape): Value {
    return this.expand(0, shape);
  }
  /** How many elements there are, as a float. */
  count(shape: Shape): Operand {
    const fixed = sizeOf(shape.filter((e) => typeof e === 'number'));
    return shape
      .filter((e) => typeof e !== 'number')
      .map((e) => this.reshape(this.cast(this.extent(e), 'float32'), []))
      .reduce<Operand>((all, one) => (all === 1 ? one : this.mul(all, one)), fixed);
  }

  /** The gradient of a broadcast: sums over what was repeated. */
  sumTo(value: Value, from: Shape, to: Shape): Value {
    const more = from.length - to.length;
    const axes = range(from.length).filter(
      (i) => i < more || (to[i - more] === 1 && from[i] !== 1),
    );
    const kept = axes.length > more;
    const sum = this.sum(value, axes, kept ? 1 : 0);
    return kept && more > 0 ? this.shaped(sum, to) : sum;
  }

  /**
   * Along an axis of fixed extents: the gradient of a linear map, which makes `to` elements of `from`.
   * @param sources the elements that one is made of, and their weights
   */
  backAlong(
    value: Value,
    rank: number,
    axis: number,
    from: number,
    to: number,
    sources: (element: number) => readonly (readonly [number, number])[],
  ): Value {
    const matrix = new Float32Array(to * from);
    for (const element of range(to)) {
      for (const [source, weight] of sources(element)) matrix[element * from + source]! += weight;
    }
    const perm = [...range(rank).filter((i) => i !== axis), axis];
    const product = this.matMul(this.transpose(value, perm), this.floats([to, from], matrix));
    return this.transpose(product, inverse(perm));
  }
}
