import { decodeSafetensors, encodeSafetensors } from '@schedule-free-adan/core/checkpoints';
import * as native from 'onnxruntime-node';
import * as web from 'onnxruntime-web';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { consecutive } from '../../../examples/digits/src/batches.js';
import { readDigits } from '../../../examples/digits/src/data.js';
import { onnxPage } from '../conformance/page.mjs';
import {
  batchOf,
  normalizedModel,
  runDropout,
  runNormalized,
} from '../conformance/training-form.mjs';
import { makeTrainable, meanSquaredError, softmaxCrossEntropy } from '../src/autodiff/index.js';
import { OrtTrainer } from '../src/index.js';
import { decodeModel, type Model, makeTensor, makeValueInfo } from '../src/model/index.js';
import { appendOptimizer } from '../src/step-graph-entry.js';
import { noise } from './support.js';

web.env.wasm.numThreads = 1;

/** Rows · w, the mean of each column, and its variance as that of a population. */
function statistics(x: ArrayLike<number>, w: readonly number[]) {
  const n = x.length / 4;
  const columns = [0, 1, 2].map((c) =>
    Array.from({ length: n }, (_, i) =>
      [0, 1, 2, 3].reduce((sum, k) => sum + x[4 * i + k]! * w[3 * k + c]!, 0),
    ),
  );
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const means = columns.map(mean);
  const variances = columns.map((column, c) => mean(column.map((v) => (v - means[c]!) ** 2)));
  return { columns, means, variances };
}
const expectNear = (found: readonly number[], wanted: readonly number[]) => {
  expect(found).toHaveLength(wanted.length);
  wanted.forEach((v, i) => {
    expect(Math.abs(found[i]! - v)).toBeLessThan(2e-5 * Math.max(1, Math.abs(v)));
  });
};

/** y = ((x · w − mean) / √(variance + ε) · scale + bias) · v */
function evaluated(
  x: ArrayLike<number>,
  p: Readonly<Record<string, readonly number[]>>,
  carried: Readonly<Record<string, readonly number[]>>,
) {
  const { columns } = statistics(x, p.w!);
  const hat = columns.map((column, c) => {
    const root = Math.sqrt(carried['bn.running_var']![c]! + 0.001);
    return column.map(
      (a) =>
        ((a - carried['bn.running_mean']![c]!) / root) * p['bn.weight']![c]! + p['bn.bias']![c]!,
    );
  });
  return hat[0]!.flatMap((_, i) =>
    [0, 1].map((k) => hat.reduce((sum, column, c) => sum + column[i]! * p.v![2 * c + k]!, 0)),
  );
}

/** Of the Dropout number `node` of a model. */
function seedOf(seed: number, node: number): number {
  let h = Math.imul(seed, 0x9e3779b1) + node + 1;
  for (let i = 0; i < 2; i++) h = Math.imul(h ^ (h >>> 16), 0xc2b2ae3d);
  return (h ^ (h >>> 16)) | 0;
}

/** What is kept, as the graph has it, in JavaScript's integers. `step`: of all that ran before. */
function keeps(seed: number, step: number, ratio: number, shape: readonly number[]): boolean[] {
  const hash = (x: number) => {
    const middle = (Math.trunc(Math.imul(x, x) / 65536) + x) | 0;
    return Math.imul(middle, middle);
  };
  const strides = [0x9e3779b1, 0x85ebca77, 0xc2b2ae3d];
  const start = hash((Math.imul(step, 0x2545f491) + seed) | 0);
  const size = shape.reduce((a, b) => a * b, 1);
  return Array.from({ length: size }, (_, index) => {
    let rest = index;
    let place = start;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      place = (place + Math.imul(strides[axis]!, (rest % shape[axis]!) + 1)) | 0;
      rest = Math.floor(rest / shape[axis]!);
    }
    return hash(place) >= (ratio - 0.5) * 2 ** 32;
  });
}

let page: Awaited<ReturnType<typeof onnxPage>>;
beforeAll(async () => {
  page = await onnxPage({
    entry: new URL('../conformance/training-form-page.mjs', import.meta.url),
  });
}, 60_000);
afterAll(() => page?.browser.close());

type Runs = { normalized: typeof runNormalized; dropout: typeof runDropout };
const onWebgpu: Runs = {
  normalized: (_, form) => page.page.evaluate(`runNormalized('${form}')`),
  dropout: (_, form) => page.page.evaluate(`runDropout('${form}')`),
};
const here: Runs = { normalized: runNormalized, dropout: runDropout };

describe.each<[string, typeof web | typeof native, string, Runs]>([
  ['wasm', web, 'hybrid', here],
  ['wasm', web, 'graph', here],
  ['node', native, 'hybrid', here],
  ['node', native, 'graph', here],
  ['webgpu', web, 'hybrid', onWebgpu],
  ['webgpu', web, 'graph', onWebgpu],
])('on %s', (_, ort, form, runs) => {
  test(`running statistics are carried on: ${form}`, async () => {
    const found = await runs.normalized(ort, form);
    const carried: Record<string, number[]> = {
      'bn.running_mean': [0.25, 0.25, 0.25],
      'bn.running_var': [2, 2, 2],
    };
    // The third batch holds NaN, and is as if it had not been.
    const batches = [[batchOf(0)], [batchOf(1), batchOf(2, 9)], [], [batchOf(3)]];
    batches.forEach((list, t) => {
      for (const { x } of list) {
        const { means, variances } = statistics(x, found.points[t]!.w!);
        const renew = (name: string, now: readonly number[]) => {
          carried[name] = carried[name]!.map((old, c) => 0.8 * old + (1 - 0.8) * now[c]!);
        };
        renew('bn.running_mean', means);
        renew('bn.running_var', variances);
      }
      expect(Object.keys(found.after[t]!)).toEqual(Object.keys(carried));
      for (const [name, values] of Object.entries(carried)) {
        expectNear(found.after[t]![name]!, values);
      }
    });
    expect(found.skippedSteps).toBe(1);
    expect(found.same, 'a run resumed from a checkpoint goes on to the bit').toBe(true);

    const { x } = batchOf(4);
    expectNear(found.evaluated, evaluated(x, found.x, carried));
    expectNear(found.exported, found.evaluated);
    const at = [batchOf(5), batchOf(6, 9)].map((batch) => statistics(batch.x, found.x.w!));
    const both = (key: 'means' | 'variances') =>
      at[0]![key].map((v, c) => (v + at[1]![key][c]!) / 2);
    expect(found.count).toBe(2);
    expectNear(found.recalibrated['bn.running_mean']!, both('means'));
    expectNear(found.recalibrated['bn.running_var']!, both('variances'));
    expectNear(found.again, evaluated(x, found.x, found.recalibrated));
  });

  test(`Dropout drops the same for the same seed, and other things in each run: ${form}`, async () => {
    const { steps, evaluated: undropped } = await runs.dropout(ort, form);
    // The second step has run two batches.
    [0, 2, 3, 3].forEach((step, i) => {
      const wanted = keeps(seedOf(7, 0), step, 0.25, [3, 2, 40]).map((kept) =>
        kept ? Math.fround(1 / 0.75) : 0,
      );
      expect(steps[i], `step ${i}`).toEqual(wanted);
    });
    expect(undropped).toEqual(new Array(240).fill(1));
  });
});

test('a hash keeps what it should, one place as the other', () => {
  const [ratio, rows, columns, steps] = [0.3, 64, 128, 40];
  const size = rows * columns;
  const each = new Float64Array(size);
  let [all, pairs, later] = [0, 0, 0];
  let before: boolean[] | undefined;
  for (let step = 0; step < steps; step++) {
    const kept = keeps(12345, step, ratio, [rows, columns]);
    kept.forEach((one, i) => {
      const off = Number(one) - (1 - ratio);
      each[i]! += off;
      all += off;
      pairs += off * (Number(kept[(i + 1) % size]) - (1 - ratio));
      later += off * (Number(before?.[i] ?? 1 - ratio) - (1 - ratio));
    });
    before = kept;
  }
  const variance = ratio * (1 - ratio);
  // In standard deviations of independent numbers.
  expect(Math.abs(all) / Math.sqrt(size * steps * variance)).toBeLessThan(3);
  expect(Math.abs(pairs) / Math.sqrt(size * steps * variance ** 2)).toBeLessThan(3);
  expect(Math.abs(later) / Math.sqrt(size * steps * variance ** 2)).toBeLessThan(3);
  const spread = each.reduce((sum, v) => sum + v * v, 0) / (size * steps * variance);
  expect(spread).toBeGreaterThan(0.95);
  expect(spread).toBeLessThan(1.05);
});

/** 28 × 28 digits, two convolutions with BatchNormalization and Dropout in inference form. */
function smallCnn(): Model {
  const conv = (x: string, k: number) => [
    {
      opType: 'Conv',
      input: [x, `w${k}`],
      output: [`conv${k}`],
      attribute: [
        { name: 'kernel_shape', ints: [3, 3], type: 7 },
        { name: 'strides', ints: [2, 2], type: 7 },
        { name: 'pads', ints: [1, 1, 1, 1], type: 7 },
      ],
    },
    {
      opType: 'BatchNormalization',
      name: `/normalize${k}`,
      input: [`conv${k}`, ...['scale', 'bias', 'mean', 'var'].map((name) => `bn${k}.${name}`)],
      output: [`normal${k}`],
    },
    { opType: 'Relu', input: [`normal${k}`], output: [`relu${k}`] },
  ];
  const channels = (k: number, c: number) =>
    Object.entries({ scale: 1, bias: 0, mean: 0, var: 1 }).map(([name, value]) =>
      makeTensor(`bn${k}.${name}`, 'float32', [c], new Array(c).fill(value)),
    );
  const weight = (name: string, shape: number[]) =>
    makeTensor(
      name,
      'float32',
      shape,
      noise(
        shape.reduce((a, b) => a * b),
        name.length,
      ),
    );
  return {
    irVersion: 8,
    opsetImport: [{ domain: '', version: 13 }],
    graph: {
      name: 'small cnn',
      node: [
        { opType: 'Reshape', input: ['images', 'square'], output: ['x'] },
        ...conv('x', 1),
        ...conv('relu1', 2),
        { opType: 'Flatten', input: ['relu2'], output: ['flat'] },
        { opType: 'Dropout', name: '/drop', input: ['flat', 'ratio'], output: ['dropped'] },
        { opType: 'Gemm', input: ['dropped', 'w3', 'b3'], output: ['logits'] },
      ],
      initializer: [
        makeTensor('square', 'int64', [4], [-1, 1, 28, 28]),
        makeTensor('ratio', 'float32', [], [0.1]),
        weight('w1', [6, 1, 3, 3]),
        ...channels(1, 6),
        weight('w2', [12, 6, 3, 3]),
        ...channels(2, 12),
        weight('w3', [588, 10]),
        makeTensor('b3', 'float32', [10], new Array(10).fill(0)),
      ],
      input: [makeValueInfo('images', 'float32', ['n', 784])],
      output: [makeValueInfo('logits', 'float32', ['n', 10])],
    },
  };
}

test('a CNN in inference form is trained in training form, and evaluates well', async () => {
  const ort = native;
  const trainable = await makeTrainable(smallCnn(), {
    ort,
    loss: softmaxCrossEntropy(),
    trainingForm: [/normalize/, '/drop'],
    initialize: 1,
  });
  const trainer = await OrtTrainer.create({ ort, ...trainable, learningRate: 0.02 });
  const digits = readDigits('train', 2000);
  const feeds = (t: number, n: number) => {
    const { size, pixels, labels } = consecutive(digits, t * n, n);
    return {
      images: new ort.Tensor('float32', pixels, [size, 784]),
      labels: new ort.Tensor('int32', labels, [size]),
    };
  };
  for (let t = 0; t < 90; t++) await trainer.step(feeds(t % 24, 64));
  const right = async () => {
    const { images, labels } = feeds(3, 464);
    const { logits } = await trainer.evaluate({ images });
    const values = logits!.data as Float32Array;
    return Array.from(labels.data as Int32Array).filter((label, i) => {
      const row = values.subarray(10 * i, 10 * i + 10);
      return row.indexOf(Math.max(...row)) === label;
    }).length;
  };
  const before = await right();
  await trainer.recalibrate([feeds(0, 256), feeds(1, 256)]);
  const after = await right();
  expect(before / 464).toBeGreaterThan(0.85);
  expect(after / 464).toBeGreaterThan(0.85);
  const { node, initializer } = decodeModel(await trainer.exportModel()).graph!;
  expect(node!.map(({ opType }) => opType)).toEqual(
    trainable.forward.graph!.node!.map(({ opType }) => opType),
  );
  expect(initializer!.map(({ name }) => name)).toEqual(
    smallCnn().graph!.initializer!.map(({ name }) => name),
  );
  await trainer.dispose();
});

test('a checkpoint of a backend without statistics leaves them, and theirs passes by it', async () => {
  const options = { ort: native, loss: meanSquaredError() };
  const create = async (trainingForm = {}) => {
    const model = normalizedModel();
    model.graph!.node![1]!.attribute!.shift();
    model.graph!.node![1]!.output!.splice(1);
    const trainable = await makeTrainable(model, { ...options, ...trainingForm });
    return OrtTrainer.create({ ort: native, ...trainable });
  };
  const [plain, carrying] = [await create(), await create({ trainingForm: 'bn' })];
  const { x, target } = batchOf(0);
  await carrying.step({
    x: new native.Tensor('float32', x, [6, 4]),
    target: new native.Tensor('float32', target, [6, 2]),
  });
  const mine = await carrying.exportModel();
  await plain.load(await carrying.save());
  expect(await plain.evalParameters()).toEqual(await carrying.evalParameters());
  await carrying.load(await plain.save());
  expect(await carrying.exportModel()).toEqual(mine);
  const { metadata, tensors } = decodeSafetensors(await carrying.save());
  const { checksum: _, ...rest } = metadata;
  const name = 'bn.running_var';
  const wrong = new Map([
    ...tensors,
    [`${name}.carried`, { shape: [1], data: new Float32Array(1) }],
  ]);
  await expect(
    carrying.load(encodeSafetensors({ metadata: rest, tensors: wrong })),
  ).rejects.toMatchObject({ code: 'wrong-shape', subject: name });
  expect(await carrying.exportModel()).toEqual(mine);
  expect(await plain.recalibrate([])).toBe(0);
  await plain.dispose();
  await carrying.dispose();
});

test.each([
  ['skip', true],
  ['throw', false],
] as const)(
  'a step with bad gradients and good statistics, under %s',
  async (nonFinite, renewed) => {
    const options = { ort: native, loss: meanSquaredError() };
    const trainable = await makeTrainable(normalizedModel(), options);
    const trainer = await OrtTrainer.create({ ort: native, ...trainable, nonFinite });
    const before = await trainer.exportModel();
    const { x, target } = batchOf(0);
    target[3] = Number.POSITIVE_INFINITY;
    const step = trainer.step({
      x: new native.Tensor('float32', x, [6, 4]),
      target: new native.Tensor('float32', target, [6, 2]),
    });
    if (renewed) await step;
    else await expect(step).rejects.toMatchObject({ code: 'non-finite-gradient' });
    expect(Buffer.compare(await trainer.exportModel(), before) !== 0).toBe(renewed);
    await trainer.dispose();
  },
);

test('what carries what is in the metadata of a training step', async () => {
  const trainable = await makeTrainable(normalizedModel(), {
    ort: native,
    loss: meanSquaredError(),
  });
  const { loss, gradients, carried, averaged } = trainable;
  expect(carried).toEqual({ 'bn.running_mean': 'mean now', 'bn.running_var': 'variance now' });
  const step = appendOptimizer(trainable.model, { loss, gradients, carried, averaged });
  const { value } = step.model.metadataProps!.find(({ key }) => key!.endsWith('.carried'))!;
  const { input, output, places } = JSON.parse(value!);
  expect(places.map(({ start }: { start: number }) => start)).toEqual([0, 3]);
  expect(step.model.graph!.input!.map(({ name }) => name)).toContain(input);
  expect(step.model.graph!.output!.map(({ name }) => name)).toContain(output);
});

test('nodes of an old operator set in training form keep it', async () => {
  const model = normalizedModel();
  model.opsetImport = [{ domain: '', version: 9 }];
  const [, node] = model.graph!.node!;
  node!.attribute!.shift();
  node!.output!.push('saved mean', 'saved variance');
  const made = await makeTrainable(model, { ort: native, loss: meanSquaredError() });
  expect(Object.keys(made.carried)).toEqual(['bn.running_mean', 'bn.running_var']);
  expect(Object.keys(made.gradients).sort()).toEqual(['bn.bias', 'bn.weight', 'v', 'w']);
});

test('a choice that meets nothing is refused', async () => {
  const options = { ort: native, loss: meanSquaredError(), trainingForm: 'bn2' };
  await expect(makeTrainable(normalizedModel(), options)).rejects.toMatchObject({
    code: 'invalid-option',
    value: 'bn2',
  });
});

test.each<[Record<string, string>, string, RegExp]>([
  [
    { mean: 'mean now' },
    'unknown-value',
    /'mean' is no initializer; those are .*'bn.running_mean'/,
  ],
  [{ 'bn.running_mean': 'm' }, 'unknown-value', /'m' is no node's output/],
  [{ w: 'a' }, 'invalid-option', /'w' is a parameter/],
])('what can not be carried is refused: %o', async (carried, code, message) => {
  const trainable = await makeTrainable(normalizedModel(), {
    ort: native,
    loss: meanSquaredError(),
  });
  const error = await OrtTrainer.create({ ort: native, ...trainable, carried }).catch((e) => e);
  expect(error).toMatchObject({ code });
  expect(error.message).toMatch(message);
});
