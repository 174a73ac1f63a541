import { ScheduleFreeAdanError } from '@schedule-free-adan/core';
import {
  decodeCheckpoint,
  encodeCheckpoint,
  type StoredTensor,
  type TrainingState,
} from '@schedule-free-adan/core/checkpoints';
import { ReferenceBackend } from '@schedule-free-adan/core/reference';
import { coefficients, composedStep } from '@schedule-free-adan/core/rule';
import { backendSubject, erased } from '../backend-target.js';
import { referenceTarget } from '../reference-target.js';
import { Session } from '../run.js';
import type { Subject, SubjectSpec, Target } from '../target.js';
import {
  around,
  BrokenBackend,
  type Change,
  type Entry,
  MisweighingBackend,
  type Request,
  type Step,
} from './broken-step.js';

/** A backend or optimizer with one fault, which the suite must notice. */
export interface Mutant {
  /** Words for the table, and the target's name. */
  readonly name: string;
  /** What is wrong with it, in a sentence. */
  readonly fault: string;
  /** The check that must be the first to notice. */
  readonly caughtBy: string;
  readonly target: Target;
}

const target = (name: string, create: Target['create']): Target => ({
  name,
  dtype: 'float64',
  create,
});

/** A fault in the step of a backend. */
const step = (
  name: string,
  fault: string,
  caughtBy: string,
  broken: (spec: SubjectSpec) => (correct: Step) => Step,
): Mutant => ({
  name,
  fault,
  caughtBy,
  target: target(name, (spec) => backendSubject(new BrokenBackend(broken(spec)), spec)),
});

/** A fault in the coefficients of a step. */
const weighing = (name: string, fault: string, caughtBy: string, change: () => Change): Mutant => ({
  name,
  fault,
  caughtBy,
  target: target(name, (spec) => backendSubject(new MisweighingBackend(change()), spec)),
});

/** A fault in a primitive of a backend that has no fused step. */
const primitive = (
  name: string,
  fault: string,
  caughtBy: string,
  broken: (correct: ReferenceBackend) => Partial<ReferenceBackend>,
): Mutant => {
  const backend = () => {
    const correct = new ReferenceBackend();
    const composed = (request: Request) => composedStep(correct, request);
    return Object.assign(correct, { step: composed }, broken(correct));
  };
  return {
    name,
    fault,
    caughtBy,
    target: {
      ...target(name, (spec) => backendSubject(backend(), spec)),
      backend: erased(backend),
    },
  };
};

/** A fault in the optimizer around the backend. */
const optimizer = (
  name: string,
  fault: string,
  caughtBy: string,
  broken: (correct: Subject, spec: SubjectSpec) => Partial<Subject>,
): Mutant => ({
  name,
  fault,
  caughtBy,
  target: target(name, async (spec) => {
    const correct = await referenceTarget.create(spec);
    return { ...correct, ...broken(correct, spec) };
  }),
});

const rewrite = (bytes: Uint8Array, change: (state: TrainingState) => Partial<TrainingState>) => {
  const state = decodeCheckpoint(bytes);
  return encodeCheckpoint({ ...state, ...change(state) });
};

const rewriteTensors = (
  bytes: Uint8Array,
  change: (stored: Record<string, StoredTensor>) => Record<string, StoredTensor>,
) =>
  rewrite(bytes, ({ tensors }) => ({
    tensors: new Map([...tensors].map(([name, stored]) => [name, change({ ...stored })])),
  }));

/** Every mutant; the suite must catch each. */
export const mutants: readonly Mutant[] = [
  step(
    'raw-gradient',
    'z steps with the raw gradient in place of Adan’s direction',
    'step/schedule-free-m0-v0-decay-none',
    () =>
      around(({ state, group, gradient, form }) => {
        const c = coefficients(group);
        if (!form.scheduleFree) return undefined;
        const [z, y] = [state.z!.data.slice(), state.parameter.data.slice()];
        return () =>
          z.forEach((before, i) => {
            const now = before - c.stepSize * gradient.data[i]!;
            state.z!.data[i] = now;
            state.parameter.data[i] =
              c.keepAverage * y[i]! + c.average * before + c.follow * (now - before);
          });
      }),
  ),
  weighing(
    'one-minus-beta2',
    '1 − β2 for β2 in the Nesterov term, as in the paper’s notation but with code’s values',
    'step/schedule-free-m0-v1-decay-none',
    () => (c) => ({ beta2: c.oneMinusBeta2, oneMinusBeta2: c.beta2 }),
  ),
  weighing(
    'bias-correction-multiplied',
    'moments are multiplied by their bias correction, not divided',
    'step/schedule-free-m0-v0-decay-none',
    () => (c) => ({ scaleM: 1 / c.scaleM, scaleN: 1 / c.scaleN }),
  ),
  weighing(
    'no-bias-correction-of-m',
    'the first moment is not corrected',
    'step/schedule-free-m1-v0-decay-none',
    () => () => ({ scaleM: 1 }),
  ),
  weighing(
    'warmup-only-in-the-weights',
    'warmup changes the averaging weights, but not the step',
    'step/warmup',
    () =>
      ({ stepSize }, { group: { hyperparameters } }) => ({
        stepSize: hyperparameters.warmupSteps > 0 ? hyperparameters.learningRate : stepSize,
      }),
  ),
  step(
    'previous-gradient-dropped',
    'the previous gradient is forgotten: every difference is 0',
    'step/schedule-free-m0-v1-decay-none',
    () =>
      around(({ state }) => {
        if (state.seen) state.seen.data[0] = 0;
        return undefined;
      }),
  ),
  step(
    'previous-gradient-unclipped',
    'the previous gradient is kept as it came, not clipped',
    'step/clipping',
    () =>
      around(
        ({ state, gradient }) =>
          () =>
            state.g?.data.set(gradient.data),
      ),
  ),
  step(
    'first-difference-against-zero',
    'the first difference is taken against 0 in place of being 0',
    'step/schedule-free-m0-v1-decay-none',
    () =>
      around(({ state }) => {
        if (state.seen) state.seen.data[0] = 1;
        return undefined;
      }),
  ),
  step(
    'clip-per-group',
    'each group is clipped by its own norm',
    'step/groups',
    () => (correct) => (request) => {
      const kinds = new Set(request.entries.map((entry) => entry.group));
      for (const kind of kinds) {
        const entries = request.entries.filter((entry) => entry.group === kind);
        correct({ ...request, entries });
      }
    },
  ),
  step(
    'clip-after-the-moments',
    'the step is clipped, but the moments see the raw gradient',
    'step/clipping',
    () => (correct) => (request) => {
      const { maxGradNorm, epsilon, entries, metrics } = request;
      let sum = 0;
      for (const { gradient } of entries) for (const g of gradient.data) sum += g * g;
      const clip = maxGradNorm > 0 ? Math.min(1, maxGradNorm / (Math.sqrt(sum) + epsilon)) : 1;
      const scaled = entries.map((entry) => {
        const { scalars, hyperparameters: h } = entry.group;
        const hyperparameters = { ...h, learningRate: h.learningRate * clip };
        return { ...entry, group: { scalars, hyperparameters } };
      });
      correct({ ...request, entries: scaled, maxGradNorm: 0 });
      metrics.gradientNorm.data[0] = Math.sqrt(sum);
      metrics.clipFactor.data[0] = clip;
    },
  ),
  step(
    'norm-without-the-last-parameter',
    'the global norm leaves out one parameter',
    'step/clipping',
    () => (correct) => (request) => {
      const isLast = ({ name }: Entry) => name === 'scalar' || name === 'b';
      const rest = request.entries.filter((entry) => !isLast(entry));
      const last = request.entries.filter(isLast);
      correct({ ...request, entries: rest });
      correct({ ...request, entries: last });
    },
  ),
  step(
    'decay-at-the-wrong-point',
    'decay is taken at z where y was asked for',
    'step/schedule-free-m0-v0-decay-y',
    () => (correct) => (request) =>
      correct({
        ...request,
        entries: request.entries.map((entry) => {
          const { form, group } = entry;
          if (form.decay !== 'y') return entry;
          const hyperparameters = { ...group.hyperparameters, decay: 'z' as const };
          return { ...entry, form: { ...form, decay: 'z' }, group: { ...group, hyperparameters } };
        }),
      }),
  ),
  weighing(
    'one-beta-for-two-roles',
    'Adan’s β1 is also used as Schedule-Free’s momentum',
    'step/everything',
    () => (c) => (c.beta1 > 0 ? { follow: 1 - c.beta1 * c.keepAverage } : {}),
  ),
  weighing('plain-mean', 'every step has the same weight in the average', 'step/warmup', () => {
    const steps = new Map<string, number>();
    return (c, { name }) => {
      const t = (steps.get(name) ?? 0) + 1;
      steps.set(name, t);
      const average = 1 / t;
      return {
        average,
        keepAverage: 1 - average,
        follow: 1 - c.momentum * (1 - average),
      };
    };
  }),
  step(
    'gradient-scaled-in-place',
    'clipping writes to the caller’s gradient',
    'laws/gradients-are-never-written-to',
    () =>
      around(({ gradient }, { metrics, maxGradNorm }) => () => {
        if (maxGradNorm === 0) return;
        gradient.data.forEach((g, i) => {
          gradient.data[i] = g * metrics.clipFactor.data[0]!;
        });
      }),
  ),
  step(
    'nan-not-noticed',
    'a gradient with NaN is not looked for',
    'step/nan-is-skipped',
    () => (correct) => (request) => correct({ ...request, skipNonFinite: false }),
  ),
  step(
    'infinity-not-noticed',
    'only NaN is looked for',
    'step/infinity-is-skipped',
    () => (correct) => (request) =>
      correct({
        ...request,
        skipNonFinite:
          request.skipNonFinite &&
          request.entries.some(({ gradient }) => gradient.data.some(Number.isNaN)),
      }),
  ),
  step(
    'skipped-step-moves-the-previous-gradient',
    'a skipped step still takes the gradient as the previous one',
    'step/nan-is-skipped',
    () =>
      around(({ state, gradient }, { metrics }) => {
        const skipped = metrics.skippedSteps.data[0];
        return () => {
          if (metrics.skippedSteps.data[0] !== skipped) state.g?.data.set(gradient.data);
        };
      }),
  ),
  primitive(
    'sqrt-in-half-precision',
    'the square root has eleven bits',
    'primitives/sqrt',
    (correct) => ({
      sqrt: (a) =>
        correct.upload(
          a.data.map((v) => Math.round(Math.sqrt(v) * 2048) / 2048),
          a.shape,
        ),
    }),
  ),
  primitive(
    'add-in-place',
    'addition writes its result into its left operand',
    'primitives/add',
    (correct) => {
      const { add } = correct;
      return {
        add: (a, b) => {
          const sum = add(a, b);
          if (a.data.length === sum.data.length) a.data.set(sum.data);
          return sum;
        },
      };
    },
  ),
  primitive(
    'another-dtype',
    'a backend of one precision is checked in the ulps of another',
    'memory/dtype-is-as-declared',
    () => ({ dtype: 'float32' as 'float64' }),
  ),
  primitive(
    'upload-keeps-the-array',
    'a tensor shares memory with the caller’s array',
    'memory/length-1',
    () => ({
      upload: (values, shape) => ({
        data: values as Float64Array,
        shape: [...shape],
        disposed: false,
      }),
    }),
  ),
  primitive(
    'leak',
    'matrices are never freed',
    'lifecycle/memory-is-constant-from-step-2-defaults',
    () => ({
      dispose: (a) => {
        if (a.shape.length < 2) a.disposed = true;
      },
    }),
  ),
  optimizer(
    'x-from-the-wrong-beta',
    'x is computed from y and z with another β',
    'step/schedule-free-m0-v0-decay-none',
    (correct) => ({
      async evalParameters() {
        const y = await correct.trainParameters();
        const { tensors } = decodeCheckpoint(await correct.save());
        return Object.fromEntries(
          Object.entries(y).map(([name, values]) => {
            const z = tensors.get(name)?.z?.data;
            return [name, z ? values.map((v, i) => (v - 0.02 * z[i]!) / 0.98) : values];
          }),
        );
      },
    }),
  ),
  optimizer(
    'eval-that-rounds',
    'eval() and train() interpolate in place, and lose a bit on the way',
    'laws/train-and-eval-are-exact',
    (correct, { options }) => {
      let flips = 0;
      const beta = options.momentum ?? 0.9;
      return {
        eval: () => {
          flips++;
          correct.eval();
        },
        train: () => {
          if (flips % 2 === 1) flips++;
          correct.train();
        },
        async parameters() {
          const held = await correct.trainParameters();
          const { tensors } = decodeCheckpoint(await correct.save());
          const mode = await correct.parameters();
          if (flips === 0) return mode;
          return Object.fromEntries(
            Object.entries(held).map(([name, values]) => {
              const z = tensors.get(name)?.z?.data ?? values;
              return [
                name,
                values.map((start, i) => {
                  let v = start;
                  for (let flip = 0; flip < flips; flip++) {
                    const weight = flip % 2 === 0 ? 1 - 1 / beta : 1 - beta;
                    v += weight * (z[i]! - v);
                  }
                  return v;
                }),
              ];
            }),
          );
        },
      };
    },
  ),
  optimizer(
    'reading-moves-y',
    'a function that throws leaves x in the parameters',
    'laws/reading-changes-nothing',
    (correct) => ({
      withEvalParameters: (fn) => {
        correct.eval();
        const result = fn();
        correct.train();
        return result;
      },
    }),
  ),
  optimizer(
    'checkpoint-without-z',
    'z is not saved, and taken to be y on loading',
    'step/schedule-free-m0-v0-decay-none',
    (correct) => ({
      save: async () =>
        rewriteTensors(await correct.save(), (stored) =>
          stored.z ? { ...stored, z: stored.y ?? stored.x! } : stored,
        ),
    }),
  ),
  optimizer(
    'load-without-z',
    'z is saved, but loading starts it at y',
    'checkpoints/going-on-is-as-if-never-stopped-defaults',
    (correct) => ({
      load: (bytes) =>
        correct.load(
          rewriteTensors(bytes, (stored) =>
            stored.z ? { ...stored, z: stored.y ?? stored.x! } : stored,
          ),
        ),
    }),
  ),
  optimizer(
    'load-without-counters',
    'the averaging weights start anew after loading',
    'checkpoints/going-on-is-as-if-never-stopped-defaults',
    (correct) => ({
      load: (bytes) =>
        correct.load(
          rewrite(bytes, ({ groups }) => ({
            groups: groups.map((g) => ({ ...g, scalars: { ...g.scalars, weightSum: 0 } })),
          })),
        ),
    }),
  ),
  optimizer(
    'scalars-in-float32',
    'the sum of weights is kept in float32',
    'laws/scalars-are-kept-in-float64',
    (correct) => ({
      save: async () =>
        rewrite(await correct.save(), ({ groups }) => ({
          groups: groups.map((g) => ({
            ...g,
            scalars: { ...g.scalars, weightSum: Math.fround(g.scalars.weightSum) },
          })),
        })),
    }),
  ),
  optimizer('no-restart', 'restart() does nothing', 'step/restart-resets-the-moments-only', () => ({
    restart: () => {},
  })),
  optimizer(
    'half-a-step-on-error',
    'the good gradients of a bad call are applied before it throws',
    'bad-input/gradient-of-wrong-rank',
    (correct) => ({
      step: async (gradients) => {
        try {
          await correct.step(gradients);
        } catch (error) {
          if (
            error instanceof ScheduleFreeAdanError &&
            error.code === 'wrong-shape' &&
            'w' in gradients
          ) {
            await correct.step({ w: gradients.w! });
          }
          throw error;
        }
      },
    }),
  ),
  optimizer(
    'unknown-names-ignored',
    'a gradient without a parameter is dropped in silence',
    'bad-input/gradient-of-unknown-parameter',
    (correct) => ({
      step: ({ nobody: _, ...gradients }) => correct.step(gradients),
    }),
  ),
];

/** Whether the suite noticed a mutant. */
export interface Verdict {
  readonly mutant: Mutant;
  /** The first check that failed; undefined when the mutant survived. */
  readonly caughtBy: string | undefined;
  readonly message: string;
}

/** Runs the suite on a mutant until a check notices. */
export async function examine(mutant: Mutant): Promise<Verdict> {
  const session = new Session(mutant.target, { runs: 10 });
  for (const check of session.checks) {
    const { status, message } = await session.run(check);
    if (status === 'failed') return { mutant, caughtBy: check.id, message };
  }
  return { mutant, caughtBy: undefined, message: '' };
}
