import { type Check, type Context, ensure, expectError } from '../check.js';
import { gradientsFor, type Options, specOf, stepWith } from '../samples.js';

const variants: Record<string, Options> = {
  defaults: {},
  everything: {
    betas: [0.9, 0.92, 0.99],
    maxGradNorm: 1,
    weightDecay: 0.1,
    nonFinite: 'throw',
    groups: [{ parameters: ['vector'], learningRate: 0.1 }],
  },
  'plain-adan': { scheduleFree: false },
};

async function constantMemory(context: Context, options: Options): Promise<void> {
  const spec = specOf(options, context.seed);
  const subject = await context.create(spec);
  const gradients = gradientsFor(spec, 12, context.seed);
  let expected = 0;
  for (const [t, g] of gradients.entries()) {
    await stepWith(subject, spec, t === 5 ? { ...g, vector: null } : g);
    if (t === 7) {
      await subject.evalParameters();
      await subject.trainParameters();
      subject.withEvalParameters(() => {});
      await subject.load(await subject.save());
      await subject.metrics();
    }
    if (t === 9) subject.restart();
    // What an error under 'throw' is made of is kept until somebody reads.
    await subject.metrics();
    const live = subject.liveMemory();
    if (t === 1) expected = live;
    if (t > 1)
      ensure(
        live === expected,
        `${live} tensors live after step ${t + 1}, ${expected} after step 2`,
      );
  }
  ensure(expected > 0, 'no tensor is alive in the middle of training: the count is not right');
}

export const lifecycleChecks: readonly Check[] = [
  ...Object.entries(variants).map(
    ([name, options]): Check => ({
      id: `lifecycle/memory-is-constant-from-step-2-${name}`,
      tier: 6,
      run: (context) => constantMemory(context, options),
    }),
  ),
  ...Object.entries(variants).map(
    ([name, options]): Check => ({
      id: `lifecycle/dispose-frees-everything-${name}`,
      tier: 6,
      async run(context) {
        const spec = specOf(options, context.seed);
        const idle = await context.create(spec);
        idle.dispose();
        const subject = await context.create(spec);
        for (const g of gradientsFor(spec, 3, context.seed)) await stepWith(subject, spec, g);
        // What is still being read is alive until it has arrived.
        await subject.metrics();
        subject.dispose();
        const live = subject.liveMemory();
        ensure(live === 0, `${live} tensors live after dispose()`);
        subject.dispose();
        ensure(subject.liveMemory() === 0, 'a second dispose() made tensors');
      },
    }),
  ),
  {
    id: 'lifecycle/dispose-in-the-other-mode',
    tier: 6,
    async run(context) {
      for (const mode of ['train', 'eval'] as const) {
        const spec = specOf({}, context.seed);
        const subject = await context.create(spec);
        subject.train();
        for (const g of gradientsFor(spec, 2, context.seed)) await stepWith(subject, spec, g);
        subject[mode]();
        subject.dispose();
        const live = subject.liveMemory();
        ensure(live === 0, `${live} tensors live after dispose() in ${mode} mode`);
      }
    },
  },
  {
    id: 'lifecycle/use-after-dispose',
    tier: 6,
    async run(context) {
      const spec = specOf({}, context.seed);
      const subject = await context.create(spec);
      const checkpoint = await subject.save();
      const [gradients] = gradientsFor(spec, 1, context.seed);
      subject.dispose();
      const calls: Record<string, () => unknown> = {
        evalParameters: () => subject.evalParameters(),
        trainParameters: () => subject.trainParameters(),
        modes: () => {
          subject.train();
          subject.eval();
        },
        withEvalParameters: () => subject.withEvalParameters(() => {}),
        restart: () => subject.restart(),
        metrics: () => subject.metrics(),
        save: () => subject.save(),
        load: () => subject.load(checkpoint),
        step: () => stepWith(subject, spec, gradients!),
      };
      for (const [name, call] of Object.entries(calls)) {
        try {
          await expectError(call, 'disposed');
        } catch (error) {
          throw new Error(`${name} after dispose(): ${(error as Error).message}`);
        }
      }
    },
  },
];
