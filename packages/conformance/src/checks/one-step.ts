import type { Decay } from '@schedule-free-adan/core';
import { type Check, type Context, ensure } from '../check.js';
import { referenceTarget } from '../reference-target.js';
import { type GradientValues, gradientsFor, type Options, specOf, stepWith } from '../samples.js';
import { compareSnapshots, Scales, snapshot } from '../state.js';
import type { Subject, SubjectSpec } from '../target.js';

interface Watching {
  readonly compareAt?: (step: number) => boolean;
  /** Done to either side before a step. */
  readonly before?: (subject: Subject, step: number) => void | Promise<void>;
}

/** Steps a subject and the float64 oracle side by side, comparing x, y, z and the moments. */
export async function againstOracle(
  context: Context,
  spec: SubjectSpec,
  gradients: readonly GradientValues[],
  options: Watching = {},
): Promise<void> {
  const subject = await context.create(spec);
  const oracle = await context.create(spec, referenceTarget);
  await agree(context, subject, oracle, spec, gradients, options);
}

async function agree(
  context: Context,
  subject: Subject,
  oracle: Subject,
  spec: SubjectSpec,
  gradients: readonly GradientValues[],
  { compareAt = () => true, before = () => {} }: Watching = {},
): Promise<void> {
  const scales = new Scales();
  const { momentum = 1 } = spec.options;
  for (const { name, values } of spec.parameters) scales.update(name, values);
  for (const [t, values] of gradients.entries()) {
    for (const side of [subject, oracle]) {
      await before(side, t + 1);
      await stepWith(side, spec, values);
    }
    if (!compareAt(t + 1)) continue;
    compareSnapshots(context, await snapshot(subject), await snapshot(oracle), {
      step: t + 1,
      scales,
      factor: 1 / momentum,
    });
  }
}

/** Every form of the rule, and every hyperparameter away from its default. */
function* everyOption(): Generator<[string, Options]> {
  const decays: (Decay | 'none')[] = ['none', 'y', 'z', 'prox'];
  for (const scheduleFree of [true, false]) {
    for (const beta1 of [0, 0.9]) {
      for (const beta2 of [0, 0.92]) {
        for (const decay of decays) {
          if (!scheduleFree && decay === 'y') continue;
          const id = `${scheduleFree ? 'schedule-free' : 'adan'}-m${beta1 && 1}-v${beta2 && 1}-decay-${decay}`;
          yield [
            id,
            {
              scheduleFree,
              learningRate: 0.02,
              betas: [beta1, beta2, 0.99],
              ...(decay !== 'none' && { weightDecay: 0.3, decay }),
            },
          ];
        }
      }
    }
  }
  yield ['defaults', {}];
  yield ['clipping', { maxGradNorm: 1.5 }];
  yield ['clipping-that-does-not-bite', { maxGradNorm: 1e6 }];
  yield ['warmup', { warmupSteps: 5 }];
  yield ['momentum-1', { momentum: 1 }];
  yield ['momentum-0.5', { momentum: 0.5 }];
  yield ['epsilon', { epsilon: 0.1 }];
  yield ['r', { r: 2 }];
  yield ['weightLrPower', { weightLrPower: 0, warmupSteps: 4 }];
  yield [
    'everything',
    {
      learningRate: 0.05,
      momentum: 0.8,
      betas: [0.95, 0.8, 0.98],
      epsilon: 1e-6,
      weightDecay: 0.2,
      decay: 'prox',
      warmupSteps: 3,
      r: 1,
      weightLrPower: 1,
      maxGradNorm: 2,
    },
  ];
  yield [
    'groups',
    {
      maxGradNorm: 1.2,
      groups: [
        { parameters: ['matrix'], learningRate: 0.06, betas: [0.9, 0.8, 0.999], weightDecay: 0.1 },
        {
          parameters: (name) => name === 'vector',
          momentum: 0.7,
          decay: 'z',
          warmupSteps: 2,
          weightDecay: 0.2,
        },
      ],
    },
  ];
}

const notFinite = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];

async function skipsLikeNoGradient(context: Context, poison: number): Promise<void> {
  for (const at of [0, 2]) {
    const spec = specOf({ maxGradNorm: 1, betas: [0.9, 0.92, 0.99] }, context.seed);
    const gradients = gradientsFor(spec, 4, context.seed);
    const poisoned = gradients.map((values, t) => {
      if (t !== at) return values;
      const vector = values.vector!.slice();
      vector[vector.length - 1] = poison;
      return { ...values, vector };
    });
    const nothing = Object.fromEntries(spec.parameters.map(({ name }) => [name, null]));
    const [a, b] = [await context.create(spec), await context.create(spec)];
    for (const t of gradients.keys()) {
      await stepWith(a, spec, poisoned[t]!);
      await stepWith(b, spec, t === at ? nothing : gradients[t]!);
      const when = `by a step ${at + 1} with ${poison}, as compared with one without gradients`;
      const [x, y] = [await snapshot(a), await snapshot(b)];
      for (const [name, tensors] of y) {
        for (const [key, values] of Object.entries(tensors)) {
          const found = x.get(name)?.[key as 'x'];
          ensure(
            found?.every((value, i) => Object.is(value, values[i])) === true,
            `${name}.${key} is changed ${when}`,
          );
        }
        ensure(
          Object.keys(x.get(name)!).length === Object.keys(tensors).length,
          `${name} has other tensors ${when}`,
        );
      }
    }
    const { skippedSteps } = await a.metrics();
    ensure(skippedSteps === 1, `metrics() counts ${skippedSteps} skipped steps, not 1`);
  }
}

export const oneStepChecks: readonly Check[] = [
  ...[...everyOption()].map(
    ([id, options]): Check => ({
      id: `step/${id}`,
      tier: 3,
      async run(context) {
        const spec = specOf(options, context.seed);
        await againstOracle(context, spec, gradientsFor(spec, 10, context.seed), {
          compareAt: (step) => step <= 2 || step === 10,
        });
      },
    }),
  ),
  {
    id: 'step/learning-rate-changes-from-step-to-step',
    tier: 3,
    async run(context) {
      const spec = specOf(
        { groups: [{ parameters: ['vector'], learningRate: 0.1 }] },
        context.seed,
      );
      await againstOracle(context, spec, gradientsFor(spec, 10, context.seed), {
        before: (subject, step) => {
          subject.setLearningRate(0.02 / step, 0);
          subject.setLearningRate(step % 3 === 0 ? 0 : 0.05 * step, 1);
        },
      });
    },
  },
  {
    id: 'step/a-missing-gradient-keeps-the-parameter',
    tier: 3,
    async run(context) {
      const spec = specOf({ betas: [0.9, 0.92, 0.99], weightDecay: 0.1 }, context.seed);
      const gradients = gradientsFor(spec, 10, context.seed).map((values, t) => {
        if (t === 0 || t === 4) return { ...values, vector: null };
        const { matrix, ...rest } = values;
        return t === 5 || !matrix ? rest : values;
      });
      await againstOracle(context, spec, gradients);
      const subject = await context.create(spec);
      await stepWith(subject, spec, gradients[1]!);
      const before = await snapshot(subject);
      await stepWith(subject, spec, { matrix: gradients[2]!.matrix!, vector: null });
      const after = await snapshot(subject);
      for (const name of ['vector', 'scalar']) {
        for (const [key, values] of Object.entries(before.get(name)!)) {
          const now = after.get(name)?.[key as 'x'];
          ensure(
            now?.every((value, i) => Object.is(value, values[i])) === true,
            `${name}.${key} changed in a step in which it had no gradient`,
          );
        }
      }
    },
  },
  {
    id: 'step/restart-resets-the-moments-only',
    tier: 3,
    async run(context) {
      const spec = specOf({ betas: [0.9, 0.92, 0.99] }, context.seed);
      await againstOracle(context, spec, gradientsFor(spec, 10, context.seed), {
        before: (subject, step) => {
          if (step === 6) subject.restart();
        },
      });
      const subject = await context.create(spec);
      for (const g of gradientsFor(spec, 3, context.seed)) await stepWith(subject, spec, g);
      const [x, y] = [await subject.evalParameters(), await subject.trainParameters()];
      subject.restart();
      const after = [await subject.evalParameters(), await subject.trainParameters()];
      for (const [before, now] of [
        [x, after[0]!],
        [y, after[1]!],
      ] as const) {
        for (const [name, values] of Object.entries(before)) {
          ensure(
            values.every((v, i) => Object.is(v, now[name]![i])),
            `restart() moved '${name}'`,
          );
        }
      }
    },
  },
  ...notFinite.map(
    (poison): Check => ({
      id: `step/${String(poison).toLowerCase()}-is-skipped`,
      tier: 3,
      run: (context) => skipsLikeNoGradient(context, poison),
    }),
  ),
  {
    id: 'step/non-finite-throw-names-the-parameter',
    tier: 3,
    async run(context) {
      const spec = specOf({ nonFinite: 'throw' }, context.seed);
      const subject = await context.create(spec);
      const [first, second] = gradientsFor(spec, 2, context.seed) as [
        GradientValues,
        GradientValues,
      ];
      await stepWith(subject, spec, first);
      const before = await snapshot(subject);
      const vector = second.vector!.slice();
      vector[2] = Number.NaN;
      let error: unknown;
      try {
        await stepWith(subject, spec, { ...second, vector });
        await subject.metrics();
      } catch (caught) {
        error = caught;
      }
      const { code, message } = (error ?? {}) as { code?: string; message?: string };
      ensure(code === 'non-finite-gradient', `the error's code is ${code}: ${message}`);
      ensure(
        message?.includes("'vector'") === true,
        `the error does not name 'vector': ${message}`,
      );
      const after = await snapshot(subject);
      for (const [name, tensors] of before) {
        for (const [key, values] of Object.entries(tensors)) {
          const now = after.get(name)?.[key as 'x'];
          ensure(
            now?.every((v, i) => Object.is(v, values[i])) === true,
            `${name}.${key} was written`,
          );
        }
      }
      await stepWith(subject, spec, second);
      await subject.metrics();
    },
  },
  {
    id: 'step/non-finite-ignore-lets-it-through',
    tier: 3,
    async run(context) {
      const spec = specOf({ nonFinite: 'ignore' }, context.seed, { vector: [3] });
      const subject = await context.create(spec);
      await stepWith(subject, spec, { vector: Float32Array.of(1, Number.NaN, 1) });
      const { vector } = await subject.trainParameters();
      ensure(Number.isNaN(vector![1]), `an ignored NaN left ${vector![1]} in the parameter`);
    },
  },
  {
    id: 'step/metrics',
    tier: 3,
    async run(context) {
      const spec = specOf({ maxGradNorm: 1 }, context.seed, { a: [5], b: [2, 2] });
      const subject = await context.create(spec);
      const [gradients] = gradientsFor(spec, 1, context.seed) as [GradientValues];
      await stepWith(subject, spec, gradients);
      const { gradientNorm, clipFactor, skippedSteps } = await subject.metrics();
      const all = [...gradients.a!, ...gradients.b!];
      const norm = Math.sqrt(all.reduce((sum, g) => sum + g * g, 0));
      context.compare('gradientNorm', Float64Array.of(gradientNorm ?? Number.NaN), [norm], {
        ulps: 8,
        scale: 0,
      });
      context.compare(
        'clipFactor',
        Float64Array.of(clipFactor ?? Number.NaN),
        [Math.min(1, 1 / (norm + 1e-8))],
        {
          ulps: 8,
          scale: 0,
        },
      );
      ensure(skippedSteps === 0, `skippedSteps is ${skippedSteps} after a good step`);
      const unclipped = await context.create(specOf({}, context.seed));
      const none = await unclipped.metrics();
      ensure(
        none.gradientNorm === null && none.clipFactor === null,
        'metrics of clipping without clipping',
      );
    },
  },
  {
    id: 'step/fused-equals-composed',
    tier: 3,
    async run(context) {
      const { composed } = context.target;
      ensure(composed !== undefined, 'the target does not show its composed form');
      for (const [, options] of everyOption()) {
        const spec = specOf(options, context.seed);
        const [fused, plain] = [await context.create(spec), await context.createComposed(spec)];
        await agree(context, fused, plain, spec, gradientsFor(spec, 10, context.seed), {
          compareAt: (step) => step === 1 || step === 10,
        });
        context.cleanUp();
      }
      const spec = specOf({}, context.seed);
      const [fused, plain] = [await context.create(spec), await context.createComposed(spec)];
      const [values] = gradientsFor(spec, 1, context.seed) as [GradientValues];
      const poisoned = { ...values, scalar: Float32Array.of(Number.NaN) };
      for (const side of [fused, plain]) await stepWith(side, spec, poisoned);
      const scalars = await fused.metrics();
      ensure(
        scalars.skippedSteps === 1,
        `the fused step counts ${scalars.skippedSteps} skipped steps`,
      );
    },
  },
];
