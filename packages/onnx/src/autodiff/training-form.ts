import { OnnxModelError } from '../errors.js';
import { captured, reachable, type Value } from '../graph.js';
import { attributeOf, makeAttribute, makeNode } from '../model/nodes.js';
import type { Graph, Node, Tensor } from '../model/schema.js';
import { makeTensor, numbersOf, toNumber } from '../model/tensors.js';
import { isNodeChosen, type NodeChoice } from './choice.js';
import type { Emitter, Shape } from './emit.js';
import type { Rule } from './rules.js';

const MODE = 'training_mode';
const inTraining = ({ attribute = [] }: Node) =>
  attribute.some(({ name, i }) => name === MODE && toNumber(i) === 1);

/** The node with these integers among its attributes; `undefined` takes one away. */
function withIntegers(node: Node, integers: Readonly<Record<string, number | undefined>>): Node {
  const others = (node.attribute ?? []).filter(({ name = '' }) => !Object.hasOwn(integers, name));
  const own = Object.entries(integers).flatMap(([name, i]) =>
    i === undefined ? [] : makeAttribute(name, i),
  );
  return { ...node, attribute: [...others, ...own] };
}

/** A graph whose BatchNormalization and Dropout are those of training. */
export interface TrainingForm {
  readonly graph: Graph;
  /** The same with what stands for such nodes when the model is evaluated. */
  inference(graph: Graph): Graph;
  /** That again, as a runtime reads it that optimizes nothing away: the one of webgpu has no Dropout. */
  probed(graph: Graph): Graph;
  /** Appends such a node in operators that every provider has. `shape`: of its output. */
  lower(b: Emitter, node: Node, shape: (value: Value) => Shape): boolean;
  readonly rules: Readonly<Record<string, Rule>>;
  readonly carried: Readonly<Record<string, Value>>;
  readonly averaged: Readonly<Record<string, Value>>;
}

/**
 * Finds the nodes that are in training form, or are chosen to be.
 *
 * A BatchNormalization gets further outputs: the batch's own mean and variance, and what its gradient
 * reads. A Dropout gets an output with what it kept, and a seed of its own; the number of runs so far is
 * carried.
 * @param rules those of the inference form
 * @throws OnnxModelError `invalid-option` for a choice that meets no such node
 */
export function trainingGraph(
  b: Emitter,
  graph: Graph,
  rules: Readonly<Record<string, Rule>>,
  choices: readonly NodeChoice[],
  seed: number,
): TrainingForm {
  const { node: given = [], initializer = [], output: outputs = [] } = graph;
  const held = new Map(initializer.map((tensor) => [tensor.name ?? '', tensor]));
  const read = new Set(
    [...given.flatMap(({ input = [] }) => input), ...outputs.map(({ name = '' }) => name)].filter(
      Boolean,
    ),
  );
  const carried: Record<string, Value> = {};
  const averaged: Record<string, Value> = {};
  const others = new Map<Node, readonly Node[]>();
  const counter = `${b.prefix}counter`;
  const met = new Set<NodeChoice>();
  const modes = new Set<string>();
  let drops = 0;

  const nodes = given.map((node): Node => {
    const { opType, input = [], output = [] } = node;
    if (node.domain || (opType !== 'BatchNormalization' && opType !== 'Dropout')) return node;
    const [y = ''] = output;
    const own = (part: string) => `${b.prefix}${part}/${y}`;
    const choosers = choices.filter((choice) => isNodeChosen(choice, node));
    for (const choice of choosers) met.add(choice);
    const chosen = choosers.length > 0;
    if (opType === 'Dropout') {
      const [x = '', ratio = '', mode = ''] = input;
      const plain: Node = { ...node, input: [x, ratio].filter(Boolean) };
      const tensor = held.get(mode);
      if (tensor) modes.add(mode);
      if (!chosen && mode && !tensor) return node;
      if (!chosen && (!tensor || !numbersOf(tensor)[0])) return plain;
      const key = mixed(seed, Number(attributeOf(node, 'seed').i ?? drops++));
      const training = withIntegers(
        { ...plain, output: [y, output[1] || own('kept')] },
        { [MODE]: 1, seed: key },
      );
      others.set(training, [plain]);
      return training;
    }
    if (!chosen && !inTraining(node)) return node;
    const statistics = input.slice(3);
    const running = statistics.map((_, k) => output[k + 1] || own(`running${k}`));
    const current = statistics.map((_, k) => own(`batch${k}`));
    // Whoever reads running statistics finds those that the model has.
    const same = running.flatMap((name, k): Node[] =>
      read.has(name) ? [makeNode('Identity', [statistics[k]!], [name])] : [],
    );
    // Two nodes may share them: the second renews what the first made.
    const before = statistics.map((name) => carried[name] ?? name);
    statistics.forEach((name, k) => {
      if (!held.has(name)) return;
      carried[name] = running[k]!;
      averaged[name] = current[k]!;
    });
    const training = withIntegers(
      {
        ...node,
        input: [...input.slice(0, 3), ...before],
        output: [y, ...running, ...current, own('hat'), own('scale')],
      },
      { [MODE]: 1 },
    );
    const inference = withIntegers({ ...node, output: [y] }, { [MODE]: undefined });
    others.set(training, [inference, ...same]);
    return training;
  });
  const missed = choices.find((choice) => !met.has(choice));
  if (missed !== undefined) {
    const message = `No BatchNormalization or Dropout is chosen by ${String(missed)}; look at the names of the model's nodes.`;
    throw new OnnxModelError('invalid-option', message, 'trainingForm', missed);
  }
  const more: Tensor[] = [];
  if (nodes.some((node) => node.opType === 'Dropout' && inTraining(node))) {
    carried[counter] = b.add(counter, 1);
    more.push(...b.constants.values(), makeTensor(counter, 'float32', [], [0]));
  }
  for (const node of nodes) {
    for (const name of [...(node.input ?? []), ...captured(node)]) modes.delete(name);
  }
  const own = new Set([...modes, ...more.map(({ name = '' }) => name)]);
  const inference = ({ node = [], initializer: all = [], ...rest }: Graph): Graph => ({
    ...rest,
    node: node.flatMap((one) => (b.nodes.includes(one) ? [] : (others.get(one) ?? [one]))),
    initializer: all.filter(({ name = '' }) => !own.has(name)),
  });
  return {
    graph: {
      ...graph,
      node: [...nodes, ...b.nodes],
      initializer: [...initializer.filter(({ name = '' }) => !modes.has(name)), ...more],
    },
    inference,
    probed(training) {
      const { node: all = [], ...rest } = inference(training);
      const node = all.map((one) =>
        isIdentity(one) ? makeNode('Identity', one.input!.slice(0, 1), one.output!) : one,
      );
      const made = node.flatMap(({ output = [] }) => output.map((name) => ({ name })));
      return { ...rest, ...reachable({ ...rest, node }, made), node };
    },
    lower(low, node, shape) {
      if (isIdentity(node)) low.node('Identity', node.input!.slice(0, 1), {}, node.output![0]);
      else if (!inTraining(node)) return false;
      else if (node.opType === 'BatchNormalization') lowerBatchNorm(low, node);
      else if (node.opType === 'Dropout') lowerDropout(low, node, shape(node.output![0]!), counter);
      else return false;
      return true;
    },
    rules: {
      BatchNormalization: batchNormRule(rules.BatchNormalization!),
      Dropout: dropoutRule,
    },
    carried,
    averaged,
  };
}

/** A Dropout that drops nothing. */
const isIdentity = ({ domain, opType, input, output }: Node) =>
  !domain && opType === 'Dropout' && !input![2] && !output![1];

/** Whatever the rank: [N, C, all the rest]. */
const flatten = (b: Emitter, value: Value) => b.node('Reshape', [value, b.integers(0, 0, -1)]);

/**
 * Normalization by the batch's own statistics; and the running ones, old · momentum + new ·
 * (1 − momentum), of which the variance is that of a population.
 */
function lowerBatchNorm(b: Emitter, node: Node): void {
  const [x, scale, bias, ...statistics] = node.input as [Value, Value, Value, ...Value[]];
  const [y, ...made] = node.output as Value[];
  const [running, current, [hat, r]] = [made.slice(0, 2), made.slice(2, 4), made.slice(4)];
  const float = (name: string, fallback: number) => attributeOf(node, name).f ?? fallback;
  const { add, sub, mul, sqrt } = b;
  const flat = flatten(b, x);
  const channels = (value: Value) => b.reshape(value, [1, -1, 1]);
  const means = b.mean(flat, [0, 2]);
  const centered = sub(flat, means);
  const variances = b.mean(mul(centered, centered), [0, 2]);
  const root = sqrt(add(variances, float('epsilon', 1e-5)));
  b.node('Div', [1, root], {}, r);
  b.node('Mul', [centered, r!], {}, hat);
  const scaled = add(mul(hat!, channels(scale)), channels(bias));
  b.node('Reshape', [scaled, b.node('Shape', [x])], {}, y);
  const momentum = float('momentum', 0.9);
  [means, variances].forEach((value, k) => {
    const now = b.reshape(value, [-1], current[k]);
    const parts = [b.scale(statistics[k]!, momentum), mul(now, 1 - momentum)];
    b.node('Add', parts, {}, running[k]);
  });
}

/** @param otherwise the rule of the inference form */
const batchNormRule =
  (otherwise: Rule): Rule =>
  (c) => {
    if (!c.int(MODE, 0)) return otherwise(c);
    const { b, x, y } = c;
    const { sub, mul } = b;
    const [hat, r] = y.slice(-2) as [Value, Value];
    const axes = [0, 2];
    const g = flatten(b, c.g);
    return [
      () => {
        const inner = mul(g, b.reshape(x[1]!, [1, -1, 1]));
        const along = mul(hat, b.mean(mul(inner, hat), axes));
        const dx = mul(r, sub(sub(inner, b.mean(inner, axes)), along));
        return b.node('Reshape', [dx, b.node('Shape', [x[0]!])]);
      },
      () => b.sum(mul(g, hat), axes, 0),
      () => b.sum(g, axes, 0),
    ];
  };

/** 1 / (1 − ratio). */
const dropoutScale = (b: Emitter, ratio: Value | undefined) => b.div(1, b.sub(1, ratio || 0.5));

const dropoutRule: Rule = ({ b, g, x, y, int, refuse }) => {
  if (x[2]) return refuse('its mode is not constant');
  return [int(MODE, 0) ? b.where(y[1]!, b.mul(g, dropoutScale(b, x[1])), 0) : g];
};

/** Odd, and far from each other and from simple fractions of 2³²: the axes of a tensor, and the steps. */
const STRIDES = [0x9e3779b1, 0x85ebca77, 0xc2b2ae3d, 0x27d4eb2f, 0x165667b1, 0x2545f491];

/** Random 32 bits of a and b: the first factor of a mask's seed. */
function mixed(a: number, b: number): number {
  let h = Math.imul(a, STRIDES[0]!) + b + 1;
  for (let i = 0; i < 2; i++) h = Math.imul(h ^ (h >>> 16), STRIDES[2]!);
  return (h ^ (h >>> 16)) | 0;
}

/**
 * What is kept is a hash of seed, step and place, of 32-bit integers, which wrap: sums, products and
 * quotients, as all providers have and give alike. No provider's random numbers are the same as another's,
 * and that of webgpu has none.
 *
 * x ↦ (x + x²/2¹⁶)², the middle of a square squared again, on equidistant x (Widynski's middle square
 * Weyl sequence, arXiv 1704.00358, in 32 bits).
 */
function lowerDropout(b: Emitter, node: Node, shape: Shape, counter: Value): void {
  const [x, ratio] = node.input as [Value, Value?];
  const [y, kept] = node.output as [Value, Value];
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
}
