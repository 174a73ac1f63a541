import { decodeCheckpoint } from '@schedule-free-adan/core/checkpoints';
import { scheduleFreeAdan } from '@schedule-free-adan/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-core/dist/register_all_gradients.js';
import '@tensorflow/tfjs-backend-cpu';
import * as native from 'onnxruntime-node';
import * as web from 'onnxruntime-web';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readDigits } from '../../../examples/digits/src/data.js';
import { onnxPage } from '../conformance/page.mjs';
import { wrongSizes } from '../conformance/targets.mjs';
import { OrtTrainer, type OrtTrainerOptions } from '../src/index.js';
import { decodeModel, encodeModel } from '../src/model/index.js';
import type { OrtModule } from '../src/runtime.js';
import { batchSize, digitsModel, gradients, initialWeights } from './support.js';

const STEPS = 40;
const options = { learningRate: 0.02, weightDecay: 0.1, warmupSteps: 10, maxGradNorm: 1 };

/** The batches of training: images in [0, 1], labels one-hot. */
const batches = (() => {
  const { images, labels } = readDigits('train', STEPS * batchSize);
  return Array.from({ length: STEPS }, (_, t) => {
    const pixels = Float32Array.from(
      images.subarray(t * batchSize * 784, (t + 1) * batchSize * 784),
      (byte) => byte / 255,
    );
    const hot = new Float32Array(batchSize * 10);
    for (let i = 0; i < batchSize; i++) hot[10 * i + labels[t * batchSize + i]!] = 1;
    return { images: pixels, labels: hot };
  });
})();

const feedsFor = (ort: OrtModule, { images, labels }: (typeof batches)[number]) => ({
  images: new ort.Tensor('float32', images, [batchSize, 784]),
  labels: new ort.Tensor('float32', labels, [batchSize, 10]),
});

/** Losses of the tfjs adapter on the same network, weights and batches. */
function tfjsLosses(): number[] {
  const names = Object.entries(initialWeights());
  const variables = Object.fromEntries(
    names.map(([name, { shape, values }]) => [
      name,
      tf.variable(tf.tensor(values, shape), true, name),
    ]),
  );
  const optimizer = scheduleFreeAdan(options);
  return batches.map(({ images, labels }) =>
    tf.tidy(() => {
      const x = tf.tensor(images, [batchSize, 784]);
      const y = tf.tensor(labels, [batchSize, 10]);
      const loss = optimizer.minimize(() => {
        const { w1, b1, w2, b2 } = variables;
        const h = tf.relu(tf.add(tf.matMul(x as tf.Tensor2D, w1 as tf.Tensor2D), b1!));
        const logits = tf.add(tf.matMul(h as tf.Tensor2D, w2 as tf.Tensor2D), b2!);
        return tf.neg(tf.mean(tf.sum(tf.mul(tf.logSoftmax(logits), y), 1))) as tf.Scalar;
      }, true);
      return loss!.dataSync()[0]!;
    }),
  );
}

function near(actual: ArrayLike<number>, wanted: ArrayLike<number>, digits: number): void {
  expect(actual.length).toBe(wanted.length);
  for (let i = 0; i < wanted.length; i++) expect(actual[i]).toBeCloseTo(wanted[i]!, digits);
}

/** A gradient's size is known only as it is computed. */
function expectRefused({ errors, moved, q }: Awaited<ReturnType<typeof wrongSizes>>): void {
  expect(errors).toHaveLength(4);
  for (const error of errors) {
    expect(error).toMatchObject({ code: 'wrong-shape', subject: 'q' });
    expect(error.message).toMatch(
      /^The gradient 'd q' of 'q' in this batch has shape .* not \[4\]/,
    );
  }
  expect(moved).toBe(false);
  expect(q.every((value) => value < 1)).toBe(true);
}

let expected: number[];
beforeAll(async () => {
  web.env.wasm.numThreads = 1;
  await tf.setBackend('cpu');
  expected = tfjsLosses();
});

const runtimes: [string, OrtModule][] = [
  ['wasm', web],
  ['node', native],
];
const create = (ort: OrtModule, more: Partial<OrtTrainerOptions> = {}) =>
  OrtTrainer.create({ ort, model: digitsModel(), loss: 'loss', gradients, ...options, ...more });

for (const [runtime, ort] of runtimes) {
  for (const form of ['hybrid', 'graph'] as const) {
    describe(`${form} on ${runtime}`, () => {
      test('trains to the losses of the tfjs adapter', async () => {
        const trainer = await create(ort, { form });
        const losses: number[] = [];
        for (const batch of batches) losses.push((await trainer.step(feedsFor(ort, batch))).loss);
        near(losses, expected, 4);
        expect(losses.at(-1)).toBeLessThan(losses[0]! / 2);
        await trainer.dispose();
      });

      test('an exported model gives the outputs of evaluate in the plain runtime', async () => {
        const trainer = await create(ort, { form });
        for (const batch of batches.slice(0, 5)) await trainer.step(feedsFor(ort, batch));
        const feeds = feedsFor(ort, batches[9]!);
        const evaluated = await trainer.evaluate(feeds);
        const bytes = await trainer.exportModel();
        await trainer.dispose();
        const names = decodeModel(bytes).graph!.output!.map(({ name }) => name);
        expect(names).toEqual(['loss', 'logits']);
        for (const [, other] of runtimes) {
          const session = await other.InferenceSession.create(bytes);
          const results = await session.run(feedsFor(other, batches[9]!));
          for (const name of ['loss', 'logits']) {
            const [actual, wanted] = [results[name]!.data, evaluated[name]!.data] as Float32Array[];
            // To the bit in the same runtime; another one adds up in another order.
            if (other === ort) expect(actual).toEqual(wanted);
            near(actual!, wanted!, 4);
          }
          await session.release();
        }
      });

      test('several batches are one step on their mean gradient', async () => {
        const [both, twice] = [await create(ort, { form }), await create(ort, { form })];
        const one = feedsFor(ort, batches[0]!);
        await both.step([one, one]);
        await twice.step(one);
        const [a, b] = [await both.trainParameters(), await twice.trainParameters()];
        for (const name of both.parameterNames) {
          near(a[name]!, b[name]!, 6);
        }
        const { loss } = await both.step([one, feedsFor(ort, batches[1]!)]);
        const first = (await twice.step(one)).loss;
        expect(loss).not.toBeCloseTo(first, 4);
        await both.dispose();
        await twice.dispose();
      });

      test('a gradient of a wrong size changes nothing', async () => {
        expectRefused(await wrongSizes(ort, form));
      });
    });
  }

  test(`training on ${runtime} moves from one form to the other`, async () => {
    const hybrid = await create(ort);
    const graph = await create(ort, { form: 'graph', learningRate: 1 });
    for (const batch of batches.slice(0, 10)) await hybrid.step(feedsFor(ort, batch));
    await graph.load(await hybrid.save());
    expect(graph.groups[0]!.learningRate).toBe(options.learningRate);
    for (const batch of batches.slice(10)) {
      const [a, b] = [
        await hybrid.step(feedsFor(ort, batch)),
        await graph.step(feedsFor(ort, batch)),
      ];
      expect(a.loss).toBeCloseTo(b.loss, 4);
    }
    const { groups } = decodeCheckpoint(await graph.save());
    expect(groups[0]!.scalars.step).toBe(STEPS);
    await hybrid.dispose();
    await graph.dispose();
  });
}

describe('in Chromium, on webgpu', () => {
  let started: Awaited<ReturnType<typeof onnxPage>>;
  const call = <R>(name: string, argument: unknown): Promise<R> =>
    started.page.evaluate(`${name}(${JSON.stringify(argument)})`);
  beforeAll(async () => {
    started = await onnxPage({ entry: new URL('../conformance/digits-page.mjs', import.meta.url) });
    const { images, labels } = readDigits('train', STEPS * batchSize);
    const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
    await call('setDigits', {
      model: base64(encodeModel(digitsModel())),
      images: base64(images.subarray(0, STEPS * batchSize * 784)),
      labels: base64(labels.subarray(0, STEPS * batchSize)),
      batchSize,
      gradients,
      options,
    });
  }, 60_000);
  afterAll(() => started?.browser.close());

  test.each(['hybrid', 'graph'])(
    '%s trains to the same losses, and exports',
    async (form) => {
      type Outputs = Record<'loss' | 'logits', number[]>;
      const { losses, evaluated, plain, exported } = await call<{
        losses: number[];
        evaluated: Outputs;
        plain: Outputs;
        exported: string;
      }>('trainDigits', form);
      near(losses, expected, 4);
      const bytes = Buffer.from(exported, 'base64');
      for (const name of ['loss', 'logits'] as const) {
        near(plain[name], evaluated[name], 5);
        for (const [, ort] of runtimes) {
          const session = await ort.InferenceSession.create(bytes);
          const results = await session.run(feedsFor(ort, batches[9]!));
          near(results[name]!.data as Float32Array, evaluated[name], 3);
          await session.release();
        }
      }
    },
    60_000,
  );

  test.each(['hybrid', 'graph'])(
    '%s: several batches are one step',
    async (form) => {
      const [one, twice, two] = await call<number[][]>('stepOnSeveral', form);
      near(twice!, one!, 6);
      expect(Math.max(...two!.map((v, i) => Math.abs(v - one![i]!)))).toBeGreaterThan(1e-4);
    },
    60_000,
  );

  test.each(['hybrid', 'graph'])(
    '%s: a gradient of a wrong size changes nothing',
    async (form) => expectRefused(await call('wrongSizes', form)),
    60_000,
  );
});

test('a given forward model comes back the same but for its weights', async () => {
  const { graph, ...rest } = digitsModel();
  const forward = encodeModel({
    ...rest,
    producerName: 'somebody',
    graph: {
      ...graph,
      node: graph!.node!.slice(0, 5),
      initializer: graph!.initializer!.filter(({ name }) => name! in gradients),
      input: graph!.input!.slice(0, 1),
      output: graph!.output!.slice(1, 2),
    },
  });
  const trainer = await create(native, { forward });
  await trainer.step(feedsFor(native, batches[0]!));
  const exported = await trainer.exportModel();
  expect(Buffer.compare(exported, forward)).not.toBe(0);
  const { initializer } = decodeModel(forward).graph!;
  const trained = decodeModel(exported);
  const restored = encodeModel({
    ...trained,
    graph: { ...trained.graph, initializer: initializer! },
  });
  expect(Buffer.compare(restored, forward)).toBe(0);
  const { images } = feedsFor(native, batches[0]!);
  expect(Object.keys(await trainer.evaluate({ images }))).toEqual(['logits']);
  await trainer.dispose();
});
