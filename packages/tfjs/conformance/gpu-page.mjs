// Runs in a page: what only a browser's GPU backends of tfjs can get wrong.
import { scheduleFreeAdan } from '@schedule-free-adan/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-core/dist/register_all_gradients.js';
import { useBackend } from './browser.mjs';

/** Live objects that this page's code has made on the GPU: also those that tf.memory() knows nothing of. */
const live = { buffers: 0, bytes: 0, textures: 0, framebuffers: 0, programs: 0, pipelines: 0 };
function count(prototype, method, note) {
  const original = prototype[method];
  prototype[method] = function (...args) {
    const result = original.apply(this, args);
    note(result, this, ...args);
    return result;
  };
}
if (globalThis.GPUDevice) {
  count(GPUDevice.prototype, 'createBuffer', ({ size }) => {
    live.buffers++;
    live.bytes += size;
  });
  count(GPUBuffer.prototype, 'destroy', (_, { size }) => {
    live.buffers--;
    live.bytes -= size;
  });
  count(GPUDevice.prototype, 'createComputePipeline', () => live.pipelines++);
}
for (const [thing, name] of [
  ['textures', 'Texture'],
  ['framebuffers', 'Framebuffer'],
  ['programs', 'Program'],
]) {
  count(WebGL2RenderingContext.prototype, `create${name}`, () => live[thing]++);
  count(WebGL2RenderingContext.prototype, `delete${name}`, () => live[thing]--);
}

const shapes = {
  line: [5000],
  secondLine: [5000],
  column: [3001, 1],
  odd: [33, 7],
  even: [64, 32],
  kernel: [2, 3, 5, 7],
  few: [3],
  scalar: [],
};

const variablesOf = (prefix) =>
  Object.entries(shapes).map(([name, shape], i) =>
    tf.variable(tf.randomNormal(shape, 0, 1, 'float32', 1 + i), true, `${prefix}/${name}`),
  );

/**
 * Gradients as tfjs' operations leave them: packed or not, slices, reshaped, fresh from the host. Where
 * a packed texel has room beyond the last row or column, `exp` puts ones there.
 */
function gradientsOf(step) {
  const normal = (shape, k) => tf.randomNormal(shape, 0, 1, 'float32', 1 + 100 * step + k);
  return tf.tidy(() => {
    const host = normal([50, 100], 0);
    const line = tf.reshape(host, [5000]);
    // Goes to the GPU as a matrix, while `line` is another view of it.
    tf.add(host, 1);
    return {
      line,
      secondLine: tf.slice(normal([12_000], 1), [1001], [5000]),
      column: tf.matMul(normal([3001, 5], 2), normal([5, 1], 3)),
      odd: tf.exp(tf.matMul(normal([33, 5], 4), normal([5, 7], 5))),
      even: normal([64, 32], 6),
      kernel: tf.exp(tf.mul(normal(shapes.kernel, 7), 0.5)),
      few: tf.exp(tf.add(normal([3], 8), 0)),
      scalar: tf.sum(normal([4], 9)),
    };
  });
}

const apply = (optimizer, prefix, gradients) => {
  const entries = Object.entries(gradients).map(([name, tensor]) => [`${prefix}/${name}`, tensor]);
  optimizer.applyGradients(Object.fromEntries(entries));
};

/** The largest difference between fused and composed steps, by variable, as a share of the values. */
globalThis.fusedAgainstComposed = async (backend, options, most) => {
  if (most !== undefined) {
    const { getParameter } = WebGL2RenderingContext.prototype;
    WebGL2RenderingContext.prototype.getParameter = function (name) {
      const many = [this.MAX_DRAW_BUFFERS, this.MAX_COLOR_ATTACHMENTS].includes(name);
      return many ? most : getParameter.call(this, name);
    };
  }
  await useBackend(backend);
  const runs = [true, false].map((fused) => ({
    prefix: `fused ${fused}`,
    variables: variablesOf(`fused ${fused}`),
    optimizer: scheduleFreeAdan({ learningRate: 0.01, ...options, fused }),
  }));
  for (let step = 0; step < 5; step++) {
    const gradients = gradientsOf(step);
    for (const { optimizer, prefix } of runs) apply(optimizer, prefix, gradients);
    tf.dispose(gradients);
  }
  const differences = {};
  for (const [k, name] of Object.keys(shapes).entries()) {
    const difference = tf.tidy(() => {
      const points = runs.map(({ variables }) => variables[k]);
      // A product of matrices reads whole texels, also what is beyond the last row or column.
      const products = points.map((x) => {
        if (x.rank === 2) return tf.matMul(x, x, true);
        const row = tf.reshape(x, [1, x.size]);
        return tf.matMul(row, row, false, true);
      });
      const far = ([a, b]) => tf.max(tf.div(tf.abs(tf.sub(a, b)), tf.add(tf.abs(b), 1)));
      return tf.maximum(far(points), far(products));
    });
    differences[name] = (await difference.data())[0];
    difference.dispose();
  }
  for (const { optimizer, variables } of runs) {
    optimizer.dispose();
    tf.dispose(variables);
  }
  return differences;
};

/** Values that somebody holds while steps are taken, before and after. */
globalThis.heldThroughSteps = async (backend) => {
  await useBackend(backend);
  const variables = variablesOf('held');
  const optimizer = scheduleFreeAdan({ learningRate: 0.01, maxGradNorm: 1 });
  const gradients = gradientsOf(0);
  const step = () => apply(optimizer, 'held', gradients);
  step();
  step();
  const held = [
    ...variables.map((variable) => tf.clone(variable)),
    ...Object.values(gradients),
    ...Object.values(optimizer.evalParameters()),
    ...Object.values(optimizer.trainParameters()),
  ];
  // Reading takes a tensor from the GPU, so copies are read.
  const read = () =>
    Promise.all(
      held.map(async (tensor) => {
        const copy = tf.tidy(() => tf.mul(tensor, 1));
        const values = [...(await copy.data())];
        copy.dispose();
        return values;
      }),
    );
  const before = await read();
  const expected = await optimizer.saveCheckpoint();
  const early = optimizer.saveCheckpoint();
  for (let k = 0; k < 4; k++) step();
  const after = await read();
  const same = (a, b) => String(a) === String(b);
  const result = {
    held: before.every((values, i) => same(values, after[i])),
    checkpoint: same(expected, await early),
    moved: !same(await variables[0].data(), before[0]),
  };
  optimizer.dispose();
  tf.dispose([variables, held]);
  return result;
};

/** What is alive on the GPU after some steps of minimize, and after many more. */
globalThis.memoryOverSteps = async (backend, steps) => {
  await useBackend(backend);
  const [a, b] = [
    tf.variable(tf.randomNormal([33, 7]), true, 'memory/a'),
    tf.variable(tf.randomNormal([7]), true, 'memory/b'),
  ];
  const input = tf.randomNormal([5, 33]);
  const optimizer = scheduleFreeAdan({ learningRate: 0.01, maxGradNorm: 1 });
  const loss = () => tf.mean(tf.square(tf.add(tf.matMul(input, a), b)));
  const train = async (count) => {
    for (let k = 1; k <= count; k++) {
      optimizer.minimize(loss);
      // Some waiting, or the commands of all steps would queue up.
      if (k % 100 === 0) await optimizer.metrics();
    }
    await optimizer.metrics();
    return { ...tf.memory(), live: { ...live } };
  };
  const before = await train(100);
  const after = await train(steps);
  optimizer.dispose();
  tf.dispose([a, b, input]);
  return { before, after };
};
