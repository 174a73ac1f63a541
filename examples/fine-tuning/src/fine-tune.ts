import { type ScheduleFreeAdanOptimizer, scheduleFreeAdan } from '@schedule-free-adan/tfjs';
// Or the wasm backend could not train a convolution.
import '@schedule-free-adan/tfjs/convolution-gradients';
import { recalibrateBatchNormalization } from '@schedule-free-adan/tfjs/training';
import * as tf from '@tensorflow/tfjs';
import type { Digits } from 'example-digits/batches';
import { type Backbone, imageSize } from './backbone.js';
import { batchSize, type Result } from './settings.js';

interface Examples {
  readonly features: tf.Tensor4D;
  readonly labels: tf.Tensor1D;
}

/** What the frozen part sees in each digit. It never changes, so once is enough. */
export async function seen(
  { frozen }: Backbone,
  { images, labels }: Digits,
  onBatch: (share: number) => void,
): Promise<Examples> {
  const parts: tf.Tensor4D[] = [];
  const batch = 50;
  for (let from = 0; from < labels.length; from += batch) {
    const count = Math.min(batch, labels.length - from);
    const part = tf.tidy(() => {
      const bytes = images.subarray(from * 784, (from + count) * 784);
      const small = tf.tensor4d(Float32Array.from(bytes), [count, 28, 28, 1]);
      const large = tf.image.resizeBilinear(tf.div(small, 255) as tf.Tensor4D, [
        imageSize,
        imageSize,
      ]);
      return frozen.predict(tf.tile(large, [1, 1, 1, 3])) as tf.Tensor4D;
    });
    parts.push(part);
    onBatch((from + count) / labels.length);
    await tf.nextFrame();
  }
  const features = tf.concat(parts);
  tf.dispose(parts);
  return { features, labels: tf.tensor1d(Float32Array.from(labels)) };
}

/** The part that is trained: the last convolution and a head for ten digits in place of the old one. */
export function withNewHead({ last }: Backbone): tf.LayersModel {
  const input = tf.input({ shape: [3, 3, 320] });
  let output: tf.SymbolicTensor = input;
  for (const layer of last) {
    layer.trainable = false;
    output = layer.apply(output) as tf.SymbolicTensor;
  }
  output = tf.layers.globalAveragePooling2d({}).apply(output) as tf.SymbolicTensor;
  const kernelInitializer = tf.initializers.glorotNormal({ seed: 1 });
  const head = tf.layers.dense({ units: 10, activation: 'softmax', kernelInitializer });
  return tf.model({ inputs: input, outputs: head.apply(output) as tf.SymbolicTensor });
}

/** Trains the new head, then also the last convolution, with one optimizer. */
export async function fineTune(
  backbone: Backbone,
  training: Examples,
  test: Examples,
  epochs: { readonly head: number; readonly unfrozen: number },
  onEpoch: (stage: string, epoch: number, loss: number) => void,
): Promise<Omit<Result, 'seconds'>> {
  const model = withNewHead(backbone);
  const [convolution] = backbone.last;
  const optimizer = scheduleFreeAdan({ learningRate: 0.01, warmupSteps: 20 });
  const accuracy = async (): Promise<number> => {
    // BatchNormalization still has the statistics of photographs, or those of y.
    await recalibrateBatchNormalization(model, [training.features]);
    return tf.tidy(() => {
      const [, value] = model.evaluate(test.features, test.labels) as tf.Scalar[];
      return value!.dataSync()[0]!;
    });
  };
  const fit = async (stage: string, count: number): Promise<number> => {
    // Freezing and unfreezing takes effect here; the optimizer keeps the state of every variable.
    model.compile({ optimizer, loss: 'sparseCategoricalCrossentropy', metrics: ['accuracy'] });
    await model.fit(training.features, training.labels, {
      epochs: count,
      batchSize,
      verbose: 0,
      callbacks: { onEpochEnd: (epoch, logs) => onEpoch(stage, epoch + 1, logs!.loss!) },
    });
    return accuracy();
  };

  model.compile({ optimizer, loss: 'sparseCategoricalCrossentropy', metrics: ['accuracy'] });
  const before = await accuracy();
  const head = await fit('head', epochs.head);
  convolution!.trainable = true;
  optimizer.learningRate = 0.003;
  const unfrozen = await fit('last convolution', epochs.unfrozen);
  dispose(optimizer, model);
  return { before, head, unfrozen };
}

function dispose(optimizer: ScheduleFreeAdanOptimizer, model: tf.LayersModel) {
  optimizer.dispose();
  model.dispose();
}
