import type { Value } from '../graph.js';
import { sizeOf } from '../model/tensors.js';
import { type Emitter, range, type Shape, same } from './emit.js';

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
  /** The shape, where all of it is known before a run. @throws OnnxModelError */
  fixed(value: Value): readonly number[];
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
/** Appends the gradients of a node's inputs: each of its input's shape, `undefined` where there is none. */
export type Rule = (context: RuleContext) => readonly (Value | undefined)[];

const axisOf = (axis: number, rank: number) => (axis < 0 ? axis + rank : axis);
const shapes = ({ shape, x, y }: RuleContext) => ({ from: shape(y[0]!), to: shape(x[0]!) });

type Unary = (b: Emitter, x: Value, y: Value, g: Value, c: RuleContext) => Value;
const unary =
  (rule: Unary): Rule =>
  (c) => [rule(c.b, c.x[0]!, c.y[0]!, c.g, c)];

/** Two inputs that are broadcast against each other. */
type Binary = (c: RuleContext, a: Value, b: Value) => readonly (() => Value)[];
const binary =
  (rule: Binary): Rule =>
  (c) =>
    rule(c, c.x[0]!, c.x[1]!).map((make, i) =>
      c.needs(i) ? c.b.sumTo(make(), c.shape(c.y[0]!), c.shape(c.x[i]!)) : undefined,
    );

/** Minimum and maximum of several: equal ones share the gradient. */
const extreme: Rule = ({ b, x, y, g, shape, needs }) => {
  const hits = x.map((value) => b.equal(value, y[0]!));
  const share = b.op.div(
    g,
    hits.reduce((a, h) => b.op.add(a, h)),
  );
  return x.map((value, i) =>
    needs(i) ? b.sumTo(b.op.mul(hits[i]!, share), shape(y[0]!), shape(value)) : undefined,
  );
};
const several =
  (factor: (n: number) => number): Rule =>
  ({ b, x, y, g, shape }) =>
    x.map((value) => b.sumTo(b.scale(g, factor(x.length)), shape(y[0]!), shape(value)));

/** The reduced axes, and the gradient with them as extents of 1. */
function reduction(c: RuleContext) {
  const shape = c.shape(c.x[0]!);
  const given = c.ints('axes') ?? (c.x[1] ? c.constant(1) : undefined);
  if (c.x[1] && !given) c.refuse('its axes are not constant');
  const whole = !given?.length && !c.int('noop_with_empty_axes', 0);
  const axes = whole ? range(shape.length) : (given ?? []).map((a) => axisOf(a, shape.length));
  const kept = shape.map((extent, i) => (axes.includes(i) ? 1 : extent));
  const keep = (value: Value) => (c.int('keepdims', 1) ? value : c.b.shaped(value, kept));
  return {
    shape,
    axes,
    g: keep(c.g),
    y: keep(c.y[0]!),
    count: () => c.b.count(axes.map((i) => shape[i]!)),
  };
}
const reduceExtreme: Rule = (c) => {
  const { axes, g, y } = reduction(c);
  const hit = c.b.equal(c.x[0]!, y);
  return [c.b.op.mul(hit, c.b.op.div(g, c.b.sum(hit, axes)))];
};

/** The gradient through x̂ = (x − mean) · r, of which `g` is the gradient. */
export function normalized(
  b: Emitter,
  g: Value,
  hat: Value,
  r: Value,
  axes: readonly number[],
  centered = true,
) {
  const { sub, mul } = b.op;
  const inner = centered ? sub(g, b.mean(g, axes)) : g;
  return mul(r, sub(inner, mul(hat, b.mean(mul(g, hat), axes))));
}
function hatOf(b: Emitter, x: Value, axes: readonly number[], epsilon: number, centered = true) {
  const { sub, mul, div, add, sqrt } = b.op;
  const from = centered ? sub(x, b.mean(x, axes)) : x;
  const r = div(b.float(1), sqrt(add(b.mean(mul(from, from), axes), b.float(epsilon))));
  return { hat: mul(from, r), r };
}
const layerNorm =
  (centered: boolean): Rule =>
  (c) => {
    const { b, x, g } = c;
    const shape = c.shape(x[0]!);
    const first = axisOf(c.int('axis', -1), shape.length);
    const axes = range(shape.length - first, first);
    const { hat, r } = hatOf(b, x[0]!, axes, c.float('epsilon', 1e-5), centered);
    return [
      c.needs(0) ? normalized(b, b.op.mul(g, x[1]!), hat, r, axes, centered) : undefined,
      c.needs(1) ? b.sumTo(b.op.mul(g, hat), shape, c.shape(x[1]!)) : undefined,
      c.needs(2) ? b.sumTo(g, shape, c.shape(x[2]!)) : undefined,
    ];
  };

/** A vector of channels, against [N, C, …]. */
const channels = (c: RuleContext, value: Value, rank: number) =>
  c.b.shaped(value, [c.shape(value)[0]!, ...range(rank - 2).map(() => 1)]);
const notChannels = (rank: number) => range(rank).filter((i) => i !== 1);

/** In inference form. */
export const batchNorm: Rule = (c) => {
  const { b, x, g } = c;
  const { sub, mul, div, add, sqrt } = b.op;
  const rank = c.shape(x[0]!).length;
  const root = sqrt(add(x[4]!, b.float(c.float('epsilon', 1e-5))));
  const others = notChannels(rank);
  const vector = (value: Value) =>
    b.shaped(value, [c.shape(x[4]!)[0]!, ...range(rank - 2).map(() => 1)]);
  return [
    c.needs(0) ? mul(g, vector(div(x[1]!, root))) : undefined,
    c.needs(1) ? b.sum(mul(g, div(sub(x[0]!, vector(x[3]!)), vector(root))), others, 0) : undefined,
    c.needs(2) ? b.sum(g, others, 0) : undefined,
  ];
};

const instanceNorm: Rule = (c) => {
  const { b, x, g } = c;
  const rank = c.shape(x[0]!).length;
  const axes = range(rank - 2, 2);
  const { hat, r } = hatOf(b, x[0]!, axes, c.float('epsilon', 1e-5));
  return [
    c.needs(0) ? normalized(b, b.op.mul(g, channels(c, x[1]!, rank)), hat, r, axes) : undefined,
    c.needs(1) ? b.sum(b.op.mul(g, hat), notChannels(rank), 0) : undefined,
    c.needs(2) ? b.sum(g, notChannels(rank), 0) : undefined,
  ];
};

const groupNorm: Rule = (c) => {
  const { b, x, g } = c;
  const shape = c.shape(x[0]!);
  const [n, ...rest] = shape;
  const groups = c.int('num_groups', 1);
  const fixed = rest.map((e) =>
    typeof e === 'number' ? e : c.refuse('its extents are not fixed'),
  );
  const grouped: Shape = [n!, groups, sizeOf(fixed) / groups];
  const { hat, r } = hatOf(b, b.shaped(x[0]!, grouped), [2], c.float('epsilon', 1e-5));
  const perGroup = c.opset < 21;
  const back = (value: Value) => b.shaped(value, shape);
  const vector = (value: Value) =>
    perGroup ? b.shaped(value, [groups, 1]) : channels(c, value, shape.length);
  const flat = (value: Value) => b.shaped(value, grouped);
  const scaled = perGroup ? b.op.mul(flat(g), vector(x[1]!)) : flat(b.op.mul(g, vector(x[1]!)));
  const sum = (value: Value) =>
    perGroup ? b.sum(value, [0, 2], 0) : b.sum(back(value), notChannels(shape.length), 0);
  return [
    c.needs(0) ? back(normalized(b, scaled, hat, r, [2])) : undefined,
    c.needs(1) ? sum(b.op.mul(flat(g), hat)) : undefined,
    c.needs(2) ? sum(flat(g)) : undefined,
  ];
};

const matMul: Rule = (c) => {
  const { b, x, y, needs } = c;
  const [sa, sb] = [c.shape(x[0]!), c.shape(x[1]!)];
  const [va, vb] = [sa.length === 1, sb.length === 1];
  const from = [...c.shape(y[0]!)];
  if (va) from.splice(from.length - (vb ? 0 : 1), 0, 1);
  if (vb) from.push(1);
  const lift = (value: Value, is: Shape, to: Shape) => (is === to ? value : b.shaped(value, to));
  const [ta, tb]: [Shape, Shape] = [va ? [1, ...sa] : sa, vb ? [...sb, 1] : sb];
  const [A, B] = [lift(x[0]!, sa, ta), lift(x[1]!, sb, tb)];
  const g = va || vb ? b.shaped(c.g, from) : c.g;
  const swap = (value: Value, rank: number) =>
    b.transpose(value, [...range(rank - 2), rank - 1, rank - 2]);
  const lead = from.slice(0, -2);
  const [m, k] = [ta.at(-2)!, ta.at(-1)!];
  const n = tb.at(-1)!;
  const rows = (value: Value, width: number) => b.reshape(value, [-1, width]);
  // A matrix of weights: all rows in one product.
  const weights = tb.length === 2 && typeof k === 'number' && typeof n === 'number' && k * n > 0;
  let da: Value | undefined;
  let db: Value | undefined;
  if (needs(0)) {
    da =
      weights && ta.length === 2
        ? b.gemm(g, B, false, true)
        : b.sumTo(b.matMul(g, swap(B, tb.length)), [...lead, m, k], ta);
    da = lift(da, ta, sa);
  }
  if (needs(1)) {
    db = weights
      ? b.gemm(ta.length === 2 ? A : rows(A, k), ta.length === 2 ? g : rows(g, n), true, false)
      : b.sumTo(b.matMul(swap(A, ta.length), g), [...lead, k, n], tb);
    db = lift(db, tb, sb);
  }
  return [da, db];
};

const gemm: Rule = (c) => {
  const { b, x, g } = c;
  const [ta, tb] = [c.int('transA', 0) === 1, c.int('transB', 0) === 1];
  const [alpha, beta] = [c.float('alpha', 1), c.float('beta', 1)];
  return [
    c.needs(0)
      ? b.scale(ta ? b.gemm(x[1]!, g, tb, true) : b.gemm(g, x[1]!, false, !tb), alpha)
      : undefined,
    c.needs(1)
      ? b.scale(tb ? b.gemm(g, x[0]!, true, ta) : b.gemm(x[0]!, g, !ta, false), alpha)
      : undefined,
    c.needs(2) ? b.scale(b.sumTo(g, c.shape(c.y[0]!), c.shape(x[2]!)), beta) : undefined,
  ];
};

const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ';
const einsum: Rule = (c) => {
  const { b, x, y, g } = c;
  const equation = c.text('equation', '').replace(/\s/g, '');
  if (!equation.includes('->')) c.refuse('its equation has no "->"');
  const [left, right] = equation.split('->') as [string, string];
  // An ellipsis becomes letters, aligned at the right.
  const most = Math.max(
    ...left.split(',').map((t, i) => c.shape(x[i]!).length - t.replace('...', '').length),
  );
  const named = (term: string, rank: number) => {
    const extra = rank - term.replace('...', '').length;
    return term.replace('...', letters.slice(most - extra, most));
  };
  const terms = left.split(',').map((term, i) => named(term, c.shape(x[i]!).length));
  const out = named(right, c.shape(y[0]!).length);
  const extents = new Map<string, Shape[number]>();
  terms.forEach((term, i) => {
    if (new Set(term).size !== term.length) c.refuse('it takes a diagonal');
    [...term].forEach((letter, k) => {
      const extent = c.shape(x[i]!)[k]!;
      if (!extents.has(letter) || extents.get(letter) === 1) extents.set(letter, extent);
    });
  });
  return terms.map((term, i) => {
    if (!c.needs(i)) return undefined;
    const others = terms.map((t, k) => [t, x[k]!] as const).filter((_, k) => k !== i);
    const known = new Set(out + others.map(([t]) => t).join(''));
    const missing = [...term].filter((letter) => !known.has(letter)).join('');
    const operands = [[out, g] as const, ...others];
    if (missing) {
      const shape = [...missing].map((letter) => extents.get(letter)!);
      operands.push([missing, b.expand(b.float(1), shape)]);
    }
    const text = `${operands.map(([t]) => t).join(',')}->${term}`;
    const made = b.node(
      'Einsum',
      operands.map(([, value]) => value),
      { equation: text },
    );
    return b.sumTo(
      made,
      [...term].map((letter) => extents.get(letter)!),
      c.shape(x[i]!),
    );
  });
};

const softmaxAxis = (c: RuleContext) => [axisOf(c.int('axis', -1), c.shape(c.x[0]!).length)];

const reshape: Rule = (c) => [c.b.shaped(c.g, c.shape(c.x[0]!))];
/** For operators that have no gradient. */
export const nothing: Rule = () => [];

const concat: Rule = (c) => {
  const { b, x, y, g } = c;
  const axis = axisOf(c.int('axis', 0), c.shape(y[0]!).length);
  let at = 0;
  return x.map((value, i) => {
    const length = c.shape(value)[axis]!;
    if (typeof length !== 'number') return c.refuse('it joins along an axis that is not fixed');
    const start = at;
    at += length;
    return c.needs(i) ? b.cut(g, [axis], [start], [at]) : undefined;
  });
};

/** Puts a strided piece back where it was cut out of `to`. */
function putBack(
  c: RuleContext,
  g: Value,
  is: Shape,
  to: Shape,
  axis: number,
  start: number,
  step: number,
) {
  const { b } = c;
  const [length, extent] = [is[axis]!, to[axis]!];
  if (typeof length !== 'number' || typeof extent !== 'number') {
    return c.refuse('it cuts along an axis that is not fixed');
  }
  if (length === 0) return b.zeros(to);
  const at = (n: number, rank = is.length) => range(rank).map((i) => (i === axis ? n : 0));
  let [value, begin, stride] = [g, start, step];
  if (step < 0) {
    value = b.cut(value, [axis], [-1], [-(2 ** 31)], [-1]);
    begin = start + (length - 1) * step;
    stride = -step;
  }
  if (stride === 1) return b.pad(value, at(begin), at(extent - begin - length));
  const spread = [...is];
  spread.splice(axis + 1, 0, 1);
  const zero = spread.map(() => 0);
  const behind = spread.map((_, i) => (i === axis + 1 ? stride - 1 : 0));
  const filled = b.pad(b.shaped(value, spread), zero, behind);
  const dense = b.shaped(
    filled,
    is.map((e, i) => (i === axis ? length * stride : e)),
  );
  const room = extent - begin;
  const long = length * stride;
  const cropped = long > room ? b.cut(dense, [axis], [0], [room]) : dense;
  return b.pad(cropped, at(begin), at(Math.max(0, room - long)));
}

const slice: Rule = (c: RuleContext) => {
  const { x, y } = c;
  const to = c.shape(x[0]!);
  const [starts, axes, steps] = [
    c.constant(1),
    x[3] ? c.constant(3) : undefined,
    x[4] ? c.constant(4) : undefined,
  ];
  if (!starts) return c.refuse('its starts are not constant');
  let is: Shape = c.shape(y[0]!);
  let value = c.g;
  starts.forEach((from, i) => {
    const axis = axisOf(axes?.[i] ?? i, to.length);
    const step = steps?.[i] ?? 1;
    if (same(is[axis]!, to[axis]!) && step === 1) return;
    const extent = to[axis]!;
    if (typeof extent !== 'number') c.refuse('it cuts along an axis that is not fixed');
    const start = Math.min(
      Math.max(from < 0 ? from + extent : from, 0),
      step < 0 ? extent - 1 : extent,
    );
    value = putBack(
      c,
      value,
      is,
      to.map((e, k) => (k === axis ? e : is[k]!)),
      axis,
      start,
      step,
    );
    is = is.map((e, k) => (k === axis ? extent : e));
  });
  return [value];
};

const gather: Rule = (c) => {
  const { b, x, g } = c;
  const [data, index] = [c.shape(x[0]!), c.shape(x[1]!)];
  const axis = axisOf(c.int('axis', 0), data.length);
  const r = index.length;
  // Indices first, then what stood before them, then what stood behind.
  const order = [...range(r, axis), ...range(axis), ...range(data.length - axis - 1, axis + r)];
  const front = [axis, ...range(data.length).filter((i) => i !== axis)];
  const updates = b.transpose(g, order);
  const index64 = c.type(x[1]!) === 'int64' ? x[1]! : b.cast(x[1]!, 'int64');
  const indices = b.node('Unsqueeze', [index64, b.integers(r)]);
  const into = b.zeros(front.map((i) => data[i]!));
  const sum = b.node('ScatterND', [into, indices, updates], { reduction: 'add' });
  return [
    b.transpose(
      sum,
      range(data.length).map((i) => front.indexOf(i)),
    ),
  ];
};

const gatherElements: Rule = (c) => {
  const { b, x, g } = c;
  const data = c.fixed(x[0]!);
  const index = c.fixed(x[1]!);
  const axis = axisOf(c.int('axis', 0), data.length);
  const n = data[axis]!;
  // Compared with every place of the axis: duplicates add up, and nothing is scattered.
  const wide = [...index.slice(0, axis), 1, ...index.slice(axis)];
  const places = b.reshape(
    b.cast(b.integers(...range(n)), 'float32'),
    wide.map((_, i) => (i === axis ? n : 1)),
  );
  const plain = b.cast(x[1]!, 'float32');
  const positive = b.where(b.node('Less', [plain, b.float(0)]), b.op.add(plain, b.float(n)), plain);
  const hits = b.equal(b.reshape(positive, wide), places);
  const sum = b.sum(b.op.mul(hits, b.reshape(g, wide)), [axis + 1], 0);
  const ends = data.map((e, i) => (i === axis ? 0 : e - index[i]!));
  return [
    b.pad(
      sum,
      data.map(() => 0),
      ends,
    ),
  ];
};

const modulo = (i: number, n: number) => ((i % n) + n) % n;
/** Where padding takes an element from, by its mode. */
const sources: Readonly<Record<string, (i: number, n: number) => number>> = {
  edge: (i, n) => Math.min(Math.max(i, 0), n - 1),
  wrap: modulo,
  reflect: (i, n) => n - 1 - Math.abs(n - 1 - modulo(i, Math.max(1, 2 * n - 2))),
};
const pad: Rule = (c) => {
  const { b, x, g } = c;
  const to = c.shape(x[0]!);
  const pads = c.constant(1);
  if (!pads) return c.refuse('its pads are not constant');
  const axes = (x[3] ? c.constant(3) : undefined) ?? range(to.length);
  const begins = to.map(() => 0);
  const ends = to.map(() => 0);
  axes.forEach((a, i) => {
    begins[axisOf(a, to.length)] = pads[i]!;
    ends[axisOf(a, to.length)] = pads[i + axes.length]!;
  });
  const mode = c.text('mode', 'constant');
  if (mode !== 'constant') {
    // Along each axis a matrix says which element stands where.
    return [
      c.fixed(x[0]!).reduce((value, n, axis) => {
        const length = n + begins[axis]! + ends[axis]!;
        if (length === n && begins[axis] === 0) return value;
        const matrix = new Array<number>(length * n).fill(0);
        for (let i = 0; i < length; i++) {
          matrix[i * n + sources[mode]!(i - begins[axis]!, n)] = 1;
        }
        return b.alongAxis(value, to.length, axis, b.floats([length, n], matrix));
      }, g),
    ];
  }
  // Padding by a negative number cuts, and the other way round.
  return [
    b.pad(
      g,
      begins.map((n) => 0 - n),
      ends.map((n) => 0 - n),
    ),
  ];
};

const tile: Rule = (c) => {
  const { b, x, g } = c;
  const shape = c.shape(x[0]!);
  const repeats = c.constant(1);
  if (!repeats) return c.refuse('its repeats are not constant');
  const split = shape.flatMap((extent, i) => [repeats[i]!, extent]);
  return [
    b.sum(
      b.shaped(g, split),
      range(shape.length).map((i) => 2 * i),
      0,
    ),
  ];
};

/** Gradients by operator; those of windows are apart. Everything that is emitted has a kernel on every provider, GPUs included. */
export const rules: Readonly<Record<string, Rule>> = {
  Identity: ({ g }) => [g],
  Add: binary(({ g }) => [() => g, () => g]),
  Sub: binary(({ b, g }) => [() => g, () => b.neg(g)]),
  Mul: binary(({ b, g }, p, q) => [() => b.op.mul(g, q), () => b.op.mul(g, p)]),
  Div: binary(({ b, g, y }, _, q) => [
    () => b.op.div(g, q),
    () => b.neg(b.op.div(b.op.mul(g, y[0]!), q)),
  ]),
  Pow: binary((c, p, q) => {
    const { b, g, y } = c;
    const { mul, sub } = b.op;
    const exponent = c.type(q) === 'float32' ? q : b.cast(q, 'float32');
    return [
      () => mul(g, mul(exponent, b.node('Pow', [p, sub(exponent, b.float(1))]))),
      () => mul(g, mul(y[0]!, b.node('Log', [p]))),
    ];
  }),
  Sum: several(() => 1),
  Mean: several((n) => 1 / n),
  Min: extreme,
  Max: extreme,
  Neg: unary((b, _x, _y, g) => b.neg(g)),
  Sqrt: unary((b, _, y, g) => b.op.div(b.scale(g, 0.5), y)),
  Exp: unary((b, _, y, g) => b.op.mul(g, y)),
  Log: unary((b, x, _, g) => b.op.div(g, x)),
  Reciprocal: unary((b, _, y, g) => b.neg(b.op.mul(g, b.op.mul(y, y)))),
  Sin: unary((b, x, _, g) => b.op.mul(g, b.node('Cos', [x]))),
  Cos: unary((b, x, _, g) => b.neg(b.op.mul(g, b.node('Sin', [x])))),
  Abs: unary((b, x, _, g) =>
    b.op.sub(b.whereGreater(x, b.float(0), g), b.whereGreater(b.float(0), x, g)),
  ),
  Relu: unary((b, _, y, g) => b.whereGreater(y, b.float(0), g)),
  LeakyRelu: unary((b, x, _, g, c) =>
    b.where(b.node('Greater', [x, b.float(0)]), g, b.scale(g, c.float('alpha', 0.01))),
  ),
  PRelu: (c) => {
    const [x, slope] = c.x as [Value, Value];
    const positive = c.b.node('Greater', [x, c.b.float(0)]);
    const { mul } = c.b.op;
    const down = () => c.b.where(positive, c.b.float(0), mul(c.g, x));
    return [
      c.needs(0) ? c.b.where(positive, c.g, mul(c.g, slope)) : undefined,
      c.needs(1) ? c.b.sumTo(down(), c.shape(x), c.shape(slope)) : undefined,
    ];
  },
  Elu: unary((b, x, y, g, c) =>
    b.where(
      b.node('Greater', [x, b.float(0)]),
      g,
      b.op.mul(g, b.op.add(y, b.float(c.float('alpha', 1)))),
    ),
  ),
  Clip: (c) => [c.b.where(c.b.node('Equal', [c.x[0]!, c.y[0]!]), c.g, c.b.float(0))],
  HardSigmoid: unary((b, _, y, g, c) =>
    b.whereGreater(y, b.float(0), b.whereGreater(b.float(1), y, b.scale(g, c.float('alpha', 0.2)))),
  ),
  HardSwish: unary((b, x, _, g) => {
    const inside = b.op.mul(g, b.op.add(b.scale(x, 1 / 3), b.float(0.5)));
    const above = b.where(b.node('Greater', [x, b.float(3)]), g, inside);
    return b.whereGreater(x, b.float(-3), above);
  }),
  Sigmoid: unary((b, _, y, g) => b.op.mul(g, b.op.mul(y, b.op.sub(b.float(1), y)))),
  Tanh: unary((b, _, y, g) => b.op.mul(g, b.op.sub(b.float(1), b.op.mul(y, y)))),
  Erf: unary((b, x, _, g) =>
    b.op.mul(b.scale(g, 2 / Math.sqrt(Math.PI)), b.node('Exp', [b.neg(b.op.mul(x, x))])),
  ),
  Gelu: unary((b, x, _, g, c) => {
    const { add, mul, sub } = b.op;
    const [half, one] = [b.float(0.5), b.float(1)];
    const square = mul(x, x);
    if (c.text('approximate', 'none') === 'none') {
      const cdf = mul(half, add(one, b.node('Erf', [b.scale(x, Math.SQRT1_2)])));
      const density = b.scale(b.node('Exp', [b.scale(square, -0.5)]), 1 / Math.sqrt(2 * Math.PI));
      return mul(g, add(cdf, mul(x, density)));
    }
    const k = Math.sqrt(2 / Math.PI);
    const t = b.node('Tanh', [mul(b.scale(x, k), add(one, b.scale(square, 0.044715)))]);
    const inner = mul(sub(one, mul(t, t)), add(b.float(k), b.scale(square, 3 * 0.044715 * k)));
    return mul(g, mul(half, add(add(one, t), mul(x, inner))));
  }),
  Softplus: unary((b, x, _, g) => b.op.mul(g, b.node('Sigmoid', [x]))),
  Softmax: (c) => {
    const { b, y, g } = c;
    return [b.op.mul(y[0]!, b.op.sub(g, b.sum(b.op.mul(g, y[0]!), softmaxAxis(c))))];
  },
  LogSoftmax: (c) => {
    const { b, y, g } = c;
    return [b.op.sub(g, b.op.mul(b.node('Exp', [y[0]!]), b.sum(g, softmaxAxis(c))))];
  },
  LayerNormalization: layerNorm(true),
  RMSNormalization: layerNorm(false),
  InstanceNormalization: instanceNorm,
  GroupNormalization: groupNorm,
  MatMul: matMul,
  Gemm: gemm,
  Einsum: einsum,
  Reshape: reshape,
  Flatten: reshape,
  Squeeze: reshape,
  Unsqueeze: reshape,
  Transpose: (c) => {
    const rank = c.shape(c.x[0]!).length;
    const perm = c.ints('perm') ?? range(rank).reverse();
    return [
      c.b.transpose(
        c.g,
        range(rank).map((i) => perm.indexOf(i)),
      ),
    ];
  },
  Expand: (c) => {
    const { from, to } = shapes(c);
    return [c.b.sumTo(c.g, from, to)];
  },
  Tile: tile,
  Concat: concat,
  Split: (c) => {
    const axis = axisOf(c.int('axis', 0), c.shape(c.x[0]!).length);
    return [
      c.b.concatOn(
        c.y.map((y, i) => c.dy[i] ?? c.b.zeros(c.shape(y))),
        axis,
      ),
    ];
  },
  Slice: slice,
  Pad: pad,
  Gather: gather,
  GatherElements: gatherElements,
  Where: (c) => {
    const { b, x, y, g } = c;
    const zero = b.float(0);
    const [first, second] = [() => b.where(x[0]!, g, zero), () => b.where(x[0]!, zero, g)];
    return [
      undefined,
      ...[first, second].map((make, i) =>
        c.needs(i + 1) ? b.sumTo(make(), c.shape(y[0]!), c.shape(x[i + 1]!)) : undefined,
      ),
    ];
  },
  Cast: (c) => {
    const type = c.type(c.y[0]!);
    return type === 'float32' ? [c.g] : c.refuse(`'${c.y[0]}' is ${type}, not float32`);
  },
  ReduceSum: (c) => {
    const { g, shape } = reduction(c);
    return [c.b.expand(g, shape)];
  },
  ReduceMean: (c) => {
    const { g, shape, count } = reduction(c);
    return [c.b.expand(c.b.op.div(g, count()), shape)];
  },
  ReduceMax: reduceExtreme,
  ReduceMin: reduceExtreme,
  ReduceSumSquare: (c) => [c.b.op.mul(c.x[0]!, c.b.scale(reduction(c).g, 2))],
  ReduceL2: (c) => {
    const { g, y } = reduction(c);
    return [c.b.op.mul(c.x[0]!, c.b.op.div(g, y))];
  },
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
