import { type OrtModule, OrtTrainer, type OrtTrainerOptions } from '@schedule-free-adan/onnx';
import { decodeModel, type Model, makeNode, makeTensor } from '@schedule-free-adan/onnx/model';
import { makeTrainable, softmaxCrossEntropy } from '@schedule-free-adan/onnx/trainable';
import {
  type Batch,
  consecutive,
  countRight,
  type Digits,
  readBatch,
} from 'example-digits/batches';
import { epochOrder } from 'example-digits/random';
import { batchSize, classes } from 'example-digits/settings';

/** Pixels of an image's side. The network was made for lines of text; its convolutions take any size. */
const side = 48;

/**
 * The network with a head for ten digits in place of its own, which told upright text from text upside
 * down: the last matrix and its bias are replaced, and the softmax behind them goes.
 */
export function withNewHead(file: Uint8Array): Model {
  const model = decodeModel(file);
  const nodes = model.graph!.node!;
  const softmax = nodes.find(({ opType }) => opType === 'Softmax')!;
  const made = (value: string) => nodes.find(({ output }) => output?.includes(value))!;
  const add = made(softmax.input![0]!);
  const product = made(add.input![0]!);
  const [features, weight] = product.input as [string, string];
  const old = [made(weight), made(add.input![1]!)];
  const width = Number(old[0]!.attribute![0]!.t!.dims![0]);
  const head = [
    makeNode('MatMul', [features, 'head.weight'], ['head.product']),
    makeNode('Add', ['head.product', 'head.bias'], ['logits']),
  ];
  const zeros = (name: string, shape: number[]) =>
    makeTensor(name, 'float32', shape, new Float32Array(shape.reduce((a, b) => a * b, 1)));
  return {
    ...model,
    graph: {
      ...model.graph,
      node: [...nodes.filter((node) => ![softmax, add, product, ...old].includes(node)), ...head],
      initializer: [zeros('head.weight', [width, classes]), zeros('head.bias', [classes])],
      output: [{ name: 'logits', type: { tensorType: { elemType: 1 } } }],
    },
  };
}

/** Dark on light as print is, larger, three channels, from -1 to 1. */
export function asPrint({ size, pixels }: Batch): Float32Array {
  const images = new Float32Array(size * 3 * side * side);
  for (let n = 0; n < size; n++) {
    for (let row = 0; row < side; row++) {
      for (let column = 0; column < side; column++) {
        // Bilinear, pixel centres on pixel centres.
        const at = (place: number) => Math.min(Math.max(((place + 0.5) * 28) / side - 0.5, 0), 27);
        const [y, x] = [at(row), at(column)];
        const [top, left] = [Math.min(Math.floor(y), 26), Math.min(Math.floor(x), 26)];
        const pixel = (i: number, k: number) => pixels[n * 784 + (top + i) * 28 + left + k]!;
        const [v, h] = [y - top, x - left];
        const value =
          (1 - v) * ((1 - h) * pixel(0, 0) + h * pixel(0, 1)) +
          v * ((1 - h) * pixel(1, 0) + h * pixel(1, 1));
        for (let channel = 0; channel < 3; channel++) {
          images[((n * 3 + channel) * side + row) * side + column] = 1 - 2 * value;
        }
      }
    }
  }
  return images;
}

export interface Stage {
  readonly title: string;
  /** Which initializers are trained. */
  readonly trainable: RegExp;
  readonly epochs: number;
  readonly learningRate: number;
}

/** What is trained in turn: first what is new. */
export const stages = (epochs: number): readonly Stage[] => [
  { title: 'head', trainable: /^head/, epochs, learningRate: 0.03 },
  {
    title: 'whole network',
    trainable: /^(head|conv|batch_norm_\d+\.[wb]_0)/,
    epochs: Math.ceil(epochs / 2),
    learningRate: 0.005,
  },
];

export interface Training {
  readonly seed: number;
  readonly onStage: (stage: Stage) => void;
  readonly onStep: (loss: number) => Promise<void> | void;
  readonly onEpoch: (accuracy: number) => Promise<void> | void;
}

/** One stage, from a model to the model trained further. No Node API is used here, so that a page can. */
export async function trainStage(
  ort: OrtModule,
  model: Model | Uint8Array,
  stage: Stage,
  training: Digits,
  test: Digits,
  { seed, onStage, onStep, onEpoch }: Training,
  options: Pick<OrtTrainerOptions, 'sessionOptions' | 'webgpu'> = {},
): Promise<Uint8Array> {
  const trainable = await makeTrainable(model, {
    ort,
    loss: softmaxCrossEntropy(),
    trainable: stage.trainable,
    dimensions: { 'x:2': side, 'x:3': side },
    // The first stage has only new parameters.
    ...(model instanceof Uint8Array ? {} : { initialize: seed }),
    ...(options.sessionOptions && { sessionOptions: options.sessionOptions }),
  });
  const { learningRate } = stage;
  const trainer = await OrtTrainer.create({
    ort,
    ...trainable,
    learningRate,
    warmupSteps: 10,
    ...options,
  });
  const images = (batch: Batch) =>
    new ort.Tensor('float32', asPrint(batch), [batch.size, 3, side, side]);
  const accuracy = async () => {
    let right = 0;
    for (let from = 0; from < test.count; from += 100) {
      const batch = consecutive(test, from, 100);
      const { logits } = await trainer.evaluate({ x: images(batch) });
      right += countRight(logits!.data as Float32Array, batch.labels);
    }
    return right / test.count;
  };
  onStage(stage);
  await onEpoch(await accuracy());
  for (let epoch = 1; epoch <= stage.epochs; epoch++) {
    const order = epochOrder(seed, epoch, training.count);
    for (let i = 0; i < Math.ceil(training.count / batchSize); i++) {
      const batch = readBatch(training, order, i);
      const labels = new ort.Tensor('int32', batch.labels, [batch.size]);
      const { loss } = await trainer.step({ x: images(batch), labels });
      await onStep(loss);
    }
    await onEpoch(await accuracy());
  }
  const trained = await trainer.exportModel();
  await trainer.dispose();
  return trained;
}
