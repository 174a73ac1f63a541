import '@tensorflow/tfjs-backend-cpu';
import { scheduleFreeAdan } from '@schedule-free-adan/tfjs';
import {
  earlyStoppingWithBestWeights,
  GradientAccumulator,
  LossScale,
  recalibrateBatchNormalization,
} from '@schedule-free-adan/tfjs/training';
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { afterEach, beforeEach, expect, test } from 'vitest';

beforeEach(async () => {
  await tf.setBackend('cpu');
  tf.disposeVariables();
});
afterEach(() => {
  tf.disposeVariables();
});

const variable = (name: string) => tf.variable(tf.tensor1d([1, -2, 3]), true, name);
const towards = (w: tf.Variable, target: number[]) => () =>
  tf.sum(tf.square(tf.sub(w, target))) as tf.Scalar;

test('accumulated gradients are one step with their mean, clipped once', () => {
  const targets = [
    [5, 5, 5],
    [-9, 1, 0],
  ];
  // Large and small gradients by turns, of which only the large ones are clipped.
  const options = { learningRate: 0.1, maxGradNorm: 4, betas: [0, 0.9, 0.99] as const };
  const [a, b] = [variable('a'), variable('b')];
  const whole = scheduleFreeAdan(options);
  const parts = scheduleFreeAdan(options);
  const accumulator = new GradientAccumulator(parts);
  for (let i = 0; i < 4; i++) {
    const scale = i % 2 === 0 ? 1 : 0.3;
    const loss = (w: tf.Variable, target: number[]) => () =>
      tf.mul(towards(w, target)(), scale) as tf.Scalar;
    whole.minimize(
      () => {
        const [first, second] = targets.map((target) => loss(a, target)());
        return tf.div(tf.add(first!, second!), 2);
      },
      false,
      [a],
    );
    for (const target of targets) accumulator.add(loss(b, target), [b]).dispose();
    expect(accumulator.count).toBe(2);
    const before = tf.memory().numTensors;
    accumulator.step();
    if (i > 0) expect(tf.memory().numTensors).toBe(before - 1);
    expect(accumulator.count).toBe(0);
  }
  const expected = [...a.dataSync()];
  for (const [i, value] of b.dataSync().entries()) expect(value).toBeCloseTo(expected[i]!, 5);
  const { iterations } = parts;
  accumulator.step();
  expect(parts.iterations).toBe(iterations);
});

test('a scaled loss gives the steps of the loss, and halves its scale when a step overflows', async () => {
  const [a, b] = [variable('a'), variable('b')];
  const options = { learningRate: 0.1, maxGradNorm: 3 };
  const plain = scheduleFreeAdan(options);
  const scaled = scheduleFreeAdan(options);
  const loss = new LossScale(scaled, { scale: 1024, growEvery: 4 });
  for (let i = 0; i < 4; i++) {
    // The gradient is clipped in every other step.
    const target = i % 2 === 0 ? [1, 1, 1] : [1, -2, 2];
    plain.minimize(towards(a, target), false, [a]);
    const value = loss.minimize(towards(b, target), [b]);
    if (i === 0) expect(value.dataSync()[0]).toBeCloseTo(13, 4);
    value.dispose();
  }
  expect([...b.dataSync()]).toEqual([...a.dataSync()]);
  await loss.update();
  expect(loss.scale).toBe(2048);
  const before = [...b.dataSync()];
  loss.minimize(() => tf.mul(towards(b, [1, 1, 1])(), 1e38) as tf.Scalar, [b]).dispose();
  await loss.update();
  expect(loss.scale).toBe(1024);
  expect([...b.dataSync()]).toEqual(before);
  expect(() => new LossScale(scaled, { scale: 0 })).toThrow(
    'scale is 0; give a finite number > 0.',
  );
});

test('recalibration sets the moving statistics to those of the data, and changes nothing else', async () => {
  const model = tfl.sequential({
    layers: [
      tfl.layers.dense({ units: 4, inputShape: [3], useBias: false }),
      tfl.layers.batchNormalization({ momentum: 0.99 }),
      tfl.layers.dense({ units: 1 }),
    ],
  });
  const batches = [1, 2, 3].map((seed) => tf.randomNormal([32, 3], seed, 2, 'float32', seed));
  const [kernel] = model.getWeights();
  const means = tf.tidy(() =>
    [...tf.mean(tf.matMul(tf.concat(batches), kernel!), 0).dataSync()].map(Number),
  );
  const before = tf.memory().numTensors;
  expect(await recalibrateBatchNormalization(model, batches)).toBe(3);
  expect(tf.memory().numTensors).toBe(before);
  const moving = [...model.layers[1]!.getWeights()[2]!.dataSync()];
  for (const [i, value] of moving.entries()) expect(value).toBeCloseTo(means[i]!, 4);
  expect((model.layers[1] as unknown as { momentum: number }).momentum).toBe(0.99);
});

test('early stopping puts the best weights back, and training goes on from them', async () => {
  const model = tfl.sequential({
    layers: [tfl.layers.dense({ units: 1, inputShape: [2], kernelInitializer: 'zeros' })],
  });
  const optimizer = scheduleFreeAdan({ learningRate: 0.1 });
  model.compile({ optimizer, loss: 'meanSquaredError' });
  const stopping = earlyStoppingWithBestWeights(model, { patience: 1 });
  const kernels: number[][] = [];
  const losses = [3, 2, 5, 6, 7];
  const x = tf.ones([8, 2]);
  const y = tf.ones([8, 1]);
  await model.fit(x, y, {
    epochs: losses.length,
    verbose: 0,
    callbacks: {
      onEpochEnd: async (epoch) => {
        kernels.push([...model.getWeights()[0]!.dataSync()]);
        await stopping.onEpochEnd(epoch, { val_loss: losses[epoch]! });
      },
      onTrainEnd: stopping.onTrainEnd,
    },
  });
  expect(kernels).toHaveLength(4);
  expect([...model.getWeights()[0]!.dataSync()]).toEqual(kernels[1]);
  expect(kernels[3]).not.toEqual(kernels[1]);
  const [point] = Object.values(optimizer.evalParameters());
  expect([...point!.dataSync()]).toEqual(kernels[1]);
  await expect(stopping.onEpochEnd(0, { loss: 1 })).rejects.toThrow(
    "monitor is 'val_loss'; there is loss.",
  );
});
