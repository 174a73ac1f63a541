import type { ErrorCode } from '@schedule-free-adan/core';
import { type Check, type Context, ensure, expectError } from '../check.js';
import { gradientsFor, type Options, specOf, stepWith } from '../samples.js';
import { ensureSameState } from '../state.js';
import type { Subject } from '../target.js';

const shapes = { w: [2, 3], b: [3] };

/** Options that must be refused, and what the message must name. */
const badOptions: readonly [string, Record<string, unknown>, ErrorCode, string][] = [
  ['unknown', { learningrate: 0.1 }, 'unknown-option', 'learningrate'],
  ['learning-rate-negative', { learningRate: -0.1 }, 'invalid-option', 'learningRate is -0.1'],
  ['learning-rate-nan', { learningRate: Number.NaN }, 'invalid-option', 'learningRate is NaN'],
  ['learning-rate-text', { learningRate: '0.1' }, 'invalid-option', 'learningRate is "0.1"'],
  ['momentum-0', { momentum: 0 }, 'invalid-option', 'momentum is 0'],
  ['momentum-above-1', { momentum: 1.5 }, 'invalid-option', 'momentum is 1.5'],
  ['betas-1', { betas: [0.9, 0.92, 1] }, 'invalid-option', 'betas is [0.9,0.92,1]'],
  ['betas-two', { betas: [0.9, 0.99] }, 'invalid-option', 'betas is [0.9,0.99]'],
  ['epsilon-0', { epsilon: 0 }, 'invalid-option', 'epsilon is 0'],
  ['weight-decay-negative', { weightDecay: -1 }, 'invalid-option', 'weightDecay is -1'],
  ['decay-unknown', { decay: 'x' }, 'invalid-option', 'decay is "x"'],
  [
    'decay-y-without-averaging',
    { scheduleFree: false, decay: 'y' },
    'invalid-option',
    'decay is "y"',
  ],
  [
    'momentum-without-averaging',
    { scheduleFree: false, momentum: 0.9 },
    'invalid-option',
    'momentum is 0.9',
  ],
  ['warmup-fraction', { warmupSteps: 1.5 }, 'invalid-option', 'warmupSteps is 1.5'],
  ['r-negative', { r: -1 }, 'invalid-option', 'r is -1'],
  [
    'weight-lr-power-infinite',
    { weightLrPower: Number.POSITIVE_INFINITY },
    'invalid-option',
    'weightLrPower is Infinity',
  ],
  ['max-grad-norm-negative', { maxGradNorm: -1 }, 'invalid-option', 'maxGradNorm is -1'],
  ['non-finite-unknown', { nonFinite: 'warn' }, 'invalid-option', 'nonFinite is "warn"'],
  ['group-unknown', { groups: [{ parameters: ['w'], lr: 1 }] }, 'unknown-option', 'lr'],
  [
    'group-wide-option',
    { groups: [{ parameters: ['w'], maxGradNorm: 1 }] },
    'invalid-option',
    'maxGradNorm',
  ],
  ['group-of-nothing', { groups: [{ parameters: ['q'] }] }, 'unknown-parameter', "'q'"],
  [
    'group-twice',
    { groups: [{ parameters: ['w'] }, { parameters: ['w'] }] },
    'duplicate-parameter',
    "'w'",
  ],
];

/** Calls that must be refused, on a subject in the middle of training. */
const badCalls: readonly [string, (subject: Subject) => unknown, ErrorCode, string][] = [
  [
    'gradient-of-unknown-parameter',
    (s) => s.step({ w: null, nobody: s.upload(new Float32Array(3), [3]) }),
    'unknown-parameter',
    "'nobody'",
  ],
  [
    'gradient-of-wrong-shape',
    (s) => s.step({ w: s.upload(new Float32Array(6), [3, 2]) }),
    'wrong-shape',
    "'w'",
  ],
  [
    'gradient-of-wrong-rank',
    (s) =>
      s.step({
        b: s.upload(new Float32Array(3), [1, 3]),
        w: s.upload(new Float32Array(6), [2, 3]),
      }),
    'wrong-shape',
    "'b'",
  ],
  [
    'one-good-gradient-and-one-bad',
    (s) =>
      s.step({
        w: s.upload(new Float32Array(6).fill(1), [2, 3]),
        b: s.upload(new Float32Array(2), [2]),
      }),
    'wrong-shape',
    "'b'",
  ],
  [
    'disposed-gradient',
    (s) => {
      const gradient = s.upload(new Float32Array(3).fill(1), [3]);
      s.free(gradient);
      return s.step({ b: gradient });
    },
    'disposed',
    "'b'",
  ],
  [
    'learning-rate-negative',
    (s) => s.setLearningRate(-1, 0),
    'invalid-option',
    'learningRate is -1',
  ],
  [
    'learning-rate-infinite',
    (s) => s.setLearningRate(Number.POSITIVE_INFINITY, 0),
    'invalid-option',
    'learningRate',
  ],
];

async function inTraining(context: Context) {
  const spec = specOf({ betas: [0.9, 0.92, 0.99] }, context.seed, shapes);
  const subject = await context.create(spec);
  for (const g of gradientsFor(spec, 2, context.seed)) await stepWith(subject, spec, g);
  return subject;
}

export const badInputChecks: readonly Check[] = [
  ...badOptions.map(
    ([name, options, code, named]): Check => ({
      id: `bad-input/option-${name}`,
      tier: 8,
      run: (context) =>
        expectError(
          () => context.create(specOf(options as Options, context.seed, shapes)),
          code,
          named,
        ),
    }),
  ),
  ...badCalls.map(
    ([name, call, code, named]): Check => ({
      id: `bad-input/${name}`,
      tier: 8,
      async run(context) {
        const subject = await inTraining(context);
        const before = await subject.save();
        await expectError(() => call(subject), code, named);
        ensureSameState(before, await subject.save(), 'by a call that threw');
      },
    }),
  ),
  {
    id: 'bad-input/duplicate-parameter',
    tier: 8,
    async run(context) {
      const { parameters } = specOf({}, context.seed, shapes);
      const doubled = { parameters: [...parameters, parameters[0]!], options: {} };
      await expectError(() => context.create(doubled), 'duplicate-parameter', "'w'");
    },
  },
  {
    id: 'bad-input/gradient-of-wrong-dtype',
    tier: 8,
    async run(context) {
      const subject = await inTraining(context);
      if (!subject.foreign) return;
      const before = await subject.save();
      const gradient = subject.foreign([3]);
      await expectError(() => subject.step({ b: gradient }), 'wrong-dtype', "'b'");
      ensureSameState(before, await subject.save(), 'by a call that threw');
      subject.free(gradient);
    },
  },
  {
    id: 'bad-input/an-error-does-not-stop-training',
    tier: 8,
    async run(context) {
      const spec = specOf({}, context.seed, shapes);
      const [disturbed, calm] = [await context.create(spec), await context.create(spec)];
      for (const g of gradientsFor(spec, 3, context.seed)) {
        for (const [, call] of badCalls)
          await Promise.resolve()
            .then(() => call(disturbed))
            .catch(() => {});
        await stepWith(disturbed, spec, g);
        await stepWith(calm, spec, g);
      }
      ensureSameState(
        await calm.save(),
        await disturbed.save(),
        'as compared with a run without errors',
      );
      ensure((await disturbed.metrics()).skippedSteps === 0, 'errors count as skipped steps');
    },
  },
];
