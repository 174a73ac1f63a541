// What BatchNormalization and Dropout in training form do to a trainer: the same calls on every runtime.
import { decodeSafetensors } from '@schedule-free-adan/core/checkpoints';
import { OrtTrainer } from '@schedule-free-adan/onnx';
import { makeNode, makeTensor, makeValueInfo } from '@schedule-free-adan/onnx/model';
import { makeTrainable, meanSquaredError } from '@schedule-free-adan/onnx/trainable';
import { noise } from './noise.mjs';

/** [n, 4] · w, normalized by the batch: momentum 0.8; then · v. */
export function normalizedModel() {
  const tensor = (name, shape, seed) => {
    const size = shape.reduce((a, b) => a * b, 1);
    return makeTensor(name, 'float32', shape, noise(size, seed));
  };
  const channels = (name, value) => makeTensor(name, 'float32', [3], [value, value, value]);
  return {
    irVersion: 8,
    opsetImport: [{ domain: '', version: 15 }],
    graph: {
      name: 'normalized',
      node: [
        makeNode('MatMul', ['x', 'w'], ['a']),
        makeNode(
          'BatchNormalization',
          ['a', 'bn.weight', 'bn.bias', 'bn.running_mean', 'bn.running_var'],
          ['b', 'mean now', 'variance now'],
          { training_mode: 1, momentum: { f: 0.8 }, epsilon: { f: 0.001 } },
          { name: 'bn' },
        ),
        makeNode('MatMul', ['b', 'v'], ['y']),
      ],
      initializer: [
        tensor('w', [4, 3], 1),
        tensor('v', [3, 2], 2),
        channels('bn.weight', 1),
        channels('bn.bias', 0),
        channels('bn.running_mean', 0.25),
        channels('bn.running_var', 2),
      ],
      input: [makeValueInfo('x', 'float32', ['n', 4])],
      output: [makeValueInfo('y', 'float32', ['n', 2])],
    },
  };
}

/** Batch t: n rows of x, and what they are to give. */
export const batchOf = (t, n = 6) => ({
  x: noise(4 * n, 10 + t).map((v) => 3 * v + 1),
  target: noise(2 * n, 50 + t),
});
const feedsOf = (ort, { x, target }) => ({
  x: new ort.Tensor('float32', x, [x.length / 4, 4]),
  target: new ort.Tensor('float32', target, [target.length / 2, 2]),
});
const plain = (tensors) =>
  Object.fromEntries(Object.entries(tensors).map(([name, data]) => [name, [...data]]));

/** Parameters at y before each step, what is carried after it, and what comes of it in the end. */
export async function runNormalized(ort, form, more = {}) {
  const trainable = await makeTrainable(normalizedModel(), { ort, loss: meanSquaredError() });
  const create = () => OrtTrainer.create({ ort, ...trainable, form, learningRate: 0.1, ...more });
  const trainer = await create();
  const feeds = (t, n) => feedsOf(ort, batchOf(t, n));
  const carried = (checkpoint) => {
    const tensors = decodeSafetensors(checkpoint).tensors;
    const found = [...tensors].filter(([name]) => name.endsWith('.carried'));
    return plain(Object.fromEntries(found.map(([name, { data }]) => [name.slice(0, -8), data])));
  };
  const bad = feeds(9);
  bad.x.data[5] = Number.NaN;
  const points = [];
  const after = [];
  let middle;
  for (const batches of [feeds(0), [feeds(1), feeds(2, 9)], bad, feeds(3)]) {
    points.push(plain(await trainer.trainParameters()));
    await trainer.step(batches);
    const checkpoint = await trainer.save();
    middle ??= checkpoint;
    after.push(carried(checkpoint));
  }
  const end = await trainer.save();
  const { skippedSteps } = await trainer.metrics();
  const resumed = await create();
  await resumed.load(middle);
  for (const batches of [[feeds(1), feeds(2, 9)], bad, feeds(3)]) await resumed.step(batches);
  const same = String(await resumed.save()) === String(end);
  await resumed.dispose();

  const x = plain(await trainer.evalParameters());
  const probe = { x: feeds(4).x };
  const evaluated = [...(await trainer.evaluate(probe)).y.data];
  const session = await ort.InferenceSession.create(await trainer.exportModel());
  const exported = [...(await session.run(probe)).y.data];
  await session.release();
  const count = await trainer.recalibrate([feeds(5), { x: feeds(6, 9).x }]);
  const recalibrated = carried(await trainer.save());
  const again = [...(await trainer.evaluate(probe)).y.data];
  const { stateBytes } = trainer;
  await trainer.dispose();
  return {
    points,
    after,
    same,
    skippedSteps,
    x,
    evaluated,
    exported,
    count,
    recalibrated,
    again,
    stateBytes,
  };
}

/** What Dropout leaves of [n, 2, 40] numbers, step by step; and when it is evaluated. */
export async function runDropout(ort, form, more = {}) {
  const model = {
    irVersion: 8,
    opsetImport: [{ domain: '', version: 13 }],
    graph: {
      name: 'dropout',
      node: [
        makeNode('Mul', ['x', 'w'], ['a']),
        makeNode('Dropout', ['a', 'ratio', 'mode'], ['b']),
        makeNode('Identity', ['b'], ['y']),
      ],
      initializer: [
        makeTensor('w', 'float32', [40], new Float32Array(40).fill(1)),
        makeTensor('ratio', 'float32', [], [0.25]),
        makeTensor('mode', 'bool', [], [1]),
      ],
      input: [makeValueInfo('x', 'float32', ['n', 2, 40])],
      output: [makeValueInfo('y', 'float32', ['n', 2, 40])],
    },
  };
  const trainable = await makeTrainable(model, { ort, loss: meanSquaredError(), seed: 7 });
  const create = () => OrtTrainer.create({ ort, ...trainable, form, learningRate: 0, ...more });
  const feeds = (n) => ({
    x: new ort.Tensor('float32', new Float32Array(80 * n).fill(1), [n, 2, 40]),
    target: new ort.Tensor('float32', new Float32Array(80 * n), [n, 2, 40]),
  });
  const trainer = await create();
  const steps = [];
  const step = async (of, batches) => steps.push([...(await of.step(batches)).outputs.y.data]);
  await step(trainer, feeds(3));
  await step(trainer, [feeds(2), feeds(3)]);
  const resumed = await create();
  await resumed.load(await trainer.save());
  await step(trainer, feeds(3));
  await step(resumed, feeds(3));
  await resumed.dispose();
  const { x } = feeds(3);
  const evaluated = [...(await trainer.evaluate({ x })).y.data];
  await trainer.dispose();
  return { steps, evaluated };
}
