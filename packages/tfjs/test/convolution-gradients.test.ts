import '@schedule-free-adan/tfjs/convolution-gradients';
import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { useBackend } from '../conformance/targets.mjs';

beforeAll(async () => {
  await useBackend('cpu');
  await useBackend('wasm');
});

type Gradients = { input: Float32Array; filter: Float32Array };

/** Gradients of a convolution by input and filter, of random data, on one backend. */
async function gradientsOn(
  backend: 'cpu' | 'wasm',
  convolve: (x: tf.Tensor4D, filter: tf.Tensor4D) => tf.Tensor,
  input: [number, number, number, number],
  filter: [number, number, number, number],
): Promise<Gradients> {
  await tf.setBackend(backend);
  return tf.tidy(() => {
    const x = tf.randomNormal(input, 0, 1, 'float32', 1) as tf.Tensor4D;
    const w = tf.randomNormal(filter, 0, 1, 'float32', 2) as tf.Tensor4D;
    const dy = tf.randomNormal(convolve(x, w).shape, 0, 1, 'float32', 3);
    const [dx, dw] = tf.grads((a, b) => convolve(a as tf.Tensor4D, b as tf.Tensor4D))([x, w], dy);
    return { input: dx!.dataSync() as Float32Array, filter: dw!.dataSync() as Float32Array };
  });
}

function expectClose(actual: Float32Array, expected: Float32Array) {
  expect(actual).toHaveLength(expected.length);
  const scale = expected.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
  expect(scale).toBeGreaterThan(0);
  let worst = 0;
  for (const [i, v] of expected.entries()) worst = Math.max(worst, Math.abs(actual[i]! - v));
  expect(worst / scale).toBeLessThan(1.2e-5);
}

// With a number for padding, tfjs gets the size of an output with two different strides wrong.
const convolutions = (
  [
    [3, 3],
    [5, 5],
    [1, 1],
    [2, 3],
  ] as const
).flatMap((size) =>
  (['same', 'valid', 1] as const).flatMap((pad) =>
    (pad === 1 ? ([1, 2, 3] as const) : ([1, 2, [2, 1], 3] as const)).map((strides) => ({
      size,
      pad,
      strides,
    })),
  ),
);

describe('on wasm as on cpu', () => {
  test.each(convolutions)('conv2d, %j', async ({ size, pad, strides }) => {
    const convolve = (x: tf.Tensor4D, w: tf.Tensor4D) => tf.conv2d(x, w, strides as number, pad);
    const [input, filter]: [number, number, number, number][] = [
      [4, 11, 8, 3],
      [...size, 3, 5],
    ];
    const [expected, actual] = [
      await gradientsOn('cpu', convolve, input!, filter!),
      await gradientsOn('wasm', convolve, input!, filter!),
    ];
    expectClose(actual.filter, expected.filter);
    expectClose(actual.input, expected.input);
  });

  test.each(convolutions)('depthwiseConv2d, %j', async ({ size, pad, strides }) => {
    const convolve = (x: tf.Tensor4D, w: tf.Tensor4D) =>
      tf.depthwiseConv2d(x, w, strides as number, pad);
    for (const multiplier of [1, 2]) {
      const [input, filter]: [number, number, number, number][] = [
        [4, 11, 8, 3],
        [...size, 3, multiplier],
      ];
      const [expected, actual] = [
        await gradientsOn('cpu', convolve, input!, filter!),
        await gradientsOn('wasm', convolve, input!, filter!),
      ];
      expectClose(actual.filter, expected.filter);
      expectClose(actual.input, expected.input);
    }
  });

  test('of a batch as a demo trains it, and without leaving tensors behind', async () => {
    const convolve = (x: tf.Tensor4D, w: tf.Tensor4D) => tf.conv2d(x, w, 1, 'same');
    const [input, filter]: [number, number, number, number][] = [
      [16, 28, 28, 4],
      [5, 5, 4, 8],
    ];
    const expected = await gradientsOn('cpu', convolve, input!, filter!);
    await tf.setBackend('wasm');
    const { numTensors } = tf.memory();
    const actual = await gradientsOn('wasm', convolve, input!, filter!);
    expect(tf.memory().numTensors).toBe(numTensors);
    expectClose(actual.filter, expected.filter);
  });

  test('a dilated convolution has no gradient in tfjs, and says so', () => {
    const x = tf.zeros([1, 8, 8, 1]) as tf.Tensor4D;
    const dilated = (w: tf.Tensor) => tf.conv2d(x, w as tf.Tensor4D, 1, 'same', 'NHWC', 2);
    expect(() => tf.grad(dilated)(tf.zeros([3, 3, 1, 1]))).toThrow('dilation rates greater than 1');
  });
});
