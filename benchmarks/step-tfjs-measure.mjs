// Runs in Node and in a page: time of a whole applyGradients as a ratio to tf.train.adam's.
import { scheduleFreeAdan } from '@schedule-free-adan/tfjs';
import * as tf from '@tensorflow/tfjs-core';

const cases = [
  { name: '1 × 1M', count: 1, size: 1_000_000 },
  { name: '100 × 10k', count: 100, size: 10_000 },
];

/** Waits until the backend has done what it was told: where it can be read at once, it has. */
async function settle(variable) {
  if (['cpu', 'wasm'].includes(tf.getBackend())) return;
  const probe = tf.slice(variable, [0], [1]);
  await probe.data();
  probe.dispose();
}

function contestant(name, make, count, size) {
  const variables = Array.from({ length: count }, (_, i) =>
    tf.tidy(() => tf.variable(tf.randomNormal([size], 0, 1, 'float32', i), true, `${name}${i}`)),
  );
  const gradients = variables.map((variable, i) => ({
    name: variable.name,
    tensor: tf.randomNormal([size], 0, 1, 'float32', 1000 + i),
  }));
  const optimizer = make();
  return {
    async time(steps) {
      const start = performance.now();
      for (let k = 0; k < steps; k++) optimizer.applyGradients(gradients);
      await settle(variables.at(-1));
      return (performance.now() - start) / steps;
    },
    dispose() {
      optimizer.dispose();
      tf.dispose([variables, gradients.map(({ tensor }) => tensor)]);
    },
  };
}

/** Ours and Adam's steps by turns, so that both meet the same neighbours. */
export async function measureSteps({ rounds = 15, steps = 5, options = {} } = {}) {
  const rows = [];
  for (const { name, count, size } of cases) {
    const ours = contestant('ours', () => scheduleFreeAdan(options), count, size);
    const adam = contestant('adam', () => tf.train.adam(0.001), count, size);
    const times = [];
    for (let round = -2; round < rounds; round++) {
      const pair = [await ours.time(steps), await adam.time(steps)];
      if (round >= 0) times.push(pair);
    }
    ours.dispose();
    adam.dispose();
    const ratios = times.map(([a, b]) => a / b).sort((a, b) => a - b);
    const middle = (values) => values.sort((a, b) => a - b)[values.length >> 1];
    rows.push({
      case: name,
      backend: tf.getBackend(),
      against: 'tf.train.adam',
      ratio: { median: middle(ratios), min: ratios[0], max: ratios.at(-1) },
      milliseconds: {
        ours: middle(times.map(([a]) => a)),
        against: middle(times.map(([, b]) => b)),
      },
    });
  }
  return rows;
}
