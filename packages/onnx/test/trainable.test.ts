import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import * as native from 'onnxruntime-node';
import * as web from 'onnxruntime-web';
import { describe, expect, test } from 'vitest';
import { readDigits } from '../../../examples/digits/src/data.js';
import {
  binaryCrossEntropy,
  makeTrainable,
  meanSquaredError,
  rules,
  softmaxCrossEntropy,
} from '../src/autodiff/index.js';
import { OrtTrainer } from '../src/index.js';
import {
  decodeModel,
  type Model,
  makeNode,
  makeTensor,
  makeValueInfo,
} from '../src/model/index.js';
import type { OrtModule } from '../src/runtime.js';
import { initialWeights } from './support.js';

web.env.wasm.numThreads = 1;
const runtimes: [string, OrtModule][] = [
  ['wasm', web],
  ['node', native],
];

/** 784-64-10 without anything for training; any batch. */
function forwardModel(opset = 13, middle = 'Relu'): Model {
  const node = (opType: string, input: string[], output: string) =>
    makeNode(opType, input, [output], {}, { name: `the ${opType} of ${output}` });
  return {
    irVersion: 8,
    opsetImport: [{ domain: '', version: opset }],
    graph: {
      name: 'digits',
      node: [
        node('MatMul', ['images', 'w1'], 'a'),
        node('Add', ['a', 'b1'], 'pre'),
        node(middle, ['pre'], 'h'),
        node('MatMul', ['h', 'w2'], 'c'),
        node('Add', ['c', 'b2'], 'logits'),
      ],
      initializer: Object.entries(initialWeights()).map(([name, { shape, values }]) =>
        makeTensor(name, 'float32', shape, values),
      ),
      input: [makeValueInfo('images', 'float32', ['n', 784])],
      output: [makeValueInfo('logits', 'float32', ['n', 10])],
    },
  };
}

/** The gradients' batch as the hand-written model of digits.test.ts takes it. */
function batch(ort: OrtModule, from: number, size: number) {
  const { images, labels } = readDigits('train', from + size);
  const pixels = Float32Array.from(images.subarray(from * 784), (byte) => byte / 255);
  return {
    images: new ort.Tensor('float32', pixels, [size, 784]),
    labels: new ort.Tensor('int32', Int32Array.from(labels.subarray(from)), [size]),
  };
}

describe.each(runtimes)('on %s', (_, ort) => {
  test('a forward model learns digits, in batches of any size, and is exported as it came', async () => {
    const trainable = await makeTrainable(forwardModel(), { ort, loss: softmaxCrossEntropy() });
    expect(Object.keys(trainable.gradients).sort()).toEqual(['b1', 'b2', 'w1', 'w2']);
    const trainer = await OrtTrainer.create({ ort, ...trainable, learningRate: 0.02 });
    const losses: number[] = [];
    for (let t = 0; t < 40; t++) {
      losses.push((await trainer.step(batch(ort, 64 * t, t % 2 ? 64 : 50))).loss);
    }
    expect(losses[0]).toBeGreaterThan(2);
    expect(losses.at(-1)).toBeLessThan(0.8);
    const { images } = batch(ort, 0, 7);
    const evaluated = await trainer.evaluate({ images });
    const session = await native.InferenceSession.create(await trainer.exportModel());
    const plain = await session.run({ images: batch(native, 0, 7).images });
    const [actual, wanted] = [plain.logits!.data, evaluated.logits!.data] as Float32Array[];
    wanted!.forEach((v, i) => {
      expect(actual![i]).toBeCloseTo(v, 4);
    });
    await trainer.dispose();
  });

  test.each([
    ['squares', meanSquaredError()],
    ['binary, of logits', binaryCrossEntropy()],
    ['binary, of probabilities', binaryCrossEntropy({ logits: false })],
  ])('the loss goes down: %s', async (name, loss) => {
    const model = forwardModel();
    if (name === 'binary, of probabilities') {
      model.graph!.node!.push(makeNode('Sigmoid', ['logits'], ['p']));
      model.graph!.output = [makeValueInfo('p', 'float32', ['n', 10])];
    }
    const trainer = await OrtTrainer.create({
      ort,
      ...(await makeTrainable(model, { ort, loss, initialize: 1 })),
      learningRate: 0.02,
    });
    const { images } = batch(ort, 0, 32);
    const target = new ort.Tensor('float32', new Float32Array(320).fill(0.5), [32, 10]);
    const losses: number[] = [];
    for (let t = 0; t < 20; t++) losses.push((await trainer.step({ images, target })).loss);
    expect(losses.at(-1)).toBeLessThan(losses[0]!);
    await trainer.dispose();
  });
});

test.each(runtimes)('statistics of a batch normalize it in training, on %s', async (_, ort) => {
  const model = forwardModel(14);
  const { graph } = model;
  const add = graph!.node!.findIndex(({ output }) => output![0] === 'pre');
  graph!.node!.splice(
    add + 1,
    0,
    makeNode(
      'BatchNormalization',
      ['pre', 'scale', 'shift', 'mean', 'variance'],
      ['normal', 'mean now', 'variance now'],
      { training_mode: 1 },
    ),
  );
  graph!.node![add + 2]!.input = ['normal'];
  const channels = (name: string, value: number) =>
    makeTensor(name, 'float32', [64], new Float32Array(64).fill(value));
  graph!.initializer!.push(channels('scale', 1), channels('shift', 0));
  graph!.initializer!.push(channels('mean', 0), channels('variance', 1));
  graph!.output!.push(makeValueInfo('mean now', 'float32', [64]));
  const trainable = await makeTrainable(model, {
    ort,
    loss: softmaxCrossEntropy({ output: 'logits' }),
    initialize: 3,
  });
  expect(Object.keys(trainable.gradients).sort()).toEqual(
    ['b1', 'b2', 'scale', 'shift', 'w1', 'w2'].sort(),
  );
  const trainer = await OrtTrainer.create({ ort, ...trainable, learningRate: 0.02 });
  expect((await trainer.evalParameters()).scale).toEqual(new Float32Array(64).fill(1));
  const { images, labels } = batch(ort, 0, 64);
  const { w1 } = await trainer.trainParameters();
  const { outputs } = await trainer.step({ images, labels });
  const pixels = images.data as Float32Array;
  let sum = 0;
  for (let i = 0; i < pixels.length; i++) sum += pixels[i]! * w1![(i % 784) * 64 + 5]!;
  const found = (outputs['mean now']!.data as Float32Array)[5]!;
  expect(found).toBeCloseTo((0.1 * sum) / 64, 4);
  let last = 0;
  for (let t = 1; t < 25; t++) last = (await trainer.step(batch(ort, 64 * t, 64))).loss;
  expect(last).toBeLessThan(1.2);
  await trainer.dispose();
});

test('frozen parts cost no gradient', async () => {
  const count = async (trainable?: RegExp) => {
    const made = await makeTrainable(forwardModel(), {
      ort: native,
      loss: softmaxCrossEntropy(),
      ...(trainable && { trainable }),
    });
    return [made.model.graph!.node!.length, Object.keys(made.gradients)] as const;
  };
  const [all] = await count();
  const [some, names] = await count(/2$/);
  expect(names).toEqual(['w2', 'b2']);
  expect(some).toBeLessThan(all - 4);
});

test('the same seed initializes the same', async () => {
  const weights = async (initialize: number) => {
    const { model } = await makeTrainable(forwardModel(), {
      ort: native,
      loss: softmaxCrossEntropy(),
      initialize,
    });
    return model.graph!.initializer!.find(({ name }) => name === 'w1')!.rawData;
  };
  expect(await weights(1)).toEqual(await weights(1));
  expect(await weights(1)).not.toEqual(await weights(2));
});

describe('what can not be trained is refused before anything runs', () => {
  /** Nothing runs on this. */
  const ort = {} as OrtModule;
  const refuse = (model: Model | Uint8Array, more: object = {}) =>
    makeTrainable(model, { ort, loss: softmaxCrossEntropy({ output: 'logits' }), ...more });

  test('an operator without a rule, unless there comes one', async () => {
    const model = forwardModel(13, 'Softsign');
    const error = await refuse(model).catch((e) => e);
    expect(error).toMatchObject({ code: 'unsupported-operator', value: 'Softsign' });
    expect(error.message).toMatch(/node 'the Softsign of h' \(Softsign\) of operator set 18/);
    expect(error.message).toMatch(/Choose `trainable` parameters behind it, or give a rule/);
    const options = { ort: native, loss: softmaxCrossEntropy() };
    const own = { Softsign: rules.Tanh! };
    expect(
      Object.keys((await makeTrainable(model, { ...options, rules: own })).gradients),
    ).toHaveLength(4);
    const head = await makeTrainable(model, { ...options, trainable: ['w2', 'b2'] });
    expect(Object.keys(head.gradients)).toEqual(['w2', 'b2']);
  });

  test('a way through another float type', async () => {
    const model = forwardModel(13, 'Cast');
    const { node } = model.graph!;
    node!.splice(
      2,
      1,
      makeNode('Cast', ['pre'], ['wide'], { to: 11 }, { name: 'widen' }),
      makeNode('Cast', ['wide'], ['h'], { to: 1 }),
    );
    await expect(
      makeTrainable(model, { ort: native, loss: softmaxCrossEntropy() }),
    ).rejects.toThrow(/node 'widen' \(Cast\) can't be made: 'wide' is float64, not float32/);
  });

  test.each([
    ['Slice', ['pre', 'zero', 'end', 'axes']],
    ['Pad', ['pre', 'zeros', '', 'axes']],
  ])('%s along axes that a run decides', async (op, input) => {
    const model = forwardModel(18);
    const graph = model.graph!;
    graph.node![2] = makeNode(op, input, ['h'], {}, { name: 'middle' });
    graph.initializer!.push(
      makeTensor('zero', 'int64', [1], [0]),
      makeTensor('zeros', 'int64', [2], [0, 0]),
      makeTensor('end', 'int64', [1], [64]),
    );
    graph.input!.push(makeValueInfo('axes', 'int64', [1]));
    await expect(
      makeTrainable(model, { ort: native, loss: softmaxCrossEntropy() }),
    ).rejects.toThrow(`node 'middle' (${op}) can't be made: 'axes' is not constant. Fix extents`);
  });

  test('a voice detector with If and LSTM', async () => {
    const entry = createRequire(import.meta.url).resolve('@ricky0123/vad-web');
    const bytes = readFileSync(join(dirname(entry), 'silero_vad_v5.onnx'));
    const output = decodeModel(bytes).graph!.output![0]!.name!;
    await expect(refuse(bytes, { loss: meanSquaredError({ output }) })).rejects.toMatchObject({
      code: 'unsupported-operator',
    });
  });

  test.each<[string, object, RegExp]>([
    [
      'an unknown output',
      { loss: softmaxCrossEntropy({ output: 'q' }) },
      /'q' is no value .*'logits'/,
    ],
    ['an unknown parameter', { trainable: 'w9' }, /'w9' is no initializer .*'w1'/],
    [
      'an unknown extent',
      { dimensions: { height: 3 } },
      /'dimensions' is height; it is no extent of an input/,
    ],
    ['an unknown option', { losses: [] }, /'losses' is .*; makeTrainable has no such option/],
    ['no runtime', { ort: undefined }, /'ort' is undefined; give the runtime/],
    [
      'a loss that is not made',
      { loss: meanSquaredError },
      /'loss' is .*; give meanSquaredError\(\)/,
    ],
  ])('%s', async (_, options, message) => {
    await expect(refuse(forwardModel(), options)).rejects.toThrow(message);
  });

  test('a path in place of a model', async () => {
    await expect(refuse('digits.onnx' as unknown as Model)).rejects.toThrow(
      /The model is digits\.onnx; give the bytes/,
    );
  });

  test('an operator set of old', async () => {
    await expect(refuse(forwardModel(6))).rejects.toThrow(/operator set 6; convert it to 7/);
  });
});
