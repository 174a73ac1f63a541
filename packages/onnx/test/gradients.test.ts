import * as native from 'onnxruntime-node';
import * as web from 'onnxruntime-web';
import { describe, expect, test } from 'vitest';
import { makeTrainable } from '../src/autodiff/index.js';
import { encodeModel } from '../src/model/index.js';
import type { OrtModule } from '../src/runtime.js';
import { cases, lossOf, modelOf, valuesOf, withInputs } from './gradient-cases.js';

web.env.wasm.numThreads = 1;
const STEP = 2 ** -7;

describe.each<[string, OrtModule]>([
  ['wasm', web],
  ['node', native],
])('gradients against central differences on %s', (_, ort) => {
  test.each(cases)('$name', async (one) => {
    const { model, gradients } = await makeTrainable(modelOf(one), {
      ort,
      loss: lossOf(one),
      trainable: /^p\d$/,
    });
    const session = await ort.InferenceSession.create(
      encodeModel(withInputs(model, one, gradients)),
    );
    const values = valuesOf(one);
    const run = async () =>
      session.run(
        Object.fromEntries(
          one.parameters.map((shape, k) => [`p${k}`, new ort.Tensor('float32', values[k]!, shape)]),
        ),
      );
    // Summed here, in float64: a difference of sums in float32 would be noise.
    const loss = async () => {
      const results = await run();
      let sum = 0;
      for (let i = 0; i < (one.outputs ?? 1); i++) {
        for (const y of results[`y${i}`]!.data as Float32Array) sum += y ** 3 / 3 + y;
      }
      return sum;
    };
    const results = await run();
    for (const [k, shape] of one.parameters.entries()) {
      const made = gradients[`p${k}`]!;
      expect(made, `gradient of input ${k}`).toBeDefined();
      const gradient = results[made]!;
      expect(gradient.dims).toEqual(shape);
      const data = gradient.data as Float32Array;
      const scale = Math.max(0.05, ...data.map(Math.abs));
      const length = values[k]!.length;
      const stride = Math.max(1, Math.floor(length / 16));
      for (let i = 0; i < length; i += one.exact ? 1 : stride) {
        let expected = one.exact?.gradient[i];
        if (expected === undefined) {
          const kept = values[k]![i]!;
          const at = async (shift: number) => {
            values[k]![i] = kept + shift * STEP;
            return loss();
          };
          // Fourth order, so that the curvature of y³ does not count.
          const [a, b, c, d] = [await at(-2), await at(-1), await at(1), await at(2)];
          expected = (a - 8 * b + 8 * c - d) / (12 * STEP);
          values[k]![i] = kept;
        }
        const error = Math.abs(data[i]! - expected) / scale;
        expect(error, `input ${k}, element ${i}: ${data[i]} is not ${expected}`).toBeLessThan(2e-3);
      }
    }
    await session.release();
  });
});
