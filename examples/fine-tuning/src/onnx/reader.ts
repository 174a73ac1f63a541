import { OrtTrainer, type OrtTrainerOptions } from '@schedule-free-adan/onnx';
import {
  decodeModel,
  encodeModel,
  type Model,
  makeNode,
  makeTensor,
} from '@schedule-free-adan/onnx/model';
import { makeTrainable, softmaxCrossEntropy } from '@schedule-free-adan/onnx/trainable';
import {
  type Batch,
  consecutive,
  countRight,
  type Digits,
  readBatch,
} from 'example-digits/batches';
import { epochOrder } from 'example-digits/random';
import { classes } from 'example-digits/settings';
import { batchSize, unfrozenEpochs } from '../settings.js';

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
    epochs: unfrozenEpochs(epochs),
    learningRate: 0.005,
  },
];

export interface Setup extends Pick<OrtTrainerOptions, 'ort' | 'sessionOptions' | 'webgpu'> {
  readonly stages: readonly Stage[];
  readonly seed: number;
  readonly training: Digits;
  readonly test: Digits;
}

/** Where a run is: with what {@link Reader.save} gives, all that is needed to go on. */
export interface RunState {
  /** Shares of the test digits read rightly, by stage: before it, then after each of its epochs. */
  readonly accuracies: number[][];
  /** Steps done in the epoch that is under way, and in all. */
  batch: number;
  steps: number;
}

export interface Saved {
  /** What the present stage began with. */
  readonly model: Uint8Array;
  /** The optimizer's state. */
  readonly checkpoint: Uint8Array;
}

/** What is told, and asked, as training goes on. */
export interface Watch {
  /** Asked after every step and every piece of a test; training ends there when it says true. */
  pause?(): Promise<boolean>;
  /** Before an epoch, or the rest of one, is trained. */
  onEpoch?(stage: Stage, epoch: number): void;
  onStep(loss: number): void;
  /** After the test digits were looked at; the state has their share. */
  onLook(stage: Stage): Promise<void> | void;
}

/** A network on its way through the stages. No Node API is used here, so that a page can train as well. */
export class Reader {
  #model: Model | Uint8Array;
  #checkpoint: Uint8Array | undefined;
  #trainer: OrtTrainer | undefined;
  readonly state: RunState;

  /** @param from the network that is to learn digits, or a run that goes on */
  constructor(
    readonly setup: Setup,
    from: { readonly file: Uint8Array } | (Saved & { readonly state: RunState }),
  ) {
    if ('file' in from) {
      this.#model = withNewHead(from.file);
      this.state = { accuracies: [], batch: 0, steps: 0 };
    } else {
      this.#model = from.model;
      this.#checkpoint = from.checkpoint;
      this.state = from.state;
    }
  }

  /** The trained model, or undefined when `pause` ended it. */
  async train(watch: Watch): Promise<Uint8Array | undefined> {
    const { stages } = this.setup;
    const { accuracies } = this.state;
    for (let i = Math.max(0, accuracies.length - 1); i < stages.length; i++) {
      const stage = stages[i]!;
      accuracies[i] ??= [];
      this.#trainer = await this.#begin(stage);
      if (!(await this.#finish(stage, accuracies[i]!, watch))) return undefined;
      this.#model = await this.#trainer.exportModel();
      await this.dispose();
    }
    return this.#model as Uint8Array;
  }

  /** Where the run is, while a stage is under way. */
  async save(): Promise<Saved> {
    const model = this.#model instanceof Uint8Array ? this.#model : encodeModel(this.#model);
    return { model, checkpoint: await this.#trainer!.save() };
  }

  async dispose(): Promise<void> {
    await this.#trainer?.dispose();
    this.#trainer = undefined;
  }

  async #begin({ trainable, learningRate }: Stage): Promise<OrtTrainer> {
    const { ort, seed, sessionOptions, webgpu } = this.setup;
    const device = { ...(sessionOptions && { sessionOptions }), ...(webgpu && { webgpu }) };
    const made = await makeTrainable(this.#model, {
      ort,
      loss: softmaxCrossEntropy(),
      trainable,
      dimensions: { 'x:2': side, 'x:3': side },
      // The first stage has only new parameters.
      ...(!(this.#model instanceof Uint8Array) && { initialize: seed }),
      ...(sessionOptions && { sessionOptions }),
    });
    const options = { ort, ...made, learningRate, warmupSteps: 10, ...device };
    const trainer = await OrtTrainer.create(options);
    if (this.#checkpoint) await trainer.load(this.#checkpoint);
    this.#checkpoint = undefined;
    return trainer;
  }

  async #finish(stage: Stage, accuracies: number[], watch: Watch): Promise<boolean> {
    while (accuracies.length <= stage.epochs) {
      // The first look is before training.
      const trained =
        accuracies.length === 0 || (await this.#epoch(stage, accuracies.length, watch));
      const accuracy = trained ? await this.#accuracy(watch) : undefined;
      if (accuracy === undefined) return false;
      accuracies.push(accuracy);
      this.state.batch = 0;
      await watch.onLook(stage);
    }
    return true;
  }

  async #epoch(stage: Stage, epoch: number, { pause, onEpoch, onStep }: Watch): Promise<boolean> {
    onEpoch?.(stage, epoch);
    const { ort, seed, training } = this.setup;
    const order = epochOrder(seed, epoch, training.count);
    const batches = batchesIn(training);
    while (this.state.batch < batches) {
      const batch = readBatch(training, order, this.state.batch, batchSize);
      const labels = new ort.Tensor('int32', batch.labels, [batch.size]);
      const { loss } = await this.#trainer!.step({ x: this.#images(batch), labels });
      this.state.batch++;
      this.state.steps++;
      onStep(loss);
      if (await pause?.()) return false;
    }
    return true;
  }

  async #accuracy({ pause }: Watch): Promise<number | undefined> {
    const { test } = this.setup;
    let right = 0;
    for (let from = 0; from < test.count; from += 100) {
      const batch = consecutive(test, from, 100);
      const { logits } = await this.#trainer!.evaluate({ x: this.#images(batch) });
      right += countRight(logits!.data as Float32Array, batch.labels);
      if (await pause?.()) return undefined;
    }
    return right / test.count;
  }

  #images(batch: Batch) {
    return new this.setup.ort.Tensor('float32', asPrint(batch), [batch.size, 3, side, side]);
  }
}

export const batchesIn = ({ count }: Digits): number => Math.ceil(count / batchSize);
