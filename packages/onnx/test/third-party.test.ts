import * as ort from 'onnxruntime-node';
import * as web from 'onnxruntime-web';
import { expect, test } from 'vitest';
import { nameOf, trainThirdParty, zoo } from '../../../tools/train-third-party.mjs';

web.env.wasm.numThreads = 1;
const quiet = { logSeverityLevel: 3 };
const named = (name: string) => zoo.find((entry) => nameOf(entry) === name)!;

// `npm run models` trains all of them; here are small ones, and those that found mistakes.
test.each([
  ['alexa_v0.1', 20, 'dense layers'],
  ['fr_eye', 20, 'convolutions'],
  ['ch_ppocr_mobile_v2.0_cls_infer', 20, 'all weights are constants'],
  ['fr_detect', 20, 'an end of 2⁶³ − 1 in an operator set of old'],
  ['ch_PP-OCRv4_rec_infer', 5, 'several operators of old in one graph'],
  ['detypify', 5, 'a loop over sequences beside the path'],
])('%s learns in %i steps: %s', async (name, steps) => {
  const sessionOptions = quiet;
  const options = { ort, sessionOptions, steps, learningRate: 0.001 };
  const { loss, refused } = await trainThirdParty(named(name), options);
  expect(refused).toBeUndefined();
  expect(loss!.after).toBeLessThan(loss!.before);
});

test.each(['fr_age', 'ch_ppocr_mobile_v2.0_cls_infer', 'fr_liveness'])(
  '%s learns with its BatchNormalization in training form',
  async (name) => {
    const options = { ort, sessionOptions: quiet, steps: 20, learningRate: 0.001 };
    const { loss, operators } = await trainThirdParty(named(name), {
      ...options,
      trainingForm: /./,
    });
    expect(operators).toContain('BatchNormalization');
    expect(loss!.after).toBeLessThan(loss!.before);
  },
);

test('one learns as WebAssembly', async () => {
  const options = { ort: web, learningRate: 0.001 };
  const { loss } = await trainThirdParty(named('hello_deepa'), options);
  expect(loss!.after).toBeLessThan(loss!.before / 10);
});

test.each(['silero_vad_legacy', 'silero_vad_v5', 'silero_vad_v6'])(
  '%s is refused, and why is told',
  async (name) => {
    const { refused } = await trainThirdParty(named(name), { ort, learningRate: 0.001 });
    expect(refused!.code).toBe('unsupported-operator');
    expect(refused!.message).toMatch(/no gradient rule for node '.*' \(If\) of operator set 18/);
  },
);
