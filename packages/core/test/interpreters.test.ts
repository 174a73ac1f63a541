import {
  type Kernel,
  pointKernel,
  stepKernel,
  wasmKernel,
  wasmSumOfSquares,
} from '@schedule-free-adan/core/interpreters';
import type { Algebra, RuleForm } from '@schedule-free-adan/core/rule';
import { describe, expect, test } from 'vitest';

/** Float32, operation by operation: what WebAssembly has to give to the bit. */
const float32: Algebra<number> = {
  add: (a, b) => Math.fround(a + b),
  sub: (a, b) => Math.fround(a - b),
  mul: (a, b) => Math.fround(a * b),
  div: (a, b) => Math.fround(a / b),
  sqrt: (a) => Math.fround(Math.sqrt(a)),
};

const booleans = [false, true];
const forms = booleans.flatMap((scheduleFree) =>
  booleans.flatMap((firstMoment) =>
    booleans.flatMap((gradientDifference) =>
      (['none', 'y', 'z', 'prox'] as const)
        .filter((decay) => scheduleFree || decay !== 'y')
        .flatMap((decay) =>
          (['x', 'y'] as const).map(
            (placement): RuleForm => ({
              placement,
              scheduleFree,
              firstMoment,
              gradientDifference,
              decay,
            }),
          ),
        ),
    ),
  ),
);

/** Positive, so that roots are real. */
const sample = (count: number, seed: number) =>
  Float32Array.from({ length: count }, (_, i) => 1 + Math.sin(12.9 * seed + 78.2 * i));

async function run(kernel: Kernel, count: number, memory: WebAssembly.Memory) {
  const shared = memory.buffer instanceof SharedArrayBuffer;
  const { instance } = await WebAssembly.instantiate(wasmKernel(kernel, shared), {
    env: { memory },
  });
  const call = instance.exports.run as (...operands: number[]) => void;
  const f32 = new Float32Array(memory.buffer);
  f32.fill(-7);
  // One number between the arrays shows who writes too far, and leaves them unaligned.
  const start = (k: number) => 3 + k * (count + 1);
  const inputs = kernel.inputs.map((_, k) => sample(count, k + 1));
  for (const [k, values] of inputs.entries()) f32.set(values, start(k));
  const numbers = kernel.numbers.map((_, k) => Math.fround(0.1 + 0.07 * k));
  const outputs = kernel.outputs.map((_, k) => start(kernel.inputs.length + k));
  const inputAddresses = inputs.map((_, k) => 4 * start(k));
  call(count, ...inputAddresses, ...outputs.map((at) => 4 * at), ...numbers);

  const expected = new Float32Array(f32.length).fill(-7);
  for (const [k, values] of inputs.entries()) expected.set(values, start(k));
  for (let i = 0; i < count; i++) {
    const value = (name: string) =>
      inputs[kernel.inputs.indexOf(name)]?.[i] ?? numbers[kernel.numbers.indexOf(name)]!;
    const results = kernel.run(float32, value);
    for (const [k, name] of kernel.outputs.entries()) expected[outputs[k]! + i] = results[name]!;
  }
  const used = start(inputs.length + outputs.length) + 8;
  return { actual: f32.slice(0, used), expected: expected.subarray(0, used) };
}

describe('a kernel as WebAssembly', () => {
  test('gives the bits of the rule in float32, in every form, and writes nothing else', async () => {
    const memory = new WebAssembly.Memory({ initial: 1 });
    for (const form of forms) {
      for (const clipping of booleans) {
        for (const clipKnown of ['host', 'device'] as const) {
          const kernel = stepKernel(form, { clipping, clipKnown });
          const { actual, expected } = await run(kernel, 11, memory);
          expect(actual, JSON.stringify({ ...form, clipping, clipKnown })).toEqual(expected);
        }
      }
    }
  });

  test('works with any number of elements, and on shared memory', async () => {
    const kernel = pointKernel('y');
    for (const memory of [
      new WebAssembly.Memory({ initial: 1 }),
      new WebAssembly.Memory({ initial: 1, maximum: 4, shared: true }),
    ]) {
      for (const count of [0, 1, 3, 4, 5, 8, 130]) {
        const { actual, expected } = await run(kernel, count, memory);
        expect(actual).toEqual(expected);
      }
    }
  });

  test('may write where it reads', async () => {
    const memory = new WebAssembly.Memory({ initial: 1 });
    const { instance } = await WebAssembly.instantiate(wasmKernel(pointKernel('y')), {
      env: { memory },
    });
    const f32 = new Float32Array(memory.buffer);
    f32.set([1, 2, 3, 4, 5, 10, 20, 30, 40, 50]);
    (instance.exports.run as (...operands: number[]) => void)(5, 0, 20, 0, 0.5, 0.5);
    expect([...f32.subarray(0, 10)]).toEqual([5.5, 11, 16.5, 22, 27.5, 10, 20, 30, 40, 50]);
  });

  test('sums squares in float64, and shows NaN and Infinity', async () => {
    const memory = new WebAssembly.Memory({ initial: 1 });
    const { instance } = await WebAssembly.instantiate(wasmSumOfSquares(), { env: { memory } });
    const sum = instance.exports.run as (count: number, address: number) => number;
    const f32 = new Float32Array(memory.buffer);
    for (const count of [0, 1, 4, 7, 1001]) {
      const values = sample(count, 5);
      f32.set(values, 1);
      const expected = values.reduce((total, value) => total + value * value, 0);
      expect(sum(count, 4)).toBeCloseTo(expected, 9);
    }
    f32.fill(3e38, 0, 9);
    expect(sum(9, 0)).toBeGreaterThan(8e77);
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      for (let i = 0; i < 9; i++) {
        f32.fill(1, 0, 9);
        f32[i] = bad;
        expect(Number.isFinite(sum(9, 0))).toBe(false);
      }
    }
  });

  test('is small', () => {
    for (const form of forms) {
      const module = wasmKernel(stepKernel(form, { clipping: true, clipKnown: 'host' }));
      // Browsers compile up to 4 kB at once on a page's main thread, whatever their age.
      expect(module.length).toBeLessThan(2000);
    }
  });
});
