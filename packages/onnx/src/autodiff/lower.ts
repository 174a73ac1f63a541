import type { Value } from '../graph.js';
import { attributeOf } from '../model/nodes.js';
import type { Node } from '../model/schema.js';
import { toNumber } from '../model/tensors.js';
import { ruleOf } from './differentiate.js';
import type { Emitter } from './emit.js';
import type { Probed } from './probe.js';
import { normalization, type Rule } from './rules.js';

/** Appends what stands for a node that some providers lack, in operators that every one has. */
type Lowering = (b: Emitter, node: Node, shapes: Probed['shapes']) => void;

const sum: Lowering = (b, { opType, input = [], output = [] }) => {
  const all = input.reduce((a, v) => b.add(a, v));
  b.node('Div', [all, opType === 'Mean' ? input.length : 1], {}, output[0]);
};

/** Whatever the rank: [N, C, all the rest]. */
const flatten = (b: Emitter, value: Value) => b.node('Reshape', [value, b.integers(0, 0, -1)]);
const channels = (b: Emitter, value: Value) => b.reshape(value, [1, -1, 1]);

/**
 * Normalization by the batch's own statistics; and the running ones, old · momentum + new ·
 * (1 − momentum), of which the variance is that of a population.
 */
const batchNorm: Lowering = (b, node) => {
  const [x, scale, bias, ...statistics] = node.input as [Value, Value, Value, ...Value[]];
  const [y, hat, r, ...made] = node.output as Value[];
  const { add, sub, mul } = b;
  const flat = flatten(b, x);
  const means = b.mean(flat, [0, 2]);
  const centered = sub(flat, means);
  const variances = b.mean(mul(centered, centered), [0, 2]);
  const root = b.sqrt(add(variances, attributeOf(node, 'epsilon').f ?? 1e-5));
  b.node('Div', [1, root], {}, r);
  b.node('Mul', [centered, r!], {}, hat);
  const scaled = add(mul(hat!, channels(b, scale)), channels(b, bias));
  b.node('Reshape', [scaled, b.node('Shape', [x])], {}, y);
  const momentum = attributeOf(node, 'momentum').f ?? 0.9;
  [means, variances].forEach((value, k) => {
    const now = b.reshape(value, [-1], made[k]);
    const parts = [b.scale(statistics[k]!, momentum), mul(now, 1 - momentum)];
    b.node('Add', parts, {}, made[k + 2]);
  });
};

/** 1 / (1 − ratio). */
const dropoutScale = (b: Emitter, ratio: Value) => b.div(1, b.sub(1, ratio || 0.5));

/** Odd, and far from each other and from simple fractions of 2³²: the axes of a tensor, and the steps. */
export const STRIDES = [0x9e3779b1, 0x85ebca77, 0xc2b2ae3d, 0x27d4eb2f, 0x165667b1, 0x2545f491];

/**
 * What is kept is a hash of seed, step and place, of 32-bit integers, which wrap: sums, products and
 * quotients, as all providers have and give alike. No provider's random numbers are the same as another's,
 * and that of webgpu has none.
 *
 * x ↦ (x + x²/2¹⁶)², the middle of a square squared again, on equidistant x (Widynski's middle square
 * Weyl sequence, arXiv 1704.00358, in 32 bits).
 */
const dropout: Lowering = (b, node, shapes) => {
  const [x, ratio, counter] = node.input as [Value, Value, Value];
  const [y, kept] = node.output as [Value, Value];
  const shape = shapes.get(y)!;
  const { add, sub, mul, div } = b;
  const integer = (value: number) => b.constant(value | 0, 'int32');
  const hash = (value: Value) => {
    const middle = add(div(mul(value, value), integer(65536)), value);
    return mul(middle, middle);
  };
  const step = mul(b.cast(counter, 'int32'), integer(STRIDES.at(-1)!));
  const seed = integer(toNumber(attributeOf(node, 'seed').i));
  // Multiples of an odd number along each axis.
  const place = shape.reduce<Value>(
    (sum, extent, axis) => {
      const strides = b.expand(integer(STRIDES[axis % STRIDES.length]!), [extent]);
      const along = b.node('CumSum', [strides, b.reshape(b.integers(0), [])]);
      const wide = shape.map((_, i) => (i === axis ? -1 : 1));
      return add(sum, b.reshape(along, wide));
    },
    hash(add(step, seed)),
  );
  // The lowest `ratio` of all 32-bit numbers are dropped.
  const limit = b.cast(b.scale(sub(ratio || 0.5, 0.5), 2 ** 32), 'int32');
  b.node('Not', [b.node('Less', [hash(place), limit])], {}, kept);
  b.node('Where', [kept, mul(x, dropoutScale(b, ratio)), 0], {}, y);
};

const lowerings: Readonly<Record<string, Lowering>> = {
  LogSoftmax(b, node) {
    const [x] = node.input as [Value];
    const axis = toNumber(attributeOf(node, 'axis').i ?? -1);
    const shifted = b.sub(x, b.node('ReduceMax', [x, b.integers(axis)], { keepdims: 1 }));
    const all = b.sum(b.exp(shifted), [axis]);
    b.node('Sub', [shifted, b.node('Log', [all])], {}, node.output![0]);
  },
  Sum: sum,
  Mean: sum,
  'training.BatchNormalization': batchNorm,
  'training.Dropout': dropout,
};

/** The nodes that stand for one; constants of theirs are the builder's. */
export function lower(b: Emitter, node: Node, shapes: Probed['shapes']): Node | readonly Node[] {
  const lowering = ruleOf(node, lowerings);
  if (!lowering) return node;
  lowering(b, node, shapes);
  return b.nodes.splice(0);
}

/** Rules of the nodes that a training form has. */
export const trainingRules: Readonly<Record<string, Rule>> = {
  'training.BatchNormalization': (c) => {
    const { b, x, y } = c;
    const inner = { ...c, g: flatten(b, c.g) };
    const sum = (value: Value) => b.sum(value, [0, 2], 0);
    const scale = channels(b, x[1]!);
    const [dx, ...others] = normalization(inner, x[0]!, scale, [0, 2], sum, true, [y[1]!, y[2]!]);
    return [() => b.node('Reshape', [dx(), b.node('Shape', [x[0]!])]), ...others];
  },
  'training.Dropout': ({ b, g, x, y }) => [b.where(y[1]!, b.mul(g, dropoutScale(b, x[1]!)), 0)],
  Dropout: ({ g, x, refuse }) => (x[2] ? refuse('its mode is not constant') : [g]),
};
