// npm run bench -- half-precision [--steps 1000] [--seeds 5] [--digits 60000] [--json FILE]
//
// What `state: 'float16'` of the WebGPU adapter costs in accuracy. First the rule alone: the same gradients
// for the float64 reference and for float32 and float16 state on the device, and how far x is from the
// reference's, over how far that has moved. Then one epoch of the digits demo, seed by seed.
import { parseArgs } from 'node:util';
import { scheduleFreeAdan } from '@schedule-free-adan/core';
import { ReferenceBackend } from '@schedule-free-adan/core/reference';
import { WebGpuAdan } from '@schedule-free-adan/webgpu';
import { readDigits } from '../examples/digits/dist/data.js';
import { writeAtomically } from '../examples/digits/dist/files.js';
import { normalNumbers, uniformNumbers } from '../examples/digits/dist/random.js';
import { batchSize, hyperparameters, testDigits } from '../examples/digits/dist/settings.js';
import { statistic } from '../examples/digits/dist/study-results.js';
import { WebGpuRun } from '../examples/digits/dist/webgpu/run.js';
import { nodeDevice } from '../tools/webgpu-runtime.mjs';
import { machine } from './bench.mjs';

const { values: options } = parseArgs({
  options: {
    json: { type: 'string' },
    steps: { type: 'string', default: '1000' },
    seeds: { type: 'string', default: '5' },
    digits: { type: 'string', default: '60000' },
  },
});
const [steps, seeds, digits] = [options.steps, options.seeds, options.digits].map(Number);
if (!(steps >= 1 && seeds >= 2 && digits >= batchSize && digits <= 60_000)) {
  console.error(`--steps must be at least 1, --seeds 2, --digits ${batchSize} to 60000.`);
  process.exit(2);
}

const device = await nodeDevice();
const states = ['float32', 'float16'];

/** Numbers of a view on the device. */
async function read({ buffer, offset, size }) {
  const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
  const staging = device.createBuffer({ size, usage });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, offset, staging, 0, size);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(GPUMapMode.READ);
  const values = new Float32Array(staging.getMappedRange().slice(0));
  staging.destroy();
  return values;
}

const rootMeanSquare = (values) =>
  Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length);

/** Relative errors of x, after steps with gradients of a size: a mean of 0.3 of it, and noise. */
async function errors(size, more) {
  const length = 4096;
  const settings = { learningRate: 0.01, warmupSteps: 20, weightDecay: 0.1, ...more };
  const next = normalNumbers(uniformNumbers(1));
  const drift = Float32Array.from({ length }, () => 0.3 * next());
  const zeros = new Float32Array(length);
  const backend = new ReferenceBackend();
  const reference = scheduleFreeAdan(backend, { w: backend.upload(zeros, [length]) }, settings);
  const optimizers = [];
  for (const state of states) {
    const parameters = { w: { shape: [length], values: zeros } };
    optimizers.push(await WebGpuAdan.create(device, parameters, { ...settings, state }));
  }
  for (let t = 0; t < steps; t++) {
    const gradient = drift.map((mean) => size * (mean + next()));
    const held = backend.upload(gradient, [length]);
    reference.step({ w: held });
    backend.dispose(held);
    for (const optimizer of optimizers) {
      const { buffer, offset } = optimizer.gradient('w');
      device.queue.writeBuffer(buffer, offset, gradient);
      optimizer.step();
    }
  }
  const x = await backend.download(reference.evalParameters().w);
  const found = {};
  for (const [k, optimizer] of optimizers.entries()) {
    const values = await read(optimizer.evaluate().w);
    const off = Array.from(values, (value, i) => value - x[i]);
    found[states[k]] = rootMeanSquare(off) / rootMeanSquare(Array.from(x));
    // Throws if the GPU refused a command.
    await optimizer.metrics();
    optimizer.dispose();
  }
  return found;
}

const rule = [];
for (const [betas, label] of [
  [undefined, 'default betas'],
  [[0.98, 0.92, 0.99], 'with a first moment'],
]) {
  for (const size of [1, 1e-3, 1e-5, 1e-7]) {
    const error = await errors(size, betas ? { betas } : {});
    rule.push({ case: `gradients of size ${size}, ${label}`, error });
    const shown = states.map((state) => `${state} ${error[state].toExponential(1)}`).join(', ');
    console.log(`${rule.at(-1).case.padEnd(46)} ${shown}`);
  }
}

const [training, test] = [readDigits('train', digits), readDigits('t10k')];
/** Digits of the test set that are named correctly at x, after an epoch. */
async function right(seed, state) {
  const { learningRate } = hyperparameters['sf-adan'];
  // A run takes its device along when it goes.
  const run = await WebGpuRun.create(await nodeDevice(), { seed, learningRate }, { state });
  await run.trainEpoch(
    training,
    test,
    () => false,
    () => {},
  );
  const [{ accuracyAtX }] = run.state.epochs;
  run.dispose();
  return Math.round(accuracyAtX * testDigits);
}

const runs = [];
for (let seed = 1; seed <= seeds; seed++) {
  const run = { seed, right: {} };
  for (const state of states) run.right[state] = await right(seed, state);
  runs.push(run);
  console.log(`digits, seed ${seed}: ${states.map((s) => `${s} ${run.right[s]}`).join(', ')}`);
}
const difference = statistic(runs.map((run) => run.right.float16 - run.right.float32));
console.log(
  `float16 less float32, of ${testDigits}: ${difference.mean.toFixed(1)} ± ${difference.standardError.toFixed(1)}`,
);

if (options.json) {
  const on = machine(device.adapterInfo.description || device.adapterInfo.vendor);
  const results = { name: 'half-precision', machine: on, steps, digits, rule, runs, difference };
  writeAtomically(options.json, `${JSON.stringify(results, null, 2)}\n`);
}
