import {
  advance,
  coefficients as coefficientsOf,
  initialScalars,
  ruleForm,
  scheduleFreeDefaults,
} from '@schedule-free-adan/core/rule';
import { describe, expect, test } from 'vitest';
import { firstKernel, fusedStep, normKernel, verdictKernel } from '../src/kernels.js';

const scalars = advance(initialScalars, scheduleFreeDefaults);
const coefficients = coefficientsOf({ scalars, hyperparameters: scheduleFreeDefaults });
const plain = {
  form: ruleForm(scheduleFreeDefaults, 'y'),
  clipping: false,
  checking: true,
  single: false,
  packed: true,
  half: false,
  averages: false,
  sets: 1,
  constants: {},
};
const with_ = (options: object, more: object = {}) =>
  fusedStep({
    ...plain,
    form: ruleForm({ ...scheduleFreeDefaults, ...options }, 'y'),
    ...more,
  }).code();

describe('the printed kernels', () => {
  test('the default step', () => {
    expect(fusedStep(plain).code()).toMatchSnapshot();
  });

  test('the step of an arena, whose size and steady hyperparameters are known', () => {
    const { momentum, beta2, epsilon } = coefficients;
    const more = { single: true, checking: false, vectors: 1024, words: 64 };
    const constants = { momentum, beta2, epsilon };
    const code = with_({}, { ...more, constants });
    expect(code).toMatchSnapshot();
    expect(code).not.toMatch(/array<(vec4f|u32)>|sets\[0\]\.(beta2|epsilon)/);
  });

  test('everything in use', () => {
    const options = { betas: [0.9, 0.92, 0.99], weightDecay: 0.1 };
    const more = { clipping: true, half: true, packed: false, averages: true, sets: 3 };
    expect(with_(options, more)).toMatchSnapshot();
  });

  test('the passes over the gradients', () => {
    expect(normKernel(true, true)).toMatchSnapshot();
    expect(normKernel(true, false)).toMatchSnapshot();
    expect(verdictKernel()).toMatchSnapshot();
    expect(firstKernel(plain)).toMatchSnapshot();
  });

  test('hold nothing that is not in use', () => {
    expect(with_({ betas: [0, 0, 0.99] })).not.toMatch(/all_[mvg]\b|previous|difference/);
    expect(with_({})).not.toMatch(/all_[mx]|decay|clip /);
    expect(with_({ weightDecay: 0.1, decay: 'prox' })).toContain('decay * (');
    expect(with_({}, { checking: false })).not.toContain('control.factor');
    expect(with_({}, { clipping: true })).toContain('let clip = factor;');
  });

  test('the first pass of the norm has no barrier', () => {
    expect(normKernel(true, true)).not.toContain('Barrier');
  });
});
