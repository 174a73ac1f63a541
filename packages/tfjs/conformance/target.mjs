// What `npm run conformance` and the tests check of this package: the tf.Optimizer that users hold,
// with its variables, on the tfjs backend that is active. It runs in Node and in a page.
import { ownMethods } from '@schedule-free-adan/conformance';
import { scheduleFreeAdan, TfjsBackend } from '@schedule-free-adan/tfjs';
import * as tf from '@tensorflow/tfjs-core';

/**
 * Runs `fn` with a registry of variables of its own: tfjs allows a name only once, and the suite
 * trains the same parameters several times side by side.
 */
function within(registry, fn) {
  const { state } = tf.engine();
  const outer = state.registeredVariables;
  state.registeredVariables = registry;
  try {
    return fn();
  } finally {
    state.registeredVariables = outer;
  }
}

const read = async (tensors, own) => {
  const values = Object.entries(tensors).map(async ([name, tensor]) => {
    const data = (await tensor.data()).slice();
    if (own) tensor.dispose();
    return [name, data];
  });
  return Object.fromEntries(await Promise.all(values));
};

const subject =
  (fused) =>
  ({ parameters, options }) => {
    const before = tf.memory().numTensors;
    const registry = {};
    const inside = (fn) => within(registry, fn);
    const backend = new TfjsBackend();
    const optimizer = scheduleFreeAdan({ ...options, fused });
    const variables = parameters.map(({ name, shape, values }) => {
      const tensor = backend.upload(values, shape);
      const variable = inside(() => tf.variable(tensor, true, name));
      tensor.dispose();
      return variable;
    });
    inside(() => optimizer.addVariables(variables));
    return {
      upload: (values, shape) => backend.upload(values, shape),
      download: (tensor) => backend.download(tensor),
      free: (tensor) => tensor.dispose(),
      foreign: (shape) => tf.zeros(shape, 'int32'),
      step: (gradients) => inside(() => optimizer.applyGradients(gradients)),
      evalParameters: async () => read(optimizer.evalParameters(), true),
      trainParameters: async () => read(optimizer.trainParameters(), true),
      parameters: async () => read(Object.fromEntries(variables.map((v) => [v.name, v])), false),
      ...ownMethods(optimizer),
      save: () => optimizer.saveCheckpoint(),
      load: (checkpoint) => inside(() => optimizer.loadCheckpoint(checkpoint, variables)),
      dispose: () =>
        inside(() => {
          optimizer.dispose();
          for (const variable of variables) if (!variable.isDisposed) variable.dispose();
        }),
      liveMemory: () => tf.memory().numTensors - before,
    };
  };

/** The optimizer on the backend that is active, as a target of the suite. */
export const tfjsTarget = (name) => ({
  name,
  dtype: 'float32',
  create: subject(true),
  composed: subject(false),
  backend: () => new TfjsBackend(),
  unsupported: {
    'bad-input/duplicate-parameter': 'tfjs itself refuses a second variable of the same name',
    'bad-input/option-group-of-nothing':
      'variables are met one by one, so a group may name one that does not exist yet',
  },
});
