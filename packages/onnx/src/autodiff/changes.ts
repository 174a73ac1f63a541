import type { GraphBuilder } from '../graph.js';
import { type AttributeValue, attributeOf, makeAttribute } from '../model/nodes.js';
import type { Node } from '../model/schema.js';

/** Returns the node in newer terms, or appends what takes its place to the builder. */
export type Change = (
  node: Node,
  b: GraphBuilder,
  rankTwo: ReadonlySet<string>,
) => Node | undefined;

/** The node with an attribute more, unless it has that already. */
const withDefault = (node: Node, name: string, value: AttributeValue): Node => {
  const { attribute = [] } = node;
  if (attribute.some((one) => one.name === name)) return node;
  return { ...node, attribute: [...attribute, makeAttribute(name, value)] };
};

/** Attributes that became inputs, in their order. */
const toInputs =
  (names: readonly string[]): Change =>
  (node, b) => {
    const input = [...(node.input ?? [])];
    for (const name of names) {
      const { ints, floats, i, f } = attributeOf(node, name);
      const whole = i === undefined ? ints : [i];
      // The largest of 64 bits stands for no end, and is no number of JavaScript's.
      if (whole) input.push(b.integers(...whole.map((v) => Math.min(Number(v), 2 ** 53 - 1))));
      else if (f !== undefined) input.push(b.constant(f));
      else input.push(floats ? b.floats([floats.length], floats) : '');
    }
    while (input.at(-1) === '') input.pop();
    const rest = (node.attribute ?? []).filter(({ name = '' }) => !names.includes(name));
    return { ...node, input, attribute: rest };
  };

/** Softmax of old flattened everything from its axis on. */
const softmax: Change = ({ opType, input, output, ...node }, b, rankTwo) => {
  const axis = Number(attributeOf(node, 'axis').i ?? 1);
  const [x] = input as [string];
  if (axis === -1 || (axis === 1 && rankTwo.has(x))) b.node(opType!, [x], { axis: -1 }, output![0]);
  else {
    const soft = b.node(opType!, [b.node('Flatten', [x], { axis })], { axis: -1 });
    b.node('Reshape', [soft, b.node('Shape', [x])], {}, output![0]);
  }
  return undefined;
};

const resize: Change = ({ input, output, ...node }, b) => {
  const linear = new TextDecoder().decode(attributeOf(node, 'mode').s).endsWith('linear');
  b.node(
    'Resize',
    [input![0]!, '', input![1]!],
    {
      mode: linear ? 'linear' : 'nearest',
      coordinate_transformation_mode: 'asymmetric',
      nearest_mode: 'floor',
    },
    output![0],
  );
  return undefined;
};

/** What changed, by operator: the operator set that brought it, and how to get there. */
export const changes: readonly (readonly [number, string, Change])[] = [
  ...[
    '9 Upsample scales',
    '10 Slice starts ends axes',
    '10 TopK k',
    '11 Clip min max',
    '11 Pad pads value',
    '12 Dropout ratio',
    '13 Squeeze axes',
    '13 Unsqueeze axes',
    '13 ReduceSum axes',
    '13 Split split',
    ...'Mean Max Min Prod L1 L2 LogSum LogSumExp SumSquare'
      .split(' ')
      .map((name) => `18 Reduce${name} axes`),
  ].map((line): [number, string, Change] => {
    const [version, name, ...attributes] = line.split(' ') as [string, string];
    return [Number(version), name, toInputs(attributes)];
  }),
  [11, 'Scatter', (node) => ({ ...node, opType: 'ScatterElements' })],
  // In this order: what becomes a Resize here is a new one already.
  [11, 'Resize', resize],
  [11, 'Upsample', resize],
  [13, 'Softmax', softmax],
  [13, 'LogSoftmax', softmax],
  [
    14,
    'BatchNormalization',
    ({ output, ...node }) => {
      const attribute = (node.attribute ?? []).filter(({ name }) => name !== 'spatial');
      // Whoever gave running statistics was in training, and gave those of the batch behind them.
      const plain = { ...node, output: output!.slice(0, 3), attribute };
      return output![1] === undefined ? plain : withDefault(plain, 'training_mode', 1);
    },
  ],
  [
    16,
    'RoiAlign',
    (node) => withDefault(node, 'coordinate_transformation_mode', 'output_half_pixel'),
  ],
  [
    18,
    'Split',
    (node) => (node.input?.[1] ? node : withDefault(node, 'num_outputs', node.output!.length)),
  ],
];
