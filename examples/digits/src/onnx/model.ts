import {
  type AttributeValue,
  encodeModel,
  makeNode,
  makeTensor,
  makeValueInfo,
  type Node,
} from '@schedule-free-adan/onnx/model';
import { startBackend } from '../backends.js';
import { buildModel } from '../model.js';
import { classes, type ModelName, pixelsPerDigit } from '../settings.js';

interface Weights {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** The initial weights of the demo on tfjs, kernels and biases in the order of the layers. */
async function initialWeights(model: ModelName, seed: number): Promise<Weights[]> {
  await startBackend('cpu');
  const network = buildModel[model]('onnx', seed);
  const weights = network.getWeights().map((weight) => ({
    shape: weight.shape,
    values: Float32Array.from(weight.dataSync()),
  }));
  network.dispose();
  return weights;
}

/** The same values with their axes in another order. */
function transposed({ shape, values }: Weights, axes: readonly number[]): Weights {
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
  const turned = axes.map((axis) => shape[axis]!);
  const result = Float32Array.from(values, (_, index) => {
    let rest = index;
    let from = 0;
    for (let k = axes.length - 1; k >= 0; k--) {
      from += (rest % turned[k]!) * strides[axes[k]!]!;
      rest = Math.floor(rest / turned[k]!);
    }
    return values[from]!;
  });
  return { shape: turned, values: result };
}

const node = (
  opType: string,
  input: string[],
  output: string,
  attributes?: Record<string, AttributeValue>,
) => makeNode(opType, input, [output], attributes);

/** The layers' nodes, and what becomes of tfjs' weights: there, channels come last. */
const graphs: Readonly<
  Record<ModelName, { nodes: Node[]; adapt: (weights: Weights[]) => Record<string, Weights> }>
> = {
  mlp: {
    nodes: [
      node('Gemm', ['images', 'w1', 'b1'], 'sums'),
      node('Relu', ['sums'], 'hidden'),
      node('Gemm', ['hidden', 'w2', 'b2'], 'logits'),
    ],
    adapt: ([w1, b1, w2, b2]) => ({ w1: w1!, b1: b1!, w2: w2!, b2: b2! }),
  },
  cnn: {
    nodes: [
      node('Reshape', ['images', 'square'], 'image'),
      ...[1, 2].flatMap((i) => [
        node('Conv', [i === 1 ? 'image' : 'pool1', `w${i}`, `b${i}`], `conv${i}`),
        node('Relu', [`conv${i}`], `relu${i}`),
        node('MaxPool', [`relu${i}`], `pool${i}`, { kernel_shape: [2, 2], strides: [2, 2] }),
      ]),
      node('Flatten', ['pool2'], 'features'),
      node('Gemm', ['features', 'w3', 'b3'], 'logits'),
    ],
    adapt: ([w1, b1, w2, b2, w3, b3]) => {
      const kernel = (w: Weights) => transposed(w, [3, 2, 0, 1]);
      const features = { shape: [4, 4, 16, classes], values: w3!.values };
      const w = transposed(features, [2, 0, 1, 3]).values;
      return {
        w1: kernel(w1!),
        b1: b1!,
        w2: kernel(w2!),
        b2: b2!,
        w3: { shape: w3!.shape, values: w },
        b3: b3!,
      };
    },
  },
};

/** A forward model as a file, like one that an exporter writes: images [n, 784] to logits [n, 10]. */
export async function forwardModel(name: ModelName, seed: number): Promise<Uint8Array> {
  const { nodes, adapt } = graphs[name];
  const weights = adapt(await initialWeights(name, seed));
  return encodeModel({
    irVersion: 8,
    opsetImport: [{ domain: '', version: 17 }],
    graph: {
      name: `digits ${name}`,
      node: nodes,
      initializer: [
        ...Object.entries(weights).map(([key, { shape, values }]) =>
          makeTensor(key, 'float32', shape, values),
        ),
        ...(name === 'cnn' ? [makeTensor('square', 'int64', [4], [-1, 1, 28, 28])] : []),
      ],
      input: [makeValueInfo('images', 'float32', ['n', pixelsPerDigit])],
      output: [makeValueInfo('logits', 'float32', ['n', classes])],
    },
  });
}
