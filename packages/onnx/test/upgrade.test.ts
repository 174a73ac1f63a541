import * as ort from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import { changes } from '../src/autodiff/changes.js';
import { upgrade } from '../src/autodiff/upgrade.js';
import {
  type AttributeValue,
  encodeModel,
  type Model,
  makeNode,
  makeTensor,
  makeValueInfo,
  type Tensor,
} from '../src/model/index.js';
import { noise } from './support.js';

interface Case {
  readonly op: string;
  readonly opset: number;
  readonly shape: readonly number[];
  readonly attributes?: Readonly<Record<string, AttributeValue>>;
  readonly more?: readonly Tensor[];
  readonly outputs?: number;
}
const vector = (name: string, values: readonly number[]) =>
  makeTensor(name, 'float32', [values.length], values);
const reductions = 'Mean Max Min Prod L1 L2 LogSum LogSumExp SumSquare'.split(' ').map(
  (name): Case => ({
    op: `Reduce${name}`,
    opset: 17,
    shape: [2, 3, 4],
    attributes: { axes: [0, -1], keepdims: 0 },
  }),
);

/** One node as an older operator set has it. The first input is in (0, 1). */
const cases: Case[] = [
  {
    op: 'Upsample',
    opset: 7,
    shape: [1, 1, 2, 3],
    attributes: { mode: 'nearest', scales: { floats: Float32Array.of(1, 1, 2, 2) } },
  },
  {
    op: 'Upsample',
    opset: 9,
    shape: [1, 1, 2, 3],
    attributes: { mode: 'linear' },
    more: [vector('s', [1, 1, 2, 2])],
  },
  {
    op: 'Resize',
    opset: 10,
    shape: [1, 1, 2, 3],
    attributes: { mode: 'nearest' },
    more: [vector('s', [1, 1, 3, 2])],
  },
  { op: 'Slice', opset: 9, shape: [4, 5], attributes: { starts: [1], ends: [9], axes: [1] } },
  { op: 'Slice', opset: 9, shape: [4, 5], attributes: { starts: [1, 0], ends: [3, -1] } },
  { op: 'TopK', opset: 9, shape: [3, 5], attributes: { k: 2, axis: 1 }, outputs: 2 },
  { op: 'Clip', opset: 10, shape: [3, 4], attributes: { min: { f: 0.3 }, max: { f: 0.6 } } },
  { op: 'Clip', opset: 7, shape: [3, 4], attributes: { max: { f: 0.6 } } },
  {
    op: 'Pad',
    opset: 10,
    shape: [2, 3],
    attributes: { pads: [1, 0, 2, 1], value: { f: 2 } },
  },
  { op: 'Pad', opset: 7, shape: [3, 3], attributes: { mode: 'reflect', pads: [1, 0, 2, 1] } },
  { op: 'Dropout', opset: 11, shape: [2, 3], attributes: { ratio: { f: 0.4 } } },
  { op: 'Dropout', opset: 7, shape: [2, 3] },
  { op: 'Squeeze', opset: 12, shape: [2, 1, 3], attributes: { axes: [1] } },
  { op: 'Squeeze', opset: 11, shape: [2, 1, 3] },
  { op: 'Unsqueeze', opset: 12, shape: [2, 3], attributes: { axes: [0, 2] } },
  { op: 'ReduceSum', opset: 12, shape: [2, 3, 4], attributes: { axes: [1], keepdims: 0 } },
  { op: 'ReduceSum', opset: 11, shape: [2, 3] },
  ...reductions,
  { op: 'Split', opset: 12, shape: [2, 5], attributes: { axis: 1, split: [2, 3] }, outputs: 2 },
  { op: 'Split', opset: 12, shape: [4, 2], attributes: { axis: 0 }, outputs: 2 },
  { op: 'Split', opset: 17, shape: [4, 2], outputs: 2 },
  {
    op: 'Scatter',
    opset: 10,
    shape: [3, 4],
    attributes: { axis: 1 },
    more: [makeTensor('i', 'int64', [1, 2], [1, 3]), makeTensor('u', 'float32', [1, 2], [7, 8])],
  },
  ...['Softmax', 'LogSoftmax'].flatMap((op): Case[] => [
    { op, opset: 12, shape: [2, 3, 4], attributes: { axis: 1 } },
    { op, opset: 12, shape: [2, 3, 4], attributes: { axis: 2 } },
    { op, opset: 12, shape: [2, 3, 4], attributes: { axis: -1 } },
    { op, opset: 11, shape: [3, 4] },
    { op, opset: 7, shape: [2, 3, 4], attributes: { axis: 0 } },
  ]),
  {
    op: 'BatchNormalization',
    opset: 8,
    shape: [2, 2, 3],
    more: ['s', 'b', 'm', 'v'].map((name, i) => vector(name, [1 + i, 2 / (1 + i)])),
  },
  {
    op: 'RoiAlign',
    opset: 15,
    shape: [1, 1, 6, 6],
    attributes: { output_height: 2, output_width: 2, sampling_ratio: 2 },
    more: [
      makeTensor('roi', 'float32', [1, 4], [0, 0, 4, 5]),
      makeTensor('image', 'int64', [1], [0]),
    ],
  },
];

function modelOf({ op, opset, shape, attributes, more = [], outputs = 1 }: Case): Model {
  const output = Array.from({ length: outputs }, (_, i) => `y${i}`);
  const names = more.map(({ name = '' }) => name);
  return {
    irVersion: 4,
    opsetImport: [{ domain: '', version: opset }],
    graph: {
      name: 'of old',
      node: [makeNode(op, ['x', ...names], output, attributes)],
      initializer: [...more],
      input: [makeValueInfo('x', 'float32', shape)],
      output: output.map((name) => ({ name, type: { tensorType: { elemType: 1 } } })),
    },
  };
}

async function run(model: Model, shape: readonly number[]) {
  // The second output of TopK is of integers: types are the runtime's business.
  const { graph } = model;
  const output = graph!.output!.map(({ name }) => ({ name: name! }));
  const session = await ort.InferenceSession.create(
    encodeModel({ ...model, graph: { ...graph, output } }),
  );
  const size = shape.reduce((a, b) => a * b, 1);
  const values = noise(size, 3).map((v) => Math.abs(v));
  const results = await session.run({ x: new ort.Tensor('float32', values, shape) });
  await session.release();
  return Object.entries(results).map(([name, { dims, data }]) => [
    name,
    [...dims],
    Array.from(data as Float32Array, (v) => Number(v)),
  ]);
}

describe('an older operator set becomes 18, and gives the same', () => {
  test.each(cases)('$op of $opset $shape $attributes', async (one) => {
    const model = modelOf(one);
    const raised = upgrade(model, 'grad/');
    expect(raised.model.opsetImport).toEqual([{ domain: '', version: 18 }]);
    expect(await run(raised.model, one.shape)).toEqual(await run(model, one.shape));
  });

  test('every change is tried', () => {
    const tried = (version: number, name: string) =>
      cases.some(({ op, opset }) => op === name && opset < version);
    const left = changes.filter(([version, name]) => !tried(version, name));
    expect(left.map(([version, name]) => `${name} of ${version}`)).toEqual([]);
  });
});
