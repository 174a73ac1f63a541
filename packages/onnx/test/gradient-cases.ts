import {
  type AttributeValue,
  elementTypes,
  type Model,
  makeNode,
  makeTensor,
  makeValueInfo,
  type Node,
  type Tensor,
} from '../src/model/index.js';

type Attributes = Readonly<Record<string, AttributeValue>>;

/** One operator on parameters, all of which are differentiated, and constants. */
export interface GradientCase {
  readonly name: string;
  readonly op: string;
  readonly parameters: readonly (readonly number[])[];
  readonly attributes?: Attributes;
  /** Integers, by the input that they are. */
  readonly constants?: Readonly<
    Record<number, readonly number[] | { shape: number[]; values: number[] }>
  >;
  /** The parameters' values, from numbers in (−1, 1) that all differ. */
  readonly values?: (v: number, parameter: number) => number;
  readonly outputs?: number;
  /** So many further outputs, of which the loss knows nothing. */
  readonly unread?: number;
  readonly opset?: number;
  /** Several equal values: no difference tells the gradient, which is given instead. */
  readonly exact?: { readonly values: readonly number[]; readonly gradient: readonly number[] };
}

export const apart = (v: number) => (v < 0 ? v - 0.1 : v + 0.1);
const positive = (v: number) => 1.2 + v;
const one = (
  op: string,
  attributes: Attributes = {},
  values?: GradientCase['values'],
  opset?: number,
): GradientCase[] =>
  [
    [3, 5],
    [2, 1, 4],
    [0, 3],
  ].map((shape) => ({
    name: `${op} [${shape}] ${JSON.stringify(attributes)}`,
    op,
    parameters: [shape],
    attributes,
    ...(values && { values }),
    ...(opset && { opset }),
  }));
const pairs: [number[], number[]][] = [
  [
    [2, 3],
    [2, 3],
  ],
  [[2, 3], [3]],
  [
    [4, 1, 3],
    [2, 1],
  ],
  [[], [2, 2]],
  [[2, 2], []],
  [[0, 3], [3]],
];
const two = (op: string, values?: GradientCase['values']): GradientCase[] =>
  pairs.map((parameters) => ({
    name: `${op} [${parameters[0]}] [${parameters[1]}]`,
    op,
    parameters,
    ...(values && { values }),
  }));
const made = (
  op: string,
  list: [readonly (readonly number[])[], Attributes?, Partial<GradientCase>?][],
): GradientCase[] =>
  list.map(([parameters, attributes = {}, more = {}], i) => ({
    name: `${op} ${i}: [${parameters.join('] [')}] ${JSON.stringify(attributes)}`,
    op,
    parameters,
    attributes,
    ...more,
  }));

export const cases: GradientCase[] = [
  ...['Neg', 'Exp', 'Sigmoid', 'Tanh', 'Erf', 'Softplus', 'Sin', 'Cos', 'Identity'].flatMap((op) =>
    one(op),
  ),
  ...['Sqrt', 'Log', 'Reciprocal'].flatMap((op) => one(op, {}, positive)),
  ...['Abs', 'Relu', 'LeakyRelu', 'Elu'].flatMap((op) => one(op, {}, apart)),
  ...one('LeakyRelu', { alpha: { f: 0.3 } }, apart),
  ...one('HardSigmoid', { alpha: { f: 0.25 } }, (v) => 4 * v),
  ...one('Cast', { to: 1 }),
  ...one('HardSwish', {}, (v) => 5 * v),
  ...one('Gelu', {}, undefined, 20),
  ...one('Gelu', { approximate: 'tanh' }, undefined, 20),
  ...['Softmax', 'LogSoftmax'].flatMap((op) => [...one(op), ...one(op, { axis: 0 }).slice(0, 2)]),
  ...['Add', 'Sub', 'Mul', 'Sum', 'Mean'].flatMap((op) => two(op)),
  ...['Min', 'Max'].flatMap((op) => two(op, (v, k) => v + k / 16)),
  ...two('Div', (v, k) => (k === 1 ? positive(v) : v)),
  ...two('Pow', (v) => positive(v)),
  ...two('PRelu', apart).slice(0, 2),
  ...made('Clip', [
    [
      [[3, 4]],
      {},
      { constants: { 1: { shape: [], values: [-0.5] }, 2: { shape: [], values: [0.5] } } },
    ],
  ]),
  ...made('MatMul', [
    [
      [
        [3, 4],
        [4, 2],
      ],
    ],
    [
      [
        [2, 3, 4],
        [4, 5],
      ],
    ],
    [
      [
        [2, 3, 4],
        [2, 4, 5],
      ],
    ],
    [
      [
        [2, 1, 3, 4],
        [3, 4, 2],
      ],
    ],
    [[[4], [4, 2]]],
    [[[3, 4], [4]]],
    [[[4], [4]]],
    [
      [
        [3, 4],
        [2, 4, 5],
      ],
    ],
  ]),
  ...made('Gemm', [
    [
      [
        [3, 4],
        [4, 2],
      ],
    ],
    [[[3, 4], [4, 2], [2]]],
    [
      [
        [4, 3],
        [2, 4],
        [3, 1],
      ],
      { transA: 1, transB: 1, alpha: { f: 0.5 }, beta: { f: 2 } },
    ],
    [[[3, 4], [2, 4], [1]], { transB: 1 }],
    [
      [
        [4, 3],
        [4, 2],
        [3, 2],
      ],
      { transA: 1, alpha: { f: 1.5 } },
    ],
  ]),
  ...made('LayerNormalization', [
    [[[3, 5], [5], [5]]],
    [
      [
        [2, 3, 4],
        [3, 4],
        [3, 4],
      ],
      { axis: 1, epsilon: { f: 0.1 } },
    ],
    [[[2, 3, 4], [4]]],
  ]),
  ...made('RMSNormalization', [[[[3, 5], [5]], {}, { opset: 23 }]]),
  ...made('InstanceNormalization', [
    [[[2, 3, 5], [3], [3]]],
    [[[2, 2, 3, 3], [2], [2]], { epsilon: { f: 0.1 } }],
  ]),
  ...made('GroupNormalization', [
    [[[2, 4, 3, 3], [2], [2]], { num_groups: 2 }, { opset: 18 }],
    [[[2, 4, 3, 3], [4], [4]], { num_groups: 2 }, { opset: 21 }],
  ]),
  ...made('Conv', [
    [[[2, 3, 5, 6], [4, 3, 3, 3], [4]]],
    [
      [
        [2, 3, 6, 6],
        [4, 3, 3, 3],
      ],
      { strides: [2, 2], pads: [1, 1, 1, 1] },
    ],
    [
      [
        [1, 2, 8, 7],
        [2, 2, 3, 2],
      ],
      { strides: [3, 2] },
    ],
    [
      [
        [2, 2, 7, 7],
        [3, 2, 2, 2],
      ],
      { dilations: [2, 3] },
    ],
    [[[2, 4, 5, 5], [4, 1, 3, 3], [4]], { group: 4, pads: [1, 1, 1, 1] }],
    [
      [
        [2, 4, 5, 5],
        [6, 2, 3, 3],
      ],
      { group: 2 },
    ],
    ...[6, 4].map((outputs): [number[][], Attributes] => [
      [
        [1, 2, 5, 5],
        [outputs, 1, 3, 3],
      ],
      { group: 2, strides: [2, 2] },
    ]),
    [[[2, 3, 9], [4, 3, 3], [4]], { strides: [2], pads: [1, 0] }],
    [
      [
        [2, 3, 6, 5],
        [2, 3, 3, 3],
      ],
      { auto_pad: 'SAME_UPPER', strides: [2, 2] },
    ],
    [
      [
        [2, 3, 6, 5],
        [2, 3, 2, 2],
      ],
      { auto_pad: 'SAME_LOWER' },
    ],
    [
      [
        [2, 3, 4, 4],
        [5, 3, 1, 1],
      ],
    ],
  ]),
  ...made('ConvTranspose', [
    [[[2, 3, 4, 5], [3, 2, 3, 3], [2]]],
    [
      [
        [1, 3, 4, 4],
        [3, 2, 3, 3],
      ],
      { strides: [2, 2], pads: [1, 1, 1, 1], output_padding: [1, 1] },
    ],
    [
      [
        [1, 4, 3, 3],
        [4, 1, 2, 2],
      ],
      { group: 4, strides: [2, 2] },
    ],
    [
      [
        [1, 2, 4],
        [2, 3, 3],
      ],
      { strides: [2] },
    ],
  ]),
  ...made(
    'MaxPool',
    [
      [[[2, 2, 4, 6]], { kernel_shape: [2, 2], strides: [2, 2] }],
      [[[1, 2, 7, 7]], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] }],
      [[[1, 2, 6, 5]], { kernel_shape: [2, 2] }],
      [[[1, 1, 7, 7]], { kernel_shape: [3, 3], strides: [2, 2], ceil_mode: 1 }],
      [[[1, 2, 6, 6]], { kernel_shape: [2, 2], dilations: [2, 2] }],
      [[[2, 2, 9]], { kernel_shape: [3], strides: [2] }],
      [[[1, 1, 8, 7]], { kernel_shape: [3, 2], strides: [3, 2] }],
    ].map(([p, a]) => [p, a, { values: (v: number) => 8 * v }]) as never,
  ),
  {
    name: 'MaxPool with ties',
    op: 'MaxPool',
    parameters: [[1, 1, 2, 4]],
    attributes: { kernel_shape: [2, 2], strides: [2, 2] },
    exact: { values: [1, 1, 0, 2, 0, 0, 2, 2], gradient: [1, 1, 0, 5 / 3, 0, 0, 5 / 3, 5 / 3] },
  },
  {
    name: 'MaxPool with ties in windows that overlap',
    op: 'MaxPool',
    parameters: [[1, 1, 3]],
    attributes: { kernel_shape: [2] },
    exact: { values: [1, 1, 0], gradient: [1, 3, 0] },
  },
  ...made('AveragePool', [
    [[[2, 2, 4, 6]], { kernel_shape: [2, 2], strides: [2, 2] }],
    [[[1, 2, 7, 7]], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] }],
    [
      [[1, 2, 7, 6]],
      { kernel_shape: [3, 2], strides: [2, 3], pads: [1, 0, 1, 0], count_include_pad: 1 },
    ],
    [[[1, 2, 8, 8]], { kernel_shape: [3, 3], strides: [2, 2] }],
    [[[1, 2, 5, 6]], { kernel_shape: [2, 3], auto_pad: 'SAME_UPPER', count_include_pad: 1 }],
  ]),
  ...['GlobalAveragePool', 'GlobalMaxPool'].flatMap((op) =>
    made(op, [[[[2, 3, 3, 4]]], [[[2, 3, 5]]]]),
  ),
  ...made('Resize', [
    [
      [[1, 2, 3, 4]],
      { mode: 'nearest', coordinate_transformation_mode: 'asymmetric', nearest_mode: 'floor' },
      { constants: { 3: [1, 2, 6, 8] } },
    ],
    [[[1, 2, 4, 6]], { mode: 'linear' }, { constants: { 3: [1, 2, 7, 9] } }],
    [
      [[1, 2, 6, 4]],
      { mode: 'linear', coordinate_transformation_mode: 'align_corners' },
      { constants: { 3: [1, 2, 3, 8] } },
    ],
    [[[1, 2, 5]], { mode: 'nearest' }, { constants: { 3: [1, 2, 8] } }],
  ]),
  ...made('Pad', [
    [[[3, 4]], {}, { constants: { 1: [1, 0, 2, 3] } }],
    [[[5, 4]], {}, { constants: { 1: [-1, 0, -2, 1] } }],
    ...['reflect', 'edge', 'wrap'].map((mode): [number[][], Attributes, Partial<GradientCase>] => [
      [[3, 4]],
      { mode },
      { constants: { 1: [2, 1, 1, 3] }, opset: 19 },
    ]),
    [[[1, 1, 4, 5]], { mode: 'reflect' }, { constants: { 1: [0, 0, 1, 2, 0, 0, 3, 1] } }],
  ]),
  ...made('Gather', [
    [[[4, 3]], {}, { constants: { 1: [1, 3, 1] } }],
    [[[3, 4, 2]], { axis: 1 }, { constants: { 1: { shape: [2, 2], values: [0, 3, 3, -1] } } }],
    [[[3, 4]], { axis: -1 }, { constants: { 1: { shape: [], values: [2] } } }],
  ]),
  ...made('GatherElements', [
    [[[3, 4]], { axis: 1 }, { constants: { 1: { shape: [3, 2], values: [0, 0, 3, -1, 2, 1] } } }],
    [[[4, 3]], { axis: 0 }, { constants: { 1: { shape: [2, 3], values: [1, 0, 3, 1, 0, 3] } } }],
  ]),
  ...made('Where', [[[[], [2, 3]], {}, { constants: { 0: { shape: [2, 1], values: [1, 0] } } }]]),
  ...made('Einsum', [
    [
      [
        [2, 3],
        [3, 4],
      ],
      { equation: 'ij,jk->ik' },
    ],
    [
      [
        [2, 3, 4],
        [2, 4, 5],
      ],
      { equation: 'bij,bjk->bik' },
    ],
    [[[2, 3], [2]], { equation: 'ij,i->i' }],
    [
      [
        [2, 3, 4],
        [4, 5],
      ],
      { equation: '...i,ij->...j' },
    ],
    [[[2, 3, 4]], { equation: 'abc->ca' }],
  ]),
  ...made('Reshape', [
    [[[2, 6]], {}, { constants: { 1: [3, 4] } }],
    [[[0, 6]], { allowzero: 1 }, { constants: { 1: [3, 0] } }],
  ]),
  ...made('Flatten', [[[[2, 3, 4]], { axis: 2 }]]),
  ...made('Transpose', [[[[2, 3, 4]], { perm: [2, 0, 1] }], [[[2, 3]]]]),
  ...made('Squeeze', [[[[2, 1, 3]], {}, { constants: { 1: [1] } }], [[[1, 3, 1]]]]),
  ...made('Unsqueeze', [[[[2, 3]], {}, { constants: { 1: [0, -1] } }]]),
  ...made('Expand', [[[[3, 1]], {}, { constants: { 1: [2, 3, 4] } }]]),
  ...made('Tile', [[[[2, 3]], {}, { constants: { 1: [2, 3] } }]]),
  ...made('Concat', [
    [
      [
        [2, 3],
        [2, 1],
        [2, 2],
      ],
      { axis: 1 },
    ],
    [
      [
        [2, 3],
        [0, 3],
      ],
      { axis: 0 },
    ],
  ]),
  ...made('Slice', [
    [[[5, 6]], {}, { constants: { 1: [1, 0], 2: [4, 3] } }],
    [[[7, 3]], {}, { constants: { 1: [1], 2: [7], 3: [0], 4: [2] } }],
    [[[7, 3]], {}, { constants: { 1: [-2], 2: [-8], 3: [0], 4: [-3] } }],
    [[[2, 9]], {}, { constants: { 1: [0], 2: [9007199254740991], 3: [-1], 4: [4] } }],
    [[[4, 3]], {}, { constants: { 1: [2], 2: [2] } }],
  ]),
  ...made('Split', [[[[2, 6]], { axis: 1 }, { constants: { 1: [1, 3, 2] }, outputs: 3 }]]),
  ...['ReduceSum', 'ReduceMean', 'ReduceMax', 'ReduceMin', 'ReduceSumSquare', 'ReduceL2'].flatMap(
    (op) =>
      made(op, [
        [[[2, 3, 4]]],
        [[[2, 3, 4]], { keepdims: 0 }, { constants: { 1: [0, -1] } }],
        [[[2, 3]], { keepdims: 1 }, { constants: { 1: [1] } }],
      ]),
  ),
  ...made('CumSum', [
    [[[3, 4]], {}, { constants: { 1: { shape: [], values: [1] } } }],
    [[[3, 4]], { exclusive: 1, reverse: 1 }, { constants: { 1: { shape: [], values: [0] } } }],
  ]),
  ...made('BatchNormalization', [
    [
      [[2, 3, 2, 2], [3], [3]],
      {},
      {
        constants: {
          3: { shape: [3], values: [0.1, -0.2, 0.3] },
          4: { shape: [3], values: [1, 0.5, 2] },
        },
      },
    ],
  ]),
  ...made('BatchNormalization', [
    [
      [[4, 3, 2, 2], [3], [3]],
      { training_mode: 1, epsilon: { f: 0.01 } },
      {
        unread: 2,
        constants: { 3: { shape: [3], values: [0, 0, 0] }, 4: { shape: [3], values: [1, 1, 1] } },
      },
    ],
    [
      [[5, 2], [2], [2]],
      { training_mode: 1 },
      {
        unread: 2,
        constants: { 3: { shape: [2], values: [0, 0] }, 4: { shape: [2], values: [1, 1] } },
      },
    ],
  ]),
  ...made('Dropout', [[[[3, 4]]]]),
  {
    name: 'ReduceMax with ties',
    op: 'ReduceMax',
    parameters: [[2, 3]],
    constants: { 1: [1] },
    exact: { values: [1, 1, 0, 2, 2, 2], gradient: [1, 1, 0, 5 / 3, 5 / 3, 5 / 3] },
  },
  {
    name: 'GlobalMaxPool with ties',
    op: 'GlobalMaxPool',
    parameters: [[1, 2, 3]],
    exact: { values: [1, 0, 1, 2, 0, 0], gradient: [1, 0, 1, 5, 0, 0] },
  },
  {
    name: 'Relu at its kink',
    op: 'Relu',
    parameters: [[3]],
    exact: { values: [0, 1, -1], gradient: [0, 2, 0] },
  },
  // Nothing to sum up, and nothing to give it to.
  ...made('MatMul', [
    [
      [
        [0, 3],
        [3, 2],
      ],
    ],
    [
      [
        [2, 0],
        [0, 3],
      ],
    ],
  ]),
  ...made('Gather', [[[[4, 3]], {}, { constants: { 1: [] } }]]),
  ...made('ReduceSum', [[[[2, 0]], {}, { constants: { 1: [1] } }]]),
  ...made('Transpose', [[[[0, 3]]]]),
  ...made('Expand', [[[[1, 3]], {}, { constants: { 1: [0, 3] } }]]),
];

const FLOATS: Readonly<Record<string, readonly number[]>> = {
  Clip: [1, 2],
  Dropout: [1],
  BatchNormalization: [3, 4],
};

/** Numbers in (−1, 1), none like another. */
export function distinct(length: number, seed: number): number[] {
  const prime = [7919, 6007, 4999][seed % 3]!;
  return Array.from(
    { length },
    (_, i) =>
      ((2 * (((i + 1) * prime) % (length * 2 + 1)) + 1) / (length * 2 + 1) - 1) * 0.9 + 0.03,
  );
}
export const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
export const valuesOf = ({ parameters, values = (v) => v, exact }: GradientCase): Float32Array[] =>
  parameters.map((shape, k) =>
    Float32Array.from(exact?.values ?? distinct(sizeOf(shape), k).map((v) => values(v, k))),
  );

/** A model of the operator, with the loss Σ y³ / 3 + y over all outputs. */
export function modelOf(one: GradientCase): Model {
  const {
    op,
    parameters,
    attributes = {},
    constants = {},
    outputs = 1,
    unread = 0,
    opset = 18,
  } = one;
  const values = valuesOf(one);
  const initializer: Tensor[] = parameters.map((shape, k) =>
    makeTensor(`p${k}`, 'float32', shape, values[k]!),
  );
  const input: string[] = [];
  for (const [place, given] of Object.entries(constants)) {
    const { shape, values: list } =
      'shape' in given ? given : { shape: [given.length], values: given as number[] };
    const type = FLOATS[op]?.includes(Number(place))
      ? 'float32'
      : op === 'Where' || op === 'Dropout'
        ? 'bool'
        : 'int64';
    input[Number(place)] = `c${place}`;
    initializer.push(makeTensor(`c${place}`, type, shape, list));
  }
  let k = 0;
  for (const shape of parameters) {
    void shape;
    let at = 0;
    while (input[at] !== undefined) at++;
    input[at] = `p${k++}`;
  }
  const ys = Array.from({ length: outputs }, (_, i) => `y${i}`);
  const nodes: Node[] = [
    makeNode(
      op,
      Array.from(input, (name) => name ?? ''),
      [...ys, ...Array.from({ length: unread }, (_, i) => `unread${i}`)],
      attributes,
    ),
  ];
  const node = (opType: string, from: string[], to: string, more?: Attributes) =>
    nodes.push(makeNode(opType, from, [to], more));
  initializer.push(makeTensor('third', 'float32', [], [1 / 3]));
  ys.forEach((y, i) => {
    node('Mul', [y, y], `square${i}`);
    node('Mul', [`square${i}`, y], `cube${i}`);
    node('Mul', [`cube${i}`, 'third'], `part${i}`);
    node('Add', [`part${i}`, y], `whole${i}`);
    node('ReduceSum', [`whole${i}`], i === 0 ? 'sum0' : `term${i}`, { keepdims: 0 });
    if (i > 0) node('Add', [`sum${i - 1}`, `term${i}`], `sum${i}`);
  });
  const last = `sum${outputs - 1}`;
  return {
    irVersion: 8,
    opsetImport: [{ domain: '', version: opset }],
    graph: {
      name: 'case',
      node: nodes,
      initializer,
      // Something has to be fed: a runtime may refuse a model without inputs.
      input: [],
      output: [...ys, last].map((name) => ({
        name,
        type: { tensorType: { elemType: elementTypes.float32 } },
      })),
    },
  };
}
export const lossOf = ({ outputs = 1 }: GradientCase) => `sum${outputs - 1}`;

/** The model with its parameters as inputs, giving y and the gradients. */
export function withInputs(
  model: Model,
  one: GradientCase,
  gradients: Readonly<Record<string, string>>,
): Model {
  const names = new Set(one.parameters.map((_, k) => `p${k}`));
  const { graph } = model;
  const ys = Array.from({ length: one.outputs ?? 1 }, (_, i) => `y${i}`);
  return {
    ...model,
    graph: {
      ...graph,
      initializer: graph!.initializer!.filter(({ name }) => !names.has(name!)),
      input: one.parameters.map((shape, k) => makeValueInfo(`p${k}`, 'float32', shape)),
      output: [...new Set([...ys, ...Object.values(gradients)])].map((name) => ({
        name,
        type: { tensorType: { elemType: elementTypes.float32 } },
      })),
    },
  };
}
