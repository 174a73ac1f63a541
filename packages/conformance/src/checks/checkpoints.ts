import {
  decodeCheckpoint,
  decodeSafetensors,
  encodeSafetensors,
} from '@schedule-free-adan/core/checkpoints';
import { type Check, ensure, expectError } from '../check.js';
import { referenceTarget } from '../reference-target.js';
import { gradientsFor, type Options, specOf, stepWith } from '../samples.js';
import { compareSnapshots, ensureSameState, Scales, snapshot } from '../state.js';
import type { Target } from '../target.js';

const variants: Record<string, Options> = {
  defaults: {},
  everything: {
    betas: [0.9, 0.92, 0.99],
    learningRate: 0.03,
    maxGradNorm: 1,
    weightDecay: 0.1,
    warmupSteps: 6,
    r: 1,
    groups: [{ parameters: ['vector'], learningRate: 0.1, momentum: 0.8 }],
  },
  'plain-adan': { scheduleFree: false, weightDecay: 0.1 },
};

const each = (id: string, body: (options: Options) => Check['run']): Check[] =>
  Object.entries(variants).map(([name, options]) => ({
    id: `checkpoints/${id}-${name}`,
    tier: 7,
    run: body(options),
  }));

/** Training moves to another target and back, as if it had never left. */
export const crossingChecks = (peer: Target): Check[] =>
  each(`to-${peer.name}-and-back`, (options) => async (context) => {
    const spec = specOf(options, context.seed);
    const gradients = gradientsFor(spec, 10, context.seed);
    const subject = await context.create(spec);
    const other = await context.create(spec, peer);
    const unbroken = await context.create(spec, referenceTarget);
    for (const g of gradients.slice(0, 3)) await stepWith(subject, spec, g);
    await other.load(await subject.save());
    for (const g of gradients.slice(3, 6)) await stepWith(other, spec, g);
    await subject.load(await other.save());
    for (const g of gradients.slice(6)) await stepWith(subject, spec, g);
    for (const g of gradients) await stepWith(unbroken, spec, g);
    const scales = new Scales();
    for (const { name, values } of spec.parameters) scales.update(name, values);
    compareSnapshots(context, await snapshot(subject), await snapshot(unbroken), {
      step: 10,
      scales,
      factor: 2,
      // As precise as the less precise of the two.
      dtype: peer.dtype === 'float32' ? 'float32' : context.dtype,
    });
    const scalars = async (side: typeof subject) =>
      JSON.stringify(decodeCheckpoint(await side.save()).groups.map((g) => g.scalars));
    const [found, expected] = [await scalars(subject), await scalars(unbroken)];
    ensure(found === expected, `the scalars are ${found}, expected ${expected}`);
  });

export const checkpointChecks: readonly Check[] = [
  ...each('going-on-is-as-if-never-stopped', (options) => async (context) => {
    const spec = specOf(options, context.seed);
    const gradients = gradientsFor(spec, 9, context.seed);
    gradients[0] = { ...gradients[0], vector: null };
    for (const stop of [0, 1, 4]) {
      const unbroken = await context.create(spec);
      const stopped = await context.create(spec);
      for (const g of gradients.slice(0, stop)) {
        await stepWith(unbroken, spec, g);
        await stepWith(stopped, spec, g);
      }
      const checkpoint = await stopped.save();
      // The one that goes on starts elsewhere and otherwise: only the checkpoint counts.
      const resumed = await context.create({
        ...specOf(options, context.seed + 1),
        options: { ...options, learningRate: 0.5 },
      });
      await stepWith(resumed, spec, gradients[8]!);
      await resumed.load(checkpoint);
      ensureSameState(checkpoint, await resumed.save(), 'by loading and saving');
      for (const g of gradients.slice(stop)) {
        await stepWith(unbroken, spec, g);
        await stepWith(resumed, spec, g);
        ensureSameState(
          await unbroken.save(),
          await resumed.save(),
          `in a run resumed after step ${stop}`,
        );
      }
      context.cleanUp();
    }
  }),
  {
    id: 'checkpoints/the-same-in-either-mode',
    tier: 7,
    async run(context) {
      const spec = specOf({}, context.seed);
      const subject = await context.create(spec);
      subject.train();
      for (const g of gradientsFor(spec, 2, context.seed)) await stepWith(subject, spec, g);
      const inTrain = await subject.save();
      subject.eval();
      const inEval = await subject.save();
      ensureSameState(inTrain, inEval, 'with the mode in which it was saved');
      await subject.load(inTrain);
      ensureSameState(inTrain, await subject.save(), 'by loading in eval mode');
      subject.train();
      ensureSameState(inTrain, await subject.save(), 'by train() after loading in eval mode');
    },
  },
  {
    id: 'checkpoints/state-is-as-of-the-call',
    tier: 7,
    async run(context) {
      const spec = specOf({ betas: [0.9, 0.92, 0.99] }, context.seed);
      const subject = await context.create(spec);
      const [first, second] = gradientsFor(spec, 2, context.seed);
      await stepWith(subject, spec, first!);
      const before = await subject.save();
      const pending = subject.save();
      await stepWith(subject, spec, second!);
      ensureSameState(before, await pending, 'by a step taken before the promise was resolved');
    },
  },
  {
    id: 'checkpoints/damage-is-noticed',
    tier: 7,
    async run(context) {
      const spec = specOf({}, context.seed);
      const subject = await context.create(spec);
      for (const g of gradientsFor(spec, 2, context.seed)) await stepWith(subject, spec, g);
      const good = await subject.save();
      const same = async (when: string) => ensureSameState(good, await subject.save(), when);
      for (const length of [0, 4, 8, 40, good.length - 1]) {
        await expectError(() => subject.load(good.slice(0, length)), 'invalid-checkpoint');
        await same(`by loading a file cut to ${length} bytes`);
      }
      for (let bit = 0; bit < 8; bit++) {
        const bad = good.slice();
        bad[good.length - 1 - 5 * bit]! ^= 1 << bit;
        await expectError(() => subject.load(bad), 'invalid-checkpoint');
      }
      await same('by loading a file with a wrong bit');
      await expectError(() => subject.load(new Uint8Array(100)), 'invalid-checkpoint');
      const { metadata, tensors } = decodeSafetensors(good);
      const { checksum: _, ...rest } = metadata;
      for (const missing of ['vector.z', 'matrix.n']) {
        const fewer = new Map([...tensors].filter(([name]) => name !== missing));
        const bad = encodeSafetensors({ metadata: rest, tensors: fewer });
        await expectError(() => subject.load(bad), 'invalid-checkpoint', missing);
      }
      const later = encodeSafetensors({
        metadata: { ...rest, format: 'schedule-free-adan/9' },
        tensors,
      });
      await expectError(
        () => subject.load(later),
        'unsupported-checkpoint',
        'schedule-free-adan/9',
      );
      await same('by loading damaged files');
    },
  },
  {
    id: 'checkpoints/of-other-parameters',
    tier: 7,
    async run(context) {
      const spec = specOf({}, context.seed, { w: [3], b: [2] });
      const subject = await context.create(spec);
      const good = await subject.save();
      const others: [
        string,
        Record<string, readonly number[]>,
        'missing-parameter' | 'unknown-parameter' | 'wrong-shape',
        string,
      ][] = [
        ['fewer', { w: [3] }, 'missing-parameter', 'b'],
        ['more', { w: [3], b: [2], c: [1] }, 'unknown-parameter', 'c'],
        ['reshaped', { w: [1, 3], b: [2] }, 'wrong-shape', 'w'],
      ];
      for (const [name, shapes, code, subjectName] of others) {
        const other = await context.create(specOf({}, context.seed, shapes));
        const checkpoint = await other.save();
        await expectError(() => subject.load(checkpoint), code, `'${subjectName}'`);
        ensureSameState(good, await subject.save(), `by a checkpoint with ${name} parameters`);
      }
      const { metadata } = decodeSafetensors(good);
      ensure(metadata.checksum !== undefined, 'the checkpoint has no checksum');
    },
  },
];
