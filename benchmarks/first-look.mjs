// Test loss of one Schedule-Free Adan run read at several horizons: 8,000 MNIST digits, 784-128-128-10,
// batch 64, three seeds. It tells whether the defaults (betas, momentum, decay at y) still train.
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { scheduleFreeAdan } from '@schedule-free-adan/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import { initializers, layers, sequential } from '@tensorflow/tfjs-layers';
import { startBackend } from '../examples/digits/dist/backends.js';
import { readDigits } from '../examples/digits/dist/data.js';

const { values: options } = parseArgs({
  options: {
    json: { type: 'string' },
    seeds: { type: 'string', default: '3' },
    digits: { type: 'string', default: '8000' },
  },
});
const seeds = Number(options.seeds);
const digits = Number(options.digits);
if (!(seeds >= 1 && digits >= 64 && digits <= 60_000)) {
  console.error('--seeds must be at least 1, --digits between 64 and 60000');
  process.exit(2);
}

const horizons = [1, 3, 5, 10];
const settings = [
  { learningRate: 0.02, weightDecay: 0.1, warmupSteps: 60 },
  { learningRate: 0.01, weightDecay: 0.3, warmupSteps: 60 },
];

await startBackend('wasm');
const tensors = ({ images, labels, count }) => ({
  images: tf.tensor2d(
    Float32Array.from(images, (byte) => byte / 255),
    [count, 784],
  ),
  labels: tf.cast(tf.oneHot(tf.tensor1d(labels, 'int32'), 10), 'float32'),
});
const [train, test] = [tensors(readDigits('train', digits)), tensors(readDigits('t10k'))];

function makeModel(seed) {
  const dense = (units, i, more) =>
    layers.dense({
      units,
      kernelInitializer: initializers.glorotNormal({ seed: 10 * seed + i }),
      ...more,
    });
  return sequential({
    layers: [
      dense(128, 1, { activation: 'relu', inputShape: [784] }),
      dense(128, 2, { activation: 'relu' }),
      dense(10, 3),
    ],
  });
}

const lossOf = (model, { images, labels }) =>
  tf.losses.softmaxCrossEntropy(labels, model.apply(images));

/** Test losses at x after each horizon. */
function run(setting, seed) {
  const model = makeModel(seed);
  const optimizer = scheduleFreeAdan(setting);
  const losses = [];
  for (let epoch = 1; epoch <= horizons.at(-1); epoch++) {
    const order = tf.util.createShuffledIndices(digits);
    for (let start = 0; start < digits; start += 64) {
      tf.tidy(() => {
        const rows = tf.tensor1d(Int32Array.from(order.slice(start, start + 64)), 'int32');
        const batch = {
          images: tf.gather(train.images, rows),
          labels: tf.gather(train.labels, rows),
        };
        optimizer.minimize(() => lossOf(model, batch));
      });
    }
    if (horizons.includes(epoch)) {
      losses.push(tf.tidy(() => lossOf(model, test).dataSync()[0]));
    }
  }
  optimizer.dispose();
  model.dispose();
  return losses;
}

const rows = [];
for (const setting of settings) {
  const runs = [];
  for (let seed = 1; seed <= seeds; seed++) {
    runs.push(run(setting, seed));
    console.log(
      JSON.stringify(setting),
      `seed ${seed}:`,
      runs
        .at(-1)
        .map((l) => l.toFixed(3))
        .join('  '),
    );
  }
  horizons.forEach((epochs, i) => {
    const losses = runs.map((losses) => losses[i]);
    const mean = losses.reduce((a, b) => a + b) / losses.length;
    const spread = losses.reduce((sum, loss) => sum + (loss - mean) ** 2, 0);
    const standardError = Math.sqrt(spread / Math.max(1, seeds - 1) / seeds);
    rows.push({ ...setting, epochs, testLoss: mean, standardError });
  });
}
for (const { learningRate, weightDecay, epochs, testLoss, standardError } of rows) {
  console.log(
    `learning rate ${learningRate}, decay ${weightDecay}, after ${String(epochs).padStart(2)} epochs: ` +
      `test loss ${testLoss.toFixed(3)} ± ${standardError.toFixed(3)}`,
  );
}
if (options.json) {
  const machine = `${cpus().length} × ${cpus()[0]?.model}, Node ${process.version}, tfjs wasm`;
  writeFileSync(
    options.json,
    `${JSON.stringify({ name: 'first-look', machine, digits, rows }, null, 2)}\n`,
  );
}
