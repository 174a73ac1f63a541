// A forward model in ONNX, its gradients by `makeTrainable`, and all parameters in one flat array.
import { encodeModel, makeNode, makeTensor, makeValueInfo } from '@schedule-free-adan/onnx/model';
import { makeTrainable } from '@schedule-free-adan/onnx/trainable';
import * as ort from 'onnxruntime-node';

const sessionOptions = { intraOpNumThreads: 1, interOpNumThreads: 1, logSeverityLevel: 3 };
const sizeOf = (shape) => shape.reduce((a, b) => a * b, 1);

export const floats = (values, shape) => new ort.Tensor('float32', values, shape);
export const integers = (values, shape) => new ort.Tensor('int32', values, shape);

/** Writes down nodes: `node('MatMul', ['x', 'w'])` gives the name of its output. */
export class GraphBuilder {
  nodes = [];
  constants = [];
  parameters = [];
  node(opType, input, attributes = {}, output = `${opType}:${this.nodes.length}`) {
    this.nodes.push(makeNode(opType, input, [output], attributes));
    return output;
  }
  /** `deviation`: of normal initial values; or a function that fills the array from random numbers. */
  parameter(name, shape, initial) {
    this.parameters.push({ name, shape, initial });
    return name;
  }
  constant(type, shape, values) {
    const name = `constant:${this.constants.length}`;
    this.constants.push(makeTensor(name, type, shape, values));
    return name;
  }
  dense(x, name, from, to, deviation = Math.sqrt(2 / (from + to))) {
    const weights = this.parameter(`${name}.weights`, [from, to], deviation);
    const bias = this.parameter(`${name}.bias`, [to], 0);
    return this.node('Add', [this.node('MatMul', [x, weights]), bias]);
  }
}

/**
 * @param {GraphBuilder} builder holds the forward graph
 * @param inputs [name, element type, shape] of each
 * @param output name and shape of what the loss is taken of
 */
export async function network(builder, { inputs, output, loss, opset = 18 }) {
  const { parameters } = builder;
  const model = {
    irVersion: 8,
    opsetImport: [{ domain: '', version: opset }],
    graph: {
      name: 'task',
      node: builder.nodes,
      initializer: [
        ...builder.constants,
        ...parameters.map(({ name, shape }) =>
          makeTensor(name, 'float32', shape, new Float32Array(sizeOf(shape)).fill(0.01)),
        ),
      ],
      input: inputs.map((input) => makeValueInfo(...input)),
      output: [makeValueInfo(output[0], 'float32', output[1])],
    },
  };
  const names = parameters.map(({ name }) => name);
  const trainable = await makeTrainable(model, { ort, loss, trainable: names, sessionOptions });
  const { graph } = trainable.model;
  const sessionWith = (outputs) =>
    ort.InferenceSession.create(
      encodeModel({
        ...trainable.model,
        graph: {
          ...graph,
          initializer: graph.initializer.filter(({ name }) => !names.includes(name)),
          input: [
            ...graph.input,
            ...parameters.map(({ name, shape }) => makeValueInfo(name, 'float32', shape)),
          ],
          output: outputs,
        },
      }),
      sessionOptions,
    );
  const lossInfo = makeValueInfo(trainable.loss, 'float32', []);
  const training = await sessionWith([
    lossInfo,
    ...parameters.map(({ name, shape }) =>
      makeValueInfo(trainable.gradients[name], 'float32', shape),
    ),
  ]);
  const forward = await sessionWith([lossInfo, makeValueInfo(output[0], 'float32', output[1])]);

  let size = 0;
  const places = parameters.map(({ name, shape }) => {
    const from = size;
    size += sizeOf(shape);
    return { name, shape, from, to: size };
  });
  const feedsOf = (values) =>
    Object.fromEntries(
      places.map(({ name, shape, from, to }) => [name, floats(values.subarray(from, to), shape)]),
    );
  return {
    size,
    /** Initial values out of normal random numbers. */
    initialize(normal) {
      const values = new Float32Array(size);
      places.forEach(({ from, to }, i) => {
        const { initial: deviation } = parameters[i];
        const part = values.subarray(from, to);
        if (typeof deviation === 'function') deviation(part, normal);
        else for (let k = 0; k < part.length; k++) part[k] = deviation * normal();
      });
      return values;
    },
    async lossAndGradient(values, batch, gradient) {
      const results = await training.run({ ...batch, ...feedsOf(values) });
      for (const { name, from } of places) {
        gradient.set(results[trainable.gradients[name]].data, from);
      }
      return results[trainable.loss].data[0];
    },
    /** Loss and output of a batch. */
    async run(values, batch) {
      const results = await forward.run({ ...batch, ...feedsOf(values) });
      return { loss: results[trainable.loss].data[0], output: results[output[0]].data };
    },
  };
}

/** Mean loss and a metric over batches of equal size; `score` gives a batch's metric. */
export async function evaluateOver(batches, values, net, score) {
  let [loss, metric] = [0, 0];
  for (const { feeds, ...batch } of batches) {
    const result = await net.run(values, feeds);
    loss += result.loss / batches.length;
    metric += score(result.output, batch) / batches.length;
  }
  return { loss, metric };
}

/** The share of rows whose largest output is their label's. */
export function accuracy(output, { labels, classes = output.length / labels.length }) {
  let right = 0;
  for (let row = 0; row < labels.length; row++) {
    let best = 0;
    for (let k = 1; k < classes; k++) {
      if (output[row * classes + k] > output[row * classes + best]) best = k;
    }
    if (best === labels[row]) right++;
  }
  return right / labels.length;
}
