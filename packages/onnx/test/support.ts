import { noise } from '../conformance/noise.mjs';
import type { AttributeValue, Model } from '../src/model/index.js';
import { makeNode, makeTensor, makeValueInfo } from '../src/model/index.js';

export { noise };

const node = (
  opType: string,
  input: string[],
  output: string,
  attributes?: Record<string, AttributeValue>,
) => makeNode(opType, input, [output], attributes);

/** Layers of the digits network, with weights that every runtime can be given. */
export const sizes = [784, 64, 10] as const;
export const batchSize = 64;
export function initialWeights(): Record<string, { shape: number[]; values: Float32Array }> {
  const [inputs, hidden, classes] = sizes;
  const scaled = (length: number, seed: number, scale: number) =>
    noise(length, seed).map((v) => v * scale);
  return {
    w1: { shape: [inputs, hidden], values: scaled(inputs * hidden, 1, 0.08) },
    b1: { shape: [hidden], values: scaled(hidden, 2, 0.01) },
    w2: { shape: [hidden, classes], values: scaled(hidden * classes, 3, 0.25) },
    b2: { shape: [classes], values: scaled(classes, 4, 0.01) },
  };
}

export const gradients = { w1: 'd w1', b1: 'd b1', w2: 'd w2', b2: 'd b2' };

/** 784-64-10 with softmax cross entropy, and its gradients, by hand. `labels` are one-hot. */
export function digitsModel(): Model {
  const [inputs, hidden, classes] = sizes;
  const weights = initialWeights();
  const nodes = [
    node('MatMul', ['images', 'w1'], 'a'),
    node('Add', ['a', 'b1'], 'pre'),
    node('Relu', ['pre'], 'h'),
    node('MatMul', ['h', 'w2'], 'c'),
    node('Add', ['c', 'b2'], 'logits'),
    node('LogSoftmax', ['logits'], 'logp', { axis: 1 }),
    node('Mul', ['logp', 'labels'], 'picked'),
    node('ReduceSum', ['picked'], 'sum', { keepdims: 0 }),
    node('Mul', ['sum', '-1/n'], 'loss'),
    node('Exp', ['logp'], 'p'),
    node('Sub', ['p', 'labels'], 'difference'),
    node('Mul', ['difference', '1/n'], 'd logits'),
    node('Transpose', ['h'], 'hT', { perm: [1, 0] }),
    node('MatMul', ['hT', 'd logits'], 'd w2'),
    node('ReduceSum', ['d logits', 'axis 0'], 'd b2', { keepdims: 0 }),
    node('Transpose', ['w2'], 'w2T', { perm: [1, 0] }),
    node('MatMul', ['d logits', 'w2T'], 'd h'),
    node('Greater', ['pre', 'zero'], 'open'),
    node('Where', ['open', 'd h', 'zero'], 'd pre'),
    node('Transpose', ['images'], 'imagesT', { perm: [1, 0] }),
    node('MatMul', ['imagesT', 'd pre'], 'd w1'),
    node('ReduceSum', ['d pre', 'axis 0'], 'd b1', { keepdims: 0 }),
  ];
  return {
    irVersion: 8,
    graph: {
      name: 'digits',
      node: nodes,
      initializer: [
        ...Object.entries(weights).map(([name, { shape, values }]) =>
          makeTensor(name, 'float32', shape, values),
        ),
        makeTensor('-1/n', 'float32', [], [-1 / batchSize]),
        makeTensor('1/n', 'float32', [], [1 / batchSize]),
        makeTensor('zero', 'float32', [], [0]),
        makeTensor('axis 0', 'int64', [1], [0]),
      ],
      input: [
        makeValueInfo('images', 'float32', [batchSize, inputs]),
        makeValueInfo('labels', 'float32', [batchSize, classes]),
      ],
      output: [
        makeValueInfo('loss', 'float32', []),
        makeValueInfo('logits', 'float32', [batchSize, classes]),
        makeValueInfo('d w1', 'float32', [inputs, hidden]),
        makeValueInfo('d b1', 'float32', [hidden]),
        makeValueInfo('d w2', 'float32', [hidden, classes]),
        makeValueInfo('d b2', 'float32', [classes]),
      ],
    },
    opsetImport: [{ domain: '', version: 13 }],
  };
}
