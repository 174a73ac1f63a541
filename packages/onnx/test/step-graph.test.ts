import { scheduleFreeAdan } from '@schedule-free-adan/core';
import { HostBackend } from '@schedule-free-adan/core/host';
import * as ort from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import { OrtTrainer } from '../src/index.js';
import { encodeModel, type Model, makeTensor } from '../src/model/index.js';
import { scalarNames } from '../src/standalone.js';
import { appendOptimizer, buildStepGraph } from '../src/step-graph-entry.js';
import { digitsModel, gradients, noise } from './support.js';

test('a step graph says what it is, and uses standard operators only', () => {
  const parameters = Array.from({ length: 30 }, (_, k) => ({ name: `p${k}`, shape: [k + 1] }));
  const { model } = buildStepGraph(parameters, { maxGradNorm: 1, weightDecay: 0.1 });
  const metadata = new Map(model.metadataProps!.map(({ key, value }) => [key, value]));
  expect(metadata.get('schedule-free-adan.format')).toBe('step/1');
  expect(JSON.parse(metadata.get('schedule-free-adan.names')!)).toHaveLength(30);
  expect(new Set(model.graph!.node!.map(({ domain = '' }) => domain))).toEqual(new Set(['']));
  // One reshape for each parameter, and the rule only once.
  expect(model.graph!.node!.length).toBeLessThan(30 + 120);
});

test.each([
  {},
  { warmupSteps: 5, r: 1, weightLrPower: 1, maxGradNorm: 0.5, weightDecay: 0.1 },
  { scheduleFree: false, learningRate: 0.02, warmupSteps: 3 },
])('a step graph counts by itself as the core does: %j', async (options) => {
  const { model, layout } = buildStepGraph([{ name: 'w', shape: [4] }], options);
  const session = await ort.InferenceSession.create(encodeModel(model));
  const backend = new HostBackend();
  const start = Float32Array.of(1, -2, 3, 0.5);
  const optimizer = scheduleFreeAdan(backend, { w: backend.upload(start, [4]) }, options);
  const { learningRate } = optimizer.groups[0]!;
  const zeros = { float32: Float32Array, float64: Float64Array };
  let state = layout.state.map(({ key, type, shape }) => {
    const values = new zeros[type](shape.reduce((a, b) => a * b, 1));
    if (key === 'parameter' || key === 'z') values.set(start);
    if (key === 'scalars') values[scalarNames.indexOf('learningRate')] = learningRate;
    return new ort.Tensor(type as 'float32', values as Float32Array, shape);
  });
  for (let t = 0; t < 20; t++) {
    const gradient = noise(4, t);
    const feeds = Object.fromEntries(layout.state.map(({ input }, i) => [input, state[i]!]));
    const results = await session.run({ ...feeds, w: new ort.Tensor('float32', gradient, [4]) });
    state = layout.state.map(({ output }) => results[output]! as (typeof state)[number]);
    optimizer.step({ w: backend.upload(gradient, [4]) });
  }
  const after = (key: string) =>
    state[layout.state.findIndex((tensor) => tensor.key === key)]!.data;
  const { scalars } = optimizer.groups[0]!;
  const wanted = scalarNames.map((name) => ({ ...scalars, learningRate })[name]);
  wanted.forEach((value, i) => {
    expect(after('scalars')[i]).toBeCloseTo(value, 12);
  });
  optimizer.parameter('w').data.forEach((value, i) => {
    expect(after('parameter')[i]).toBeCloseTo(value, 5);
  });
  await session.release();
});

describe('a model that does not fit is refused by name', () => {
  const change = (edit: (model: Model) => void): Model => {
    const model = digitsModel();
    edit(model);
    return model;
  };
  const cases: [string, () => Model, object, string, RegExp][] = [
    ['no loss', digitsModel, { loss: 'cost' }, 'unknown-value', /'cost' is no value .*'loss'/],
    [
      'a loss of many numbers',
      digitsModel,
      { loss: 'logits' },
      'wrong-shape',
      /'logits' has shape \[64,10\]/,
    ],
    [
      'no parameter',
      digitsModel,
      { gradients: { w9: 'd w1' } },
      'unknown-value',
      /'w9' is no initializer/,
    ],
    ['no gradient', digitsModel, { gradients: { w1: 'd w9' } }, 'unknown-value', /'d w9' of 'w1'/],
    [
      'a gradient of another shape',
      digitsModel,
      { gradients: { w1: 'd w2' } },
      'wrong-shape',
      /'d w2' of 'w1' has shape \[64,10\], not \[784,64\]/,
    ],
    [
      'integers as parameters',
      () => change((m) => m.graph!.initializer!.push(makeTensor('k', 'int64', [1], [1]))),
      { gradients: { k: 'd b1' } },
      'wrong-dtype',
      /'k' holds int64/,
    ],
    [
      'an old operator set',
      () => change((m) => (m.opsetImport = [{ version: 9 }])),
      {},
      'unsupported-model',
      /operator set 9; convert it to 13/,
    ],
    [
      'a taken prefix',
      () => change((m) => (m.graph!.node![0]!.output = ['adan/a'])),
      {},
      'invalid-option',
      /'adan\/a' already; give another prefix/,
    ],
  ];
  test.each(cases)('%s', (_, model, options, code, message) => {
    const run = () => appendOptimizer(model(), { loss: 'loss', gradients, ...options });
    expect(run).toThrow(message);
    expect(run).toThrow(expect.objectContaining({ code }));
  });
});

test('feeds that do not fit are refused, and change nothing', async () => {
  const trainer = await OrtTrainer.create({ ort, model: digitsModel(), loss: 'loss', gradients });
  const before = await trainer.save();
  const images = new ort.Tensor('float32', new Float32Array(64 * 784), [64, 784]);
  const labels = new ort.Tensor('float32', new Float32Array(640), [64, 10]);
  await expect(trainer.step({ images })).rejects.toMatchObject({
    code: 'missing-feed',
    subject: 'labels',
  });
  await expect(trainer.step({ images, labels, more: labels })).rejects.toMatchObject({
    code: 'unknown-feed',
  });
  await expect(trainer.step({ images: labels, labels })).rejects.toMatchObject({
    code: 'wrong-shape',
  });
  await expect(trainer.step({ images, labels }, { frozen: ['q'] })).rejects.toMatchObject({
    code: 'unknown-parameter',
  });
  expect(await trainer.save()).toEqual(before);
  await trainer.dispose();
});
