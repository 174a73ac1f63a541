// Whole training steps of the demo's models, from a forward .onnx, against tfjs on its wasm backend with
// tf.train.adam: the same weights to begin with, the same batches, both on one thread and in turns. And
// what the backward pass costs over the forward one, by operator.
import { encodeModel, makeNode, makeTensor, makeValueInfo } from '@schedule-free-adan/onnx/model';
import { makeTrainable } from '@schedule-free-adan/onnx/trainable';
import * as tf from '@tensorflow/tfjs-core';
import { startBackend } from '../examples/digits/dist/backends.js';
import { consecutive } from '../examples/digits/dist/batches.js';
import { readDigits } from '../examples/digits/dist/data.js';
import { batchLoss, buildModel, variablesOf } from '../examples/digits/dist/model.js';
import { forwardModel } from '../examples/digits/dist/onnx/model.js';
import { OnnxNetwork } from '../examples/digits/dist/onnx/network.js';
import { compare } from './bench.mjs';

const batchSize = 64;
const models = {
  mlp: { name: '784-128-10', steps: 50 },
  cnn: { name: 'two convolutions', steps: 10 },
};

/** Milliseconds of a step, over so many; each has a batch of its own. */
const timed = (batches, steps, step) => {
  let next = 0;
  return async () => {
    const start = performance.now();
    for (let i = 0; i < steps; i++) await step(batches[next++ % batches.length]);
    return (performance.now() - start) / steps;
  };
};

export async function measureTraining({ backend, ort, sessionOptions }, rounds, report) {
  const digits = readDigits('train', 100 * batchSize);
  const batches = Array.from({ length: 100 }, (_, i) =>
    consecutive(digits, i * batchSize, batchSize),
  );
  for (const [model, { name, steps }] of Object.entries(models)) {
    const network = await OnnxNetwork.create(await forwardModel(model, 1), {
      ort,
      sessionOptions,
      learningRate: 0.003,
    });
    await startBackend('wasm');
    const layers = buildModel[model]('adam', 1);
    const variables = variablesOf(layers);
    const adam = tf.train.adam(0.003);
    // Both tell the loss of every step.
    const adamStep = (batch) => {
      const loss = adam.minimize(() => batchLoss(layers, batch), true, variables);
      const value = loss.dataSync()[0];
      loss.dispose();
      return value;
    };
    const measured = await compare(
      timed(batches, steps, (batch) => network.step(batch)),
      timed(batches, steps, adamStep),
      rounds,
    );
    report({
      case: `training step, ${model} ${name}, batch ${batchSize}`,
      backend,
      against: 'tfjs-wasm, tf.train.adam',
      ...measured,
    });
    await network.dispose();
    adam.dispose();
    layers.dispose();
  }
}

const operator = (opType, inputs, attributes = {}) => ({ opType, inputs, attributes });
const image = [16, 16, 32, 32];
const rows = [256, 256];
/** Operators at sizes that models have: shapes of the values that gradients are taken of. */
const operators = [
  operator('MatMul', [rows, rows]),
  operator('Gemm', [rows, rows, [256]], { transB: 1 }),
  operator('Add', [image, [16, 1, 1]]),
  operator('Mul', [image, image]),
  operator('Div', [image, image]),
  operator('Relu', [image]),
  operator('Sigmoid', [image]),
  operator('Tanh', [image]),
  operator('Erf', [image]),
  operator('HardSwish', [image]),
  operator('Softmax', [rows]),
  operator('LayerNormalization', [rows, [256], [256]]),
  operator('InstanceNormalization', [image, [16], [16]]),
  operator('Conv', [image, [16, 16, 3, 3], [16]], { pads: [1, 1, 1, 1] }),
  operator('Conv', [image, [32, 16, 3, 3], [32]], { pads: [1, 1, 1, 1], strides: [2, 2] }),
  operator('Conv', [image, [32, 16, 1, 1], [32]]),
  operator('Conv', [image, [16, 1, 3, 3], [16]], { pads: [1, 1, 1, 1], group: 16 }),
  operator('ConvTranspose', [image, [16, 8, 2, 2], [8]], { strides: [2, 2] }),
  operator('MaxPool', [image], { kernel_shape: [2, 2], strides: [2, 2] }),
  operator('MaxPool', [image], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] }),
  operator('AveragePool', [image], { kernel_shape: [2, 2], strides: [2, 2] }),
  operator('GlobalAveragePool', [image]),
  operator('Transpose', [image], { perm: [0, 2, 3, 1] }),
  operator('Concat', [image, image], { axis: 1 }),
  operator('ReduceMean', [image], { keepdims: 1 }),
];

const values = (shape, seed) =>
  Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => 1 + Math.sin(i + seed));

/** The forward model of an operator, and that with its gradients; what is differentiated is fed. */
async function bothWays(ort, { opType, inputs, attributes }) {
  const names = inputs.map((_, i) => `x${i}`);
  const trainable = await makeTrainable(
    {
      irVersion: 8,
      opsetImport: [{ domain: '', version: 18 }],
      graph: {
        name: opType,
        node: [
          makeNode(opType, names, ['y'], attributes),
          makeNode('ReduceMean', ['y'], ['loss'], { keepdims: 0 }),
        ],
        initializer: inputs.map((shape, i) =>
          makeTensor(names[i], 'float32', shape, values(shape, i)),
        ),
        input: [],
        output: [makeValueInfo('loss', 'float32', [])],
      },
    },
    { ort, loss: 'loss' },
  );
  const fed = (model, outputs) => ({
    ...model,
    graph: {
      ...model.graph,
      initializer: model.graph.initializer.filter(({ name }) => !names.includes(name)),
      input: inputs.map((shape, i) => makeValueInfo(names[i], 'float32', shape)),
      output: ['loss', ...outputs].map((name) => ({ name })),
    },
  });
  const feeds = inputs.map((shape, i) => [
    names[i],
    new ort.Tensor('float32', values(shape, i), shape),
  ]);
  return {
    models: [fed(trainable.forward, []), fed(trainable.model, Object.values(trainable.gradients))],
    feeds: Object.fromEntries(feeds),
  };
}

/** What gradients with respect to all inputs add to an operator's run, as a multiple of that run. */
export async function measureBackward({ backend, ort, sessionOptions }, rounds, report) {
  for (const one of operators) {
    const { models, feeds } = await bothWays(ort, one);
    const sessions = [];
    for (const model of models) {
      sessions.push(await ort.InferenceSession.create(encodeModel(model), sessionOptions));
    }
    // A forward run may take microseconds: as many at a time as 20 ms have room for.
    const run = (session, steps) => timed([feeds], steps, (f) => session.run(f));
    await run(sessions[0], 3)();
    const steps = Math.ceil(Math.min(200, 20 / (await run(sessions[0], 3)())));
    const [forward, both] = sessions.map((session) => run(session, steps));
    const { ratio, milliseconds } = await compare(both, forward, rounds);
    const { opType, inputs, attributes } = one;
    const shown = Object.entries(attributes).map(([name, value]) => `${name} ${value}`);
    const less = (values) => Object.fromEntries(Object.entries(values).map(([k, v]) => [k, v - 1]));
    report({
      case: [`backward of ${opType} ${inputs.map((s) => s.join('×')).join(' ')}`, ...shown].join(
        ', ',
      ),
      backend,
      against: 'its forward run',
      ratio: less(ratio),
      milliseconds: [milliseconds[0] - milliseconds[1], milliseconds[1]],
    });
    for (const session of sessions) await session.release();
  }
}
