import type { Operand, Value } from '../graph.js';
import { sizeOf } from '../model/tensors.js';
import { type Emitter, inverse, range, type Shape, same } from './emit.js';

/** What a rule sees of a node; the values have the shapes of the forward graph. */
export interface RuleContext {
  readonly b: Emitter;
  /** Inputs and outputs of the node, `''` where one is left out. */
  readonly x: readonly Value[];
  readonly y: readonly Value[];
  /** Gradient of the first output, and of each; of that output's shape. */
  readonly g: Value;
  readonly dy: readonly (Value | undefined)[];
  readonly opset: number;
  shape(value: Value): Shape;
  /** The extents of axes `from` to `to`, where they are known before a run. @throws OnnxModelError */
  fixed(value: Value, from?: number, to?: number): readonly number[];
  type(value: Value): string;
  /** Whether the gradient of that input is wanted. */
  needs(input: number): boolean;
  int(attribute: string, fallback: number): number;
  float(attribute: string, fallback: number): number;
  ints(attribute: string): readonly number[] | undefined;
  text(attribute: string, fallback: string): string;
  /** The numbers of an input that is the same in every run. */
  constant(input: number): readonly number[] | undefined;
  /** Ends with an error that names the node. */
  refuse(why: string): never;
}
/** A gradient; or what makes it, which is called if it is wanted. */
export type Gradient = Value | (() => Value) | undefined;
/** Appends the gradients of a node's inputs: each of its input's shape, `undefined` where there is none. */
export type Rule = (context: RuleContext) => readonly Gradient[];

const axisOf = (axis: number, rank: number) => (axis < 0 ? axis + rank : axis);
const rankOf = (c: RuleContext) => c.shape(c.x[0]!).length;
/** An axis of the first input, which the attribute gives. */
const axisFrom = (c: RuleContext, fallback: number) => axisOf(c.int('axis', fallback), rankOf(c));
/** The extent of one axis. */
export const extentOf = (c: RuleContext, value: Value, axis: number): number =>
  c.fixed(value, axis, axis + 1)[0]!;
/** The numbers of an input, if there is one. */
const numbersOf = (c: RuleContext, input: number) =>
  c.x[input] ? (c.constant(input) ?? c.refuse(`'${c.x[input]}' is not constant`)) : undefined;

/** The same in another type, if it has it not yet. */
const as = (c: RuleContext, value: Value, type: 'float32' | 'int64') =>
  c.type(value) === type ? value : c.b.cast(value, type);

type Unary = (b: Emitter, x: Value, y: Value, g: Value, c: RuleContext) => Value;
const unary =
  (rule: Unary): Rule =>
  (c) => [rule(c.b, c.x[0]!, c.y[0]!, c.g, c)];

/** A gradient of the output's shape, as one of an input that was broadcast to it. */
const sumTo = (c: RuleContext, input: number, value: Value) =>
  c.b.sumTo(value, c.shape(c.y[0]!), c.shape(c.x[input]!));
const broadcast = (c: RuleContext, input: number, make: () => Value) => () =>
  sumTo(c, input, make());

/** Inputs that are broadcast against each other. */
type Binary = (c: RuleContext, a: Value, b: Value) => readonly (() => Value)[];
const binary =
  (rule: Binary): Rule =>
  (c) =>
    rule(c, c.x[0]!, c.x[1]!).map((make, i) => broadcast(c, i, make));

/** The share of the gradient that belongs to each of several equal ones. */
const shared = ({ b, g }: RuleContext, hits: Value, all: Value) => b.mul(hits, b.div(g, all));

/** Minimum and maximum of several: equal ones share the gradient. */
const extreme: Rule = (c) => {
  const hits = c.x.map((value) => c.b.equal(value, c.y[0]!));
  const all = hits.reduce((a, hit) => c.b.add(a, hit));
  return hits.map((hit, i) => broadcast(c, i, () => shared(c, hit, all)));
};
/** Inputs that are added, or only broadcast: each gets the gradient as it is. */
const sum: Rule = (c) => c.x.map((_, i) => broadcast(c, i, () => c.g));

/** The gradient of a reduction, its axes kept as extents of 1. */
interface Reduction extends RuleContext {
  readonly axes: readonly number[];
}
const reduction =
  (rule: (c: Reduction, x: Value, y: Value) => Value): Rule =>
  (c) => {
    const shape = c.shape(c.x[0]!);
    const given = c.ints('axes') ?? numbersOf(c, 1) ?? [];
    const whole = given.length === 0 && !c.int('noop_with_empty_axes', 0);
    const axes = whole ? range(shape.length) : given.map((a) => axisOf(a, shape.length));
    const kept = shape.map((extent, i) => (axes.includes(i) ? 1 : extent));
    const keep = (value: Value) => (c.int('keepdims', 1) ? value : c.b.shaped(value, kept));
    return [rule({ ...c, axes, g: keep(c.g) }, c.x[0]!, keep(c.y[0]!))];
  };
/** The same over all axes but those of batch and channels. */
const globally =
  (name: 'ReduceMean' | 'ReduceMax'): Rule =>
  (c) =>
    rules[name]!({ ...c, ints: () => range(rankOf(c) - 2, 2) });

const meanOver = ({ b, g, axes, shape }: Reduction, x: Value) =>
  b.expand(b.div(g, b.count(axes.map((i) => shape(x)[i]!))), shape(x));
const extremeOver = (c: Reduction, x: Value, y: Value) => {
  const hits = c.b.equal(x, y);
  return shared(c, hits, c.b.sum(hits, c.axes));
};

/**
 * The gradients of scale · x̂ + bias, where x̂ is x with mean 0 and variance 1 over `axes`.
 * @param sum takes a gradient of x's shape to that of scale or bias
 * @param made x̂, and what x was multiplied by, where the forward pass has them
 */
export function normalization(
  c: RuleContext,
  x: Value,
  scale: Value,
  axes: readonly number[],
  sum: (value: Value, input: number) => Value,
  centered = true,
  made?: readonly [Value, Value],
) {
  const { b, g } = c;
  const { sub, mul, div, add, sqrt } = b;
  const center = (value: Value) => (centered ? sub(value, b.mean(value, axes)) : value);
  const normalized = () => {
    const from = center(x);
    const root = sqrt(add(b.mean(mul(from, from), axes), c.float('epsilon', 1e-5)));
    const r = div(1, root);
    return [mul(from, r), r] as const;
  };
  const [hat, r] = made ?? normalized();
  const dx = () => {
    const inner = mul(g, scale);
    return mul(r, sub(center(inner), mul(hat, b.mean(mul(inner, hat), axes))));
  };
  return [dx, () => sum(mul(g, hat), 1), () => sum(g, 2)] as const;
}

const layerNorm =
  (centered: boolean): Rule =>
  (c) => {
    const first = axisFrom(c, -1);
    const axes = range(rankOf(c) - first, first);
    const sum = (value: Value, input: number) => sumTo(c, input, value);
    return normalization(c, c.x[0]!, c.x[1]!, axes, sum, centered);
  };

/** Groups of channels, or single ones. There is a scale for each channel, or one for each group. */
const groupNorm: Rule = (c) => {
  const { b, x, g } = c;
  const [scales] = c.fixed(x[1]!) as [number];
  const groups = c.int('num_groups', scales);
  const sizes = [groups, scales / groups];
  // [N, groups, scales of a group, all the rest]
  const flat = (value: Value) => b.node('Reshape', [value, b.integers(0, ...sizes, -1)]);
  const scale = b.reshape(x[1]!, [...sizes, 1]);
  const sum = (value: Value) => b.reshape(b.sum(value, [0, 3], 0), [scales]);
  const inner = { ...c, g: flat(g) };
  const [dx, ...others] = normalization(inner, flat(x[0]!), scale, [2, 3], sum);
  return [() => b.shaped(dx(), c.shape(x[0]!)), ...others];
};

/** A vector of channels, against [N, C, …]. */
const channels = (c: RuleContext, value: Value) =>
  c.b.shaped(value, [c.shape(c.x[1]!)[0]!, ...range(rankOf(c) - 2).map(() => 1)]);
/** Sums over all but the channels of [N, C, …]. */
export const channelSum = (b: Emitter, value: Value, rank: number): Value =>
  b.sum(
    value,
    range(rank).filter((i) => i !== 1),
    0,
  );

const batchNorm: Rule = (c) => {
  const { b, x, g } = c;
  const { sub, mul, div, add, sqrt } = b;
  const rank = rankOf(c);
  const root = sqrt(add(x[4]!, c.float('epsilon', 1e-5)));
  return [
    () => mul(g, channels(c, div(x[1]!, root))),
    () => channelSum(b, mul(g, div(sub(x[0]!, channels(c, x[3]!)), channels(c, root))), rank),
    () => channelSum(b, g, rank),
  ];
};

const matMul: Rule = (c) => {
  const { b, x, y } = c;
  const [sa, sb, sy] = [c.shape(x[0]!), c.shape(x[1]!), c.shape(y[0]!)];
  // A vector is a matrix of one row, or of one column.
  const ta: Shape = sa.length === 1 ? [1, ...sa] : sa;
  const tb: Shape = sb.length === 1 ? [...sb, 1] : sb;
  const lifted = (value: Value, is: Shape, to: Shape) =>
    is.length === to.length ? value : b.shaped(value, to);
  const [m, k, n] = [ta.at(-2)!, ta.at(-1)!, tb.at(-1)!];
  const lead = sy.slice(0, Math.max(ta.length, tb.length) - 2);
  const [A, B] = [lifted(x[0]!, sa, ta), lifted(x[1]!, sb, tb)];
  const g = lifted(c.g, sy, [...lead, m, n]);
  const swap = (value: Value, { length }: Shape) =>
    b.transpose(value, [...range(length - 2), length - 1, length - 2]);
  const rows = (value: Value, width: Shape[number]) =>
    ta.length === 2 ? value : b.reshape(value, [-1, width as number]);
  // A matrix of weights, none of whose extents is 0 or free: all rows in one product.
  const weights = tb.length === 2 && sizeOf(tb as number[]) > 0;
  const da = () =>
    weights && ta.length === 2
      ? b.gemm(g, B, false, true)
      : b.sumTo(b.matMul(g, swap(B, tb)), [...lead, m, k], ta);
  const db = () =>
    weights
      ? b.gemm(rows(A, k), rows(g, n), true, false)
      : b.sumTo(b.matMul(swap(A, ta), g), [...lead, k, n], tb);
  return [() => lifted(da(), ta, sa), () => lifted(db(), tb, sb)];
};

const gemm: Rule = (c) => {
  const { b, x, g } = c;
  const [ta, tb] = [c.int('transA', 0) === 1, c.int('transB', 0) === 1];
  const [alpha, beta] = [c.float('alpha', 1), c.float('beta', 1)];
  return [
    () => b.scale(ta ? b.gemm(x[1]!, g, tb, true) : b.gemm(g, x[1]!, false, !tb), alpha),
    () => b.scale(tb ? b.gemm(g, x[0]!, true, ta) : b.gemm(x[0]!, g, !ta, false), alpha),
    () => b.scale(sumTo(c, 2, g), beta),
  ];
};

const einsum: Rule = (c) => {
  const { b, x, y, g } = c;
  const equation = c.text('equation', '').replace(/\s/g, '');
  if (!equation.includes('->')) c.refuse('its equation has no "->"');
  const [left, right] = equation.split('->') as [string, string];
  // An ellipsis becomes the letters up to Z, aligned at the right.
  const named = (term: string, value: Value) => {
    const extra = c.shape(value).length - (term.length - 3);
    return term.replace('...', String.fromCharCode(...range(extra, 91 - extra)));
  };
  const terms = left.split(',').map((term, i) => named(term, x[i]!));
  const out = named(right, y[0]!);
  const extents = new Map<string, Shape[number]>();
  terms.forEach((term, i) => {
    if (new Set(term).size !== term.length) c.refuse('it takes a diagonal');
    [...term].forEach((letter, k) => {
      if ((extents.get(letter) ?? 1) === 1) extents.set(letter, c.shape(x[i]!)[k]!);
    });
  });
  const shapeOf = (term: string) => [...term].map((letter) => extents.get(letter)!);
  return terms.map((term, i) => () => {
    // The output's gradient in place of the input.
    const from = terms.map((other, k) => (k === i ? out : other));
    const values = x.map((value, k) => (k === i ? g : value));
    const missing = [...term].filter((letter) => !from.join().includes(letter)).join('');
    if (missing) {
      from.push(missing);
      values.push(b.expand(1, shapeOf(missing)));
    }
    const made = b.node('Einsum', values, { equation: `${from}->${term}` });
    return b.sumTo(made, shapeOf(term), c.shape(x[i]!));
  });
};

const reshape: Rule = (c) => [c.b.shaped(c.g, c.shape(c.x[0]!))];
/** For operators that have no gradient. */
export const nothing: Rule = () => [];

const concat: Rule = (c) => {
  const axis = axisFrom(c, 0);
  let end = 0;
  return c.x.map((value) => {
    const start = end;
    end += extentOf(c, value, axis);
    const stop = end;
    return () => c.b.cut(c.g, axis, start, stop);
  });
};

/**
 * Back to where it was taken from along an axis; what was taken twice adds up.
 * @param to the shape that it was taken from
 * @param rank of the indices
 */
function putBack(b: Emitter, g: Value, to: Shape, axis: number, indices: Value, rank: number) {
  // Axes of the indices first, then what stood before them, then what stood behind.
  const first = (count: number) => {
    const own = range(count, axis);
    return [...own, ...range(to.length - 1 + count).filter((i) => !own.includes(i))];
  };
  const perm = first(1);
  const column = b.node('Unsqueeze', [indices, b.integers(-1)]);
  const into = b.zeros(perm.map((i) => to[i]!));
  const moved = b.transpose(g, first(rank));
  const sum = b.node('ScatterND', [into, column, moved], { reduction: 'add' });
  return b.transpose(sum, inverse(perm));
}

const slice: Rule = (c) => {
  const { b, x, y } = c;
  const to = c.shape(x[0]!);
  const [starts, axes, steps] = [1, 3, 4].map((input) => numbersOf(c, input));
  const is = [...c.shape(y[0]!)];
  const [begins, ends] = [to.map(() => 0), to.map(() => 0)];
  let value = c.g;
  starts!.forEach((from, i) => {
    const axis = axisOf(axes?.[i] ?? i, to.length);
    const step = steps?.[i] ?? 1;
    if (step === 1 && same(is[axis]!, to[axis]!)) return;
    const [length, extent] = [extentOf(c, y[0]!, axis), extentOf(c, x[0]!, axis)];
    const most = step < 0 ? extent - 1 : extent;
    const start = Math.min(Math.max(from < 0 ? from + extent : from, 0), most);
    if (step === 1) {
      begins[axis] = start;
      ends[axis] = extent - start - length;
      return;
    }
    is[axis] = extent;
    const places = range(length).map((k) => start + k * step);
    value = putBack(b, value, is, axis, b.integers(...places), 1);
  });
  return [b.pad(value, begins, ends)];
};

const gather: Rule = (c) => {
  const { b, x, g } = c;
  const rank = c.shape(x[1]!).length;
  return [putBack(b, g, c.shape(x[0]!), axisFrom(c, 0), as(c, x[1]!, 'int64'), rank)];
};

const gatherElements: Rule = (c) => {
  const { b, x, g } = c;
  const [data, index] = [c.fixed(x[0]!), c.fixed(x[1]!)];
  const axis = axisFrom(c, 0);
  const n = data[axis]!;
  // Compared with every place of the axis: duplicates add up, and nothing is scattered.
  const wide = [...index.slice(0, axis), 1, ...index.slice(axis)];
  const places = b.floats(
    wide.map((_, i) => (i === axis ? n : 1)),
    range(n),
  );
  const plain = b.reshape(b.cast(x[1]!, 'float32'), wide);
  const hits = b.equal(b.where(b.greater(0, plain), b.add(plain, n), plain), places);
  const sum = b.sum(b.mul(hits, b.reshape(g, wide)), [axis + 1], 0);
  const [begins, ends] = [data.map(() => 0), data.map((e, i) => (i === axis ? 0 : e - index[i]!))];
  return [b.pad(sum, begins, ends)];
};

const modulo = (i: number, n: number) => ((i % n) + n) % n;
/** Where padding takes an element from, by its mode. */
const sources: Readonly<Record<string, (i: number, n: number) => number>> = {
  edge: (i, n) => Math.min(Math.max(i, 0), n - 1),
  wrap: modulo,
  reflect: (i, n) => n - 1 - Math.abs(n - 1 - modulo(i, Math.max(1, 2 * n - 2))),
};
/** Padding by a negative number cuts, and the other way round. */
export const negative = (list: readonly number[]): number[] => list.map((n) => -n);
const pad: Rule = (c) => {
  const { b, x, g } = c;
  const rank = rankOf(c);
  const axes = numbersOf(c, 3) ?? range(rank);
  const pads = numbersOf(c, 1)!;
  const [begins, ends] = [range(rank).fill(0), range(rank).fill(0)];
  axes.forEach((a, i) => {
    const axis = axisOf(a, rank);
    begins[axis] = pads[i]!;
    ends[axis] = pads[i + axes.length]!;
  });
  const source = sources[c.text('mode', 'constant')];
  if (!source) return [b.pad(g, negative(begins), negative(ends))];
  return [
    c.fixed(x[0]!).reduce((value, from, axis) => {
      const begin = begins[axis]!;
      const to = from + begin + ends[axis]!;
      if (to === from && begin === 0) return value;
      return b.backAlong(value, rank, axis, from, to, (i) => [[source(i - begin, from), 1]]);
    }, g),
  ];
};

const tile: Rule = (c) => {
  const shape = c.shape(c.x[0]!);
  const repeats = numbersOf(c, 1)!;
  const split = shape.flatMap((extent, i) => [repeats[i]!, extent]);
  const axes = shape.map((_, i) => 2 * i);
  return [c.b.sum(c.b.shaped(c.g, split), axes, 0)];
};

/** Gradients by operator; those of windows are apart. Everything that is emitted has a kernel on every provider, GPUs included. */
export const rules: Readonly<Record<string, Rule>> = {
  Identity: sum,
  Add: sum,
  Sub: binary(({ b, g }) => [() => g, () => b.neg(g)]),
  Mul: binary(({ b, g }, p, q) => [() => b.mul(g, q), () => b.mul(g, p)]),
  Div: binary(({ b, g, y }, _, q) => [() => b.div(g, q), () => b.neg(b.div(b.mul(g, y[0]!), q))]),
  Pow: binary((c, p, q) => {
    const { b, g, y } = c;
    const exponent = as(c, q, 'float32');
    return [
      () => b.mul(g, b.mul(exponent, b.node('Pow', [p, b.sub(exponent, 1)]))),
      () => b.mul(g, b.mul(y[0]!, b.node('Log', [p]))),
    ];
  }),
  PRelu: binary(({ b, g }, x, slope) => [
    () => b.where(b.greater(x, 0), g, b.mul(g, slope)),
    () => b.where(b.greater(x, 0), 0, b.mul(g, x)),
  ]),
  Sum: sum,
  Mean: (c) => sum({ ...c, g: c.b.div(c.g, c.x.length) }),
  Min: extreme,
  Max: extreme,
  Neg: unary((b, _x, _y, g) => b.neg(g)),
  Sqrt: unary((b, _, y, g) => b.div(b.mul(g, 0.5), y)),
  Exp: unary((b, _, y, g) => b.mul(g, y)),
  Log: unary((b, x, _, g) => b.div(g, x)),
  Reciprocal: unary((b, _, y, g) => b.neg(b.mul(g, b.mul(y, y)))),
  Sin: unary((b, x, _, g) => b.mul(g, b.node('Cos', [x]))),
  Cos: unary((b, x, _, g) => b.neg(b.mul(g, b.node('Sin', [x])))),
  Abs: unary((b, x, _, g) => b.sub(b.where(b.greater(x, 0), g, 0), b.where(b.greater(0, x), g, 0))),
  Relu: unary((b, _, y, g) => b.where(b.greater(y, 0), g, 0)),
  LeakyRelu: unary((b, x, _, g, c) =>
    b.where(b.greater(x, 0), g, b.scale(g, c.float('alpha', 0.01))),
  ),
  Elu: unary((b, x, y, g, c) =>
    b.where(b.greater(x, 0), g, b.mul(g, b.add(y, c.float('alpha', 1)))),
  ),
  Clip: unary((b, x, y, g) => b.where(b.node('Equal', [x, y]), g, 0)),
  // Between 0 and 1 a number is greater than its square.
  HardSigmoid: unary((b, _, y, g, c) =>
    b.where(b.greater(y, b.mul(y, y)), b.scale(g, c.float('alpha', 0.2)), 0),
  ),
  HardSwish: unary((b, x, _, g) => {
    const inside = b.mul(g, b.add(b.mul(x, 1 / 3), 0.5));
    return b.where(b.greater(x, -3), b.where(b.greater(x, 3), g, inside), 0);
  }),
  Sigmoid: unary((b, _, y, g) => b.mul(g, b.mul(y, b.sub(1, y)))),
  Tanh: unary((b, _, y, g) => b.mul(g, b.sub(1, b.mul(y, y)))),
  Erf: unary((b, x, _, g) => b.mul(b.mul(g, 2 / Math.sqrt(Math.PI)), b.exp(b.neg(b.mul(x, x))))),
  Gelu: unary((b, x, _, g, c) => {
    const { add, mul, sub } = b;
    const square = mul(x, x);
    const of = (cdf: Value, density: Value) => mul(g, add(cdf, mul(x, density)));
    if (c.text('approximate', 'none') === 'none') {
      const cdf = mul(0.5, add(1, b.node('Erf', [mul(x, Math.SQRT1_2)])));
      return of(cdf, mul(b.exp(mul(square, -0.5)), 1 / Math.sqrt(2 * Math.PI)));
    }
    // x · sigmoid(2u), which is x · (1 + tanh u) / 2.
    const k = 2 * Math.sqrt(2 / Math.PI);
    const s = b.node('Sigmoid', [mul(x, add(k, mul(square, 0.044715 * k)))]);
    return of(s, mul(mul(s, sub(1, s)), add(k, mul(square, 3 * 0.044715 * k))));
  }),
  Softplus: unary((b, x, _, g) => b.mul(g, b.node('Sigmoid', [x]))),
  Softmax: unary((b, _, y, g, c) => b.mul(y, b.sub(g, b.sum(b.mul(g, y), [axisFrom(c, -1)])))),
  LogSoftmax: unary((b, _, y, g, c) => b.sub(g, b.mul(b.exp(y), b.sum(g, [axisFrom(c, -1)])))),
  LayerNormalization: layerNorm(true),
  RMSNormalization: layerNorm(false),
  BatchNormalization: batchNorm,
  InstanceNormalization: groupNorm,
  GroupNormalization: groupNorm,
  MatMul: matMul,
  Gemm: gemm,
  Einsum: einsum,
  Reshape: reshape,
  Flatten: reshape,
  Squeeze: reshape,
  Unsqueeze: reshape,
  Transpose: unary((b, _x, _y, g, c) =>
    b.transpose(g, inverse(c.ints('perm') ?? range(rankOf(c)).reverse())),
  ),
  Expand: sum,
  Tile: tile,
  Concat: concat,
  Split: (c) => [
    c.b.concatOn(
      c.y.map((y, i) => c.dy[i] ?? c.b.zeros(c.shape(y))),
      axisFrom(c, 0),
    ),
  ],
  Slice: slice,
  Pad: pad,
  Gather: gather,
  GatherElements: gatherElements,
  Where: (c) => {
    const part = (input: number, a: Operand, otherwise: Operand) =>
      broadcast(c, input, () => c.b.where(c.x[0]!, a, otherwise));
    return [undefined, part(1, c.g, 0), part(2, 0, c.g)];
  },
  Cast: (c) => {
    const type = c.type(c.y[0]!);
    return type === 'float32' ? [c.g] : c.refuse(`'${c.y[0]}' is ${type}, not float32`);
  },
  ReduceSum: reduction(({ b, g, shape }, x) => b.expand(g, shape(x))),
  ReduceMean: reduction(meanOver),
  ReduceMax: reduction(extremeOver),
  ReduceMin: reduction(extremeOver),
  ReduceSumSquare: reduction(({ b, g }, x) => b.mul(x, b.mul(g, 2))),
  ReduceL2: reduction(({ b, g }, x, y) => b.mul(x, b.div(g, y))),
  GlobalAveragePool: globally('ReduceMean'),
  GlobalMaxPool: globally('ReduceMax'),
  CumSum: (c) => {
    const attributes = { exclusive: c.int('exclusive', 0), reverse: 1 - c.int('reverse', 0) };
    return [c.b.node('CumSum', [c.g, c.x[1]!], attributes)];
  },
  ...Object.fromEntries(
    // Constant between their jumps, or no real numbers at all.
    'Floor Ceil Round Sign Shape Size ArgMax ArgMin Equal Greater Less GreaterOrEqual LessOrEqual And Or Not Xor ConstantOfShape NonZero IsNaN IsInf OneHot Range EyeLike'
      .split(' ')
      .map((name) => [name, nothing]),
  ),
};
