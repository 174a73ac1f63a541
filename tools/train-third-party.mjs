// Trains one model of the zoo for some steps, on a fixed batch and a fixed target.
import { OnnxModelError, OrtTrainer } from '@schedule-free-adan/onnx';
import { decodeModel, encodeModel } from '@schedule-free-adan/onnx/model';
import {
  binaryCrossEntropy,
  makeTrainable,
  meanSquaredError,
} from '@schedule-free-adan/onnx/trainable';
import { randomNumbers } from '../packages/conformance/dist/samples.js';
import { nameOf, readModel, zoo } from './model-zoo.mjs';

export { nameOf, zoo };

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
const meanOf = (values) => values.reduce((a, b) => a + b, 0) / values.length;
const meanSquare = (a, b) => meanOf(Array.from(a, (v, i) => (v - b[i]) ** 2));

/** The losses: what they are called, what they ask of a model, and how they are told on the host. */
const squares = {
  name: 'mean squared error',
  make: (output) => meanSquaredError({ output }),
  /** The output itself, and noise of its own size. */
  target(output, random) {
    const mean = meanOf(output);
    const deviation =
      Math.sqrt(
        meanSquare(
          output,
          output.map(() => mean),
        ),
      ) ||
      Math.abs(mean) ||
      1;
    return output.map((v) => v + deviation * (2 * random() - 1));
  },
  value: (output, target) => meanSquare(target, output),
};
const binary = (logits) => {
  const middle = logits ? 0 : 0.5;
  return {
    name: 'binary cross-entropy',
    make: (output) => binaryCrossEntropy({ output, logits }),
    /** The first decision turned round, and half of the others. */
    target: (output, random) =>
      output.map((v, i) => Number(i === 0 || random() < 0.5 ? v < middle : v >= middle)),
    value: (output, target) =>
      meanOf(
        Array.from(output, (v, i) => {
          if (logits) return Math.max(v, 0) - v * target[i] + Math.log1p(Math.exp(-Math.abs(v)));
          const likely = target[i] === 1 ? v : 1 - v;
          return -Math.log(Math.min(Math.max(likely, 1e-7), 1 - 1e-7));
        }),
      ),
  };
};

/** The float inputs of a model, which are not initializers, with the extents that the zoo gives them. */
function feedsOf(ort, { graph }, { feeds, dimensions = {} }, random) {
  const held = new Set((graph.initializer ?? []).map(({ name }) => name));
  return Object.fromEntries(
    graph.input
      .filter(({ name }) => !held.has(name))
      .map(({ name, type }) => {
        const shape = type.tensorType.shape.dim.map(({ dimValue, dimParam }, axis) =>
          Number(dimensions[`${name}:${axis}`] ?? dimensions[dimParam] ?? (dimValue || 1)),
        );
        return [name, new ort.Tensor('float32', feeds(random, shape), shape)];
      }),
  );
}

async function timed(steps, run) {
  const times = [];
  let result;
  for (let i = 0; i < steps; i++) {
    const start = performance.now();
    result = await run();
    times.push(performance.now() - start);
  }
  return [median(times), result];
}

/**
 * What a model is, and whether its loss went down, on one batch and a target that is not what it says.
 * `trainingForm` is passed on to `makeTrainable`.
 */
export async function trainThirdParty(
  entry,
  { ort, sessionOptions = {}, steps = 20, learningRate, trainingForm },
) {
  const bytes = readModel(entry);
  const model = decodeModel(bytes);
  const nodes = model.graph.node ?? [];
  const about = {
    package: entry.package,
    model: nameOf(entry),
    bytes: bytes.length,
    nodes: nodes.length,
    operators: [...new Set(nodes.map(({ opType }) => opType))].sort(),
  };
  const told = entry.output ?? model.graph.output[0].name;
  // Of a sigmoid, the logits: it is flat where a model is sure.
  const last = entry.probabilities && nodes.find(({ output: [name] }) => name === told);
  const logits = last?.opType === 'Sigmoid';
  const output = logits ? last.input[0] : told;
  const loss = entry.probabilities ? binary(logits) : squares;
  const rate = entry.learningRate ?? learningRate;
  try {
    const trainable = await makeTrainable(model, {
      ort,
      loss: loss.make(output),
      ...(entry.dimensions && { dimensions: entry.dimensions }),
      ...(entry.trainable && { trainable: entry.trainable }),
      ...(trainingForm && { trainingForm }),
      sessionOptions,
    });
    const random = randomNumbers(1);
    const feeds = feedsOf(ort, model, entry, random);
    const { forward } = trainable;
    const whole = { ...forward, graph: { ...forward.graph, output: [{ name: output }] } };
    const session = await ort.InferenceSession.create(encodeModel(whole), sessionOptions);
    const [forwardTime, results] = await timed(5, () => session.run(feeds));
    await session.release();
    const { data: before, dims } = results[output];
    const target = loss.target(before, random);
    const trainer = await OrtTrainer.create({
      ort,
      ...trainable,
      forward: whole,
      learningRate: rate,
      sessionOptions,
    });
    const all = { ...feeds, target: new ort.Tensor('float32', target, dims) };
    const [stepTime] = await timed(steps, () => trainer.step(all));
    // There is one batch: statistics over it are what training sees.
    if (trainingForm) await trainer.recalibrate([all]);
    const { [output]: after } = await trainer.evaluate(feeds);
    const parameters = Object.values(await trainer.evalParameters());
    await trainer.dispose();
    return {
      ...about,
      trained: {
        output,
        loss: loss.name,
        parameters: parameters.length,
        numbers: parameters.reduce((n, p) => n + p.length, 0),
        learningRate: rate,
        steps,
      },
      loss: { before: loss.value(before, target), after: loss.value(after.data, target) },
      milliseconds: { step: stepTime, forward: forwardTime },
    };
  } catch (error) {
    if (!(error instanceof OnnxModelError)) throw error;
    return { ...about, refused: { code: error.code, message: error.message } };
  }
}
