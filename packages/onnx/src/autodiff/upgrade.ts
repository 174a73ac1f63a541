import { OnnxModelError } from '../errors.js';
import type { AttributeValue } from '../graph.js';
import type { Attribute, Graph, Model, Node, Tensor } from '../model/schema.js';
import { makeTensor, toNumber } from '../model/tensors.js';

/** Rules are written for this operator set; older models are brought to it. */
const TARGET = 18;

interface Making {
  integers(values: readonly number[]): string;
  float(value: number): string;
  node(opType: string, input: string[], output: string[], a?: Record<string, AttributeValue>): Node;
  fresh(): string;
}
type Change = (node: Node, make: Making, rankTwo: ReadonlySet<string>) => Node[];

const attribute = (node: Node, name: string): Attribute | undefined =>
  node.attribute?.find((a) => a.name === name);
const without = (node: Node, ...names: string[]): Attribute[] =>
  (node.attribute ?? []).filter(({ name = '' }) => !names.includes(name));
const ints = (node: Node, name: string) => attribute(node, name)?.ints?.map(Number);

/** An attribute of integers that became an input. */
const intsToInput =
  (name: string, at: number): Change =>
  (node, make) => {
    const values = ints(node, name);
    if (!values) return [node];
    const input = [...(node.input ?? [])];
    while (input.length < at) input.push('');
    input[at] = make.integers(values);
    return [{ ...node, input, attribute: without(node, name) }];
  };

/** Softmax of old flattened everything from its axis on. */
const softmax: Change = (node, make, rankTwo) => {
  const axis = toNumber(attribute(node, 'axis')?.i ?? 1);
  const [x = ''] = node.input ?? [];
  const plain = make.node(node.opType!, [x], node.output!, { axis: -1 });
  if (axis === -1 || (axis === 1 && rankTwo.has(x))) return [plain];
  const [flat, soft, shape] = [make.fresh(), make.fresh(), make.fresh()];
  return [
    make.node('Flatten', [x], [flat], { axis }),
    make.node(node.opType!, [flat], [soft], { axis: -1 }),
    make.node('Shape', [x], [shape]),
    make.node('Reshape', [soft, shape], node.output!),
  ];
};

/** What changed, by operator: the operator set that brought it, and how to get there. */
const changes: readonly (readonly [number, string, Change])[] = [
  [
    9,
    'Upsample',
    (node, make) => {
      const scales = attribute(node, 'scales')?.floats;
      const name = scales && make.fresh();
      const tensor = scales && makeTensor(name!, 'float32', [scales.length], scales);
      const constant = tensor && [
        { opType: 'Constant', output: [name!], attribute: [{ name: 'value', t: tensor, type: 4 }] },
      ];
      return [
        ...(constant ?? []),
        {
          ...node,
          input: [node.input![0]!, ...(name ? [name] : node.input!.slice(1))],
          attribute: without(node, 'scales'),
        },
      ];
    },
  ],
  [
    9,
    'BatchNormalization',
    (node) => [{ ...node, output: node.output!.slice(0, 1), attribute: without(node, 'spatial') }],
  ],
  [
    10,
    'Slice',
    (node, make) => {
      const axes = ints(node, 'axes');
      const input = [
        node.input![0]!,
        make.integers(ints(node, 'starts')!),
        make.integers(ints(node, 'ends')!),
      ];
      if (axes) input.push(make.integers(axes));
      return [{ ...node, input, attribute: [] }];
    },
  ],
  [
    10,
    'TopK',
    (node, make) => [
      {
        ...node,
        input: [...node.input!, make.integers([toNumber(attribute(node, 'k')?.i)])],
        attribute: without(node, 'k'),
      },
    ],
  ],
  [
    11,
    'Clip',
    (node, make) => {
      const value = (name: string) => attribute(node, name)?.f;
      const [low, high] = [value('min'), value('max')];
      const input = [node.input![0]!, low === undefined ? '' : make.float(low)];
      if (high !== undefined) input.push(make.float(high));
      return [{ ...node, input, attribute: [] }];
    },
  ],
  [
    11,
    'Pad',
    (node, make) => [
      {
        ...node,
        input: [
          node.input![0]!,
          make.integers(ints(node, 'pads') ?? ints(node, 'paddings')!),
          make.float(attribute(node, 'value')?.f ?? 0),
        ],
        attribute: without(node, 'pads', 'value'),
      },
    ],
  ],
  [11, 'Scatter', (node) => [{ ...node, opType: 'ScatterElements' }]],
  ...['Upsample', 'Resize'].map((name): [number, string, Change] => [
    11,
    name,
    (node, make) => {
      const mode = new TextDecoder().decode(attribute(node, 'mode')?.s ?? new Uint8Array());
      return [
        make.node('Resize', [node.input![0]!, '', node.input![1]!], node.output!, {
          mode: mode === 'linear' || mode === 'bilinear' ? 'linear' : 'nearest',
          coordinate_transformation_mode: 'asymmetric',
          nearest_mode: 'floor',
        }),
      ];
    },
  ]),
  [
    12,
    'Dropout',
    (node, make) => [
      {
        ...node,
        input: [node.input![0]!, make.float(attribute(node, 'ratio')?.f ?? 0.5)],
        attribute: [],
      },
    ],
  ],
  [13, 'Squeeze', intsToInput('axes', 1)],
  [13, 'Unsqueeze', intsToInput('axes', 1)],
  [13, 'ReduceSum', intsToInput('axes', 1)],
  [13, 'Split', intsToInput('split', 1)],
  [13, 'Softmax', softmax],
  [13, 'LogSoftmax', softmax],
  [14, 'BatchNormalization', (node) => [{ ...node, output: node.output!.slice(0, 1) }]],
  [
    16,
    'RoiAlign',
    (node) => [
      attribute(node, 'coordinate_transformation_mode')
        ? node
        : {
            ...node,
            attribute: [
              ...(node.attribute ?? []),
              {
                name: 'coordinate_transformation_mode',
                s: new TextEncoder().encode('output_half_pixel'),
                type: 3,
              },
            ],
          },
    ],
  ],
  ...'Mean Max Min Prod L1 L2 LogSum LogSumExp SumSquare'
    .split(' ')
    .map((name): [number, string, Change] => [18, `Reduce${name}`, intsToInput('axes', 1)]),
  [
    18,
    'Split',
    (node) => [
      node.input?.[1]
        ? node
        : {
            ...node,
            attribute: [
              ...(node.attribute ?? []),
              { name: 'num_outputs', i: node.output!.length, type: 2 },
            ],
          },
    ],
  ],
];

/**
 * The same model in operator set 18 or its own later one, with its constants as initializers.
 * @throws OnnxModelError `unsupported-model` before operator set 7, whose broadcasting was another one
 */
export function upgrade(
  model: Model,
  prefix: string,
): { model: Model; opset: number; constants: Set<string> } {
  const own = (model.opsetImport ?? []).find(
    ({ domain = '' }) => domain === '' || domain === 'ai.onnx',
  );
  const from = toNumber(own?.version);
  if (from < 7 || !model.graph) {
    const message = `The model uses operator set ${from}; convert it to 7 or later.`;
    throw new OnnxModelError('unsupported-model', message, 'opset', from);
  }
  const added = new Map<string, Tensor>();
  let count = 0;
  const make: Making = {
    integers: (values) => {
      const name = `${prefix}upgrade/[${values}]`;
      added.set(name, makeTensor(name, 'int64', [values.length], values));
      return name;
    },
    float: (value) => {
      const name = `${prefix}upgrade/${value}`;
      added.set(name, makeTensor(name, 'float32', [], [value]));
      return name;
    },
    fresh: () => `${prefix}upgrade/value_${count++}`,
    node: (opType, input, output, a = {}) => ({
      opType,
      input,
      output,
      attribute: Object.entries(a).map(([name, value]) =>
        typeof value === 'string'
          ? { name, s: new TextEncoder().encode(value), type: 3 }
          : { name, i: value as number, type: 2 },
      ),
    }),
  };
  const table = changes.filter(([version]) => from < version);
  const rankTwo = new Set<string>();
  const raise = (graph: Graph, outer: boolean): Graph => {
    const initializer = [...(graph.initializer ?? [])];
    const nodes: Node[] = [];
    for (const node of graph.node ?? []) {
      let list = [node];
      if ((node.domain ?? '') === '' || node.domain === 'ai.onnx') {
        for (const [, name, change] of table) {
          list = list.flatMap((one) => (one.opType === name ? change(one, make, rankTwo) : [one]));
        }
      }
      if (node.opType === 'Gemm' || node.opType === 'Flatten') rankTwo.add(node.output![0]!);
      for (const one of list) {
        const tensor = one.opType === 'Constant' ? attribute(one, 'value')?.t : undefined;
        if (outer && tensor) {
          initializer.push({ ...tensor, name: one.output![0]! });
          constants.add(one.output![0]!);
          continue;
        }
        const deeper = one.attribute?.some(({ g }) => g);
        nodes.push(
          deeper
            ? {
                ...one,
                attribute: one.attribute!.map((a) => (a.g ? { ...a, g: raise(a.g, false) } : a)),
              }
            : one,
        );
      }
    }
    return { ...graph, node: nodes, initializer };
  };
  const constants = new Set<string>();
  const graph = raise(model.graph, true);
  for (const name of added.keys()) constants.add(name);
  graph.initializer!.push(...added.values());
  const held = new Set(graph.initializer!.map(({ name }) => name));
  graph.input = (graph.input ?? []).filter(({ name }) => !held.has(name));
  const opset = Math.max(from, TARGET);
  const others = (model.opsetImport ?? []).filter((entry) => entry !== own);
  return {
    model: {
      ...model,
      irVersion: Math.max(toNumber(model.irVersion), 8),
      opsetImport: [{ ...own, version: opset }, ...others],
      graph,
    },
    opset,
    constants,
  };
}
