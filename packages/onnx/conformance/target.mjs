// What the conformance suite checks of this package: trainers around a model whose gradients are its
// inputs, in both forms.
import { OrtTrainer } from '@schedule-free-adan/onnx';
import { makeNode, makeTensor, makeValueInfo } from '@schedule-free-adan/onnx/model';

const input = (name) => `gradient of '${name}'`;
const output = (name) => `value of '${name}'`;

/**
 * A model with these parameters: what is fed comes out as their gradients, and they themselves.
 * `told`: a gradient's shape, as far as the model tells.
 */
export function passThroughModel(parameters, told = ({ shape }) => shape) {
  const identity = (from, to) => makeNode('Identity', [from], [to]);
  return {
    irVersion: 8,
    graph: {
      name: 'gradients are fed',
      node: [
        identity('zero', 'loss'),
        ...parameters.flatMap(({ name }) => [
          identity(input(name), `d ${name}`),
          identity(name, output(name)),
        ]),
      ],
      initializer: [
        makeTensor('zero', 'float32', [], [0]),
        ...parameters.map(({ name, shape, values }) => makeTensor(name, 'float32', shape, values)),
      ],
      input: parameters.map((p) => makeValueInfo(input(p.name), 'float32', told(p))),
      output: [
        makeValueInfo('loss', 'float32', []),
        ...parameters.map((p) => makeValueInfo(`d ${p.name}`, 'float32', told(p))),
        ...parameters.map(({ name, shape }) => makeValueInfo(output(name), 'float32', shape)),
      ],
    },
    opsetImport: [{ domain: '', version: 17 }],
  };
}

/** The same, as a trainer takes it. */
export const passThrough = (parameters, told) => ({
  model: passThroughModel(parameters, told),
  loss: 'loss',
  gradients: Object.fromEntries(parameters.map(({ name }) => [name, `d ${name}`])),
});

/**
 * What comes of gradients of a wrong size, which shows only as they are computed: in one batch, in the
 * second of two. `moved`: has training changed by it?
 */
export async function wrongSizes(ort, form, more = {}) {
  const parameters = ['p', 'q'].map((name) => ({
    name,
    shape: [4],
    values: new Float32Array(4).fill(1),
  }));
  const trainer = await OrtTrainer.create({
    ort,
    ...passThrough(parameters, () => ['n']),
    form,
    ...more,
  });
  const feeds = (size) =>
    Object.fromEntries(
      Object.entries({ p: 4, q: size }).map(([name, length]) => [
        input(name),
        new ort.Tensor('float32', new Float32Array(length).fill(1), [length]),
      ]),
    );
  const state = async () => String(await trainer.save());
  await trainer.step([feeds(4), feeds(4)]);
  const before = await state();
  const errors = [];
  for (const batches of [feeds(3), feeds(8), feeds(1), [feeds(4), feeds(1)]]) {
    const error = await trainer.step(batches).catch((caught) => caught);
    const { code, subject, message } = error;
    errors.push({ code, subject, message });
  }
  const moved = (await state()) !== before;
  await trainer.step(feeds(4));
  const { q } = await trainer.trainParameters();
  await trainer.dispose();
  return { errors, moved, q: [...q] };
}

async function subject(ort, form, { parameters, options }, { sessionOptions, webgpu }) {
  const trainer = await OrtTrainer.create({
    ort,
    ...passThrough(parameters),
    form,
    freezable: true,
    sessionOptions,
    webgpu,
    ...options,
  });
  // On a device, buffers for x are made once, by the first evaluation.
  if (webgpu) await trainer.evalParameters();
  const tensors = new Set();
  const upload = (values, shape) => {
    const tensor = new ort.Tensor('float32', Float32Array.from(values), [...shape]);
    tensors.add(tensor);
    return tensor;
  };
  const free = (tensor) => {
    tensors.delete(tensor);
    tensor.dispose();
  };
  const size = (shape) => shape.reduce((a, b) => a * b, 1);
  let mode = 'train';
  const setMode = (next) => {
    // A trainer has no mode: it evaluates elsewhere. It still says when it is gone.
    trainer.groups;
    mode = next;
  };
  const evalParameters = async () => {
    const results = await trainer.evaluate({});
    return Object.fromEntries(parameters.map(({ name }) => [name, results[output(name)].data]));
  };
  return {
    upload,
    download: async (tensor) => tensor.data.slice(),
    free,
    foreign: (shape) => {
      const tensor = new ort.Tensor('int32', new Int32Array(size(shape)), [...shape]);
      tensors.add(tensor);
      return tensor;
    },
    step: async (gradients) => {
      const frozen = parameters.map(({ name }) => name).filter((name) => !gradients[name]);
      const feeds = parameters.map(({ name, shape }) => [
        input(name),
        gradients[name] ??
          new ort.Tensor('float32', new Float32Array(size(shape)).fill(Number.NaN), [...shape]),
      ]);
      // A gradient of nothing is fed as well, and refused.
      for (const name of Object.keys(gradients)) {
        if (!parameters.some((p) => p.name === name)) feeds.push([input(name), gradients[name]]);
      }
      await trainer.step(Object.fromEntries(feeds), { frozen });
    },
    evalParameters,
    trainParameters: () => trainer.trainParameters(),
    parameters: () => (mode === 'eval' ? trainer.evalParameters() : trainer.trainParameters()),
    train: () => setMode('train'),
    eval: () => setMode('eval'),
    withEvalParameters: (fn) => {
      const before = mode;
      setMode('eval');
      let result;
      try {
        result = fn();
      } finally {
        if (result instanceof Promise) {
          result = result.finally(() => {
            mode = before;
          });
        } else mode = before;
      }
      return result;
    },
    setLearningRate: (value, group) => {
      trainer.groups[group].learningRate = value;
    },
    restart: () => trainer.restart(),
    metrics: () => trainer.metrics(),
    save: () => trainer.save(),
    load: (checkpoint) => trainer.load(checkpoint),
    dispose: () => trainer.dispose(),
    liveMemory: () =>
      trainer.stateBytes + [...tensors].reduce((sum, { data }) => sum + data.byteLength, 0),
  };
}

/** `more`: sessionOptions, and what makes the step on a device. */
export const ortTarget = (runtime, ort, form, more = {}) => ({
  name: `onnx-${runtime}-${form}`,
  dtype: 'float32',
  create: (spec) => subject(ort, form, spec, more),
  unsupported: {
    'bad-input/gradient-of-unknown-parameter': 'a gradient is a value of the model',
  },
});
