// What step-onnx measures in a runtime, in Node and in a page alike. Gradients are fed, so that nothing
// but the step is measured: on a device they lie there already.
import { OrtTrainer } from '@schedule-free-adan/onnx';
import { encodeModel, makeNode, makeTensor, makeValueInfo } from '@schedule-free-adan/onnx/model';

export const hyperparameters = { maxGradNorm: 1, weightDecay: 0.1 };

export function makeParameters({ count, length }) {
  const parameters = Array.from({ length: count }, (_, k) => ({
    name: `p${k}`,
    shape: [length],
    values: Float32Array.from({ length }, (_, i) => Math.sin(i + k)),
  }));
  const gradients = parameters.map(({ values }) => values.map((v) => Math.cos(7 * v)));
  return { parameters, gradients };
}

/** What is fed comes out as gradients, with the other sign; nothing else but a loss does. */
const model = (parameters) => ({
  irVersion: 8,
  graph: {
    name: 'gradients are fed',
    node: [
      makeNode('Identity', ['zero'], ['loss']),
      // Not Identity, which a runtime leaves out.
      ...parameters.map(({ name }) => makeNode('Neg', [`gradient of ${name}`], [`d ${name}`])),
    ],
    initializer: [
      makeTensor('zero', 'float32', [], [0]),
      ...parameters.map(({ name, shape, values }) => makeTensor(name, 'float32', shape, values)),
    ],
    input: parameters.map(({ name, shape }) =>
      makeValueInfo(`gradient of ${name}`, 'float32', shape),
    ),
    output: [
      makeValueInfo('loss', 'float32', []),
      ...parameters.map(({ name, shape }) => makeValueInfo(`d ${name}`, 'float32', shape)),
    ],
  },
  opsetImport: [{ domain: '', version: 17 }],
});

const time = async (run) => {
  const start = performance.now();
  await run();
  return performance.now() - start;
};

function summary(ratios) {
  ratios.sort((a, b) => a - b);
  return { median: ratios[ratios.length >> 1], min: ratios[0], max: ratios.at(-1) };
}

/** Three turns and three seconds at least: V8 compiles WebAssembly anew while it runs, beside it. */
async function warm(...runs) {
  const start = performance.now();
  for (let i = 0; i < 3 || performance.now() - start < 3000; i++)
    for (const run of runs) await run();
}

/** Ratios of the two, taken in turns. */
async function ratio(subject, base, rounds) {
  await warm(subject, base);
  const ratios = [];
  for (let i = 0; i < rounds; i++) ratios.push((await time(subject)) / (await time(base)));
  return summary(ratios);
}

/** Ratios of what two things add to a third, all three in turns. */
async function ratioAbove(subject, base, floor, rounds) {
  await warm(floor, subject, base);
  const ratios = [];
  for (let i = 0; i < rounds; i++) {
    const [x, y, z] = [await time(subject), await time(base), await time(floor)];
    ratios.push((x - z) / (y - z));
  }
  return summary(ratios);
}

/**
 * @param runtime `ort`, `sessionOptions`; `webgpu` where the hybrid steps on the runtime's device
 * @param plain `[name, make]`: the step to which the forms are held
 * @param report is called with every row
 */
export async function measureOnnx(
  { backend, ort, sessionOptions, webgpu },
  [plainName, makePlain],
  { rounds, ...sizes },
  report,
) {
  const { parameters, gradients } = makeParameters(sizes);
  const create = (more) =>
    OrtTrainer.create({
      ort,
      model: model(parameters),
      loss: 'loss',
      gradients: Object.fromEntries(parameters.map(({ name }) => [name, `d ${name}`])),
      sessionOptions,
      ...hyperparameters,
      ...more,
    });
  const forms = {
    hybrid: { form: 'hybrid', webgpu },
    graph: { form: 'graph' },
    each: { form: 'graph', groups: parameters.map(({ name }) => ({ parameters: [name] })) },
  };
  const trainers = {};
  for (const [name, form] of Object.entries(forms)) trainers[name] = await create(form);
  const device = webgpu && (await ort.env.webgpu.device);
  // A step is over when the device is done with it.
  const settled = (run) => async () => {
    await run();
    await device?.queue.onSubmittedWorkDone();
  };
  const tensor = (values) => {
    if (!device) return new ort.Tensor('float32', values, [values.length]);
    const { STORAGE, COPY_SRC, COPY_DST } = GPUBufferUsage;
    const usage = STORAGE | COPY_SRC | COPY_DST;
    const buffer = device.createBuffer({ size: values.byteLength, usage });
    device.queue.writeBuffer(buffer, 0, values);
    return ort.Tensor.fromGpuBuffer(buffer, { dataType: 'float32', dims: [values.length] });
  };
  const feeds = Object.fromEntries(
    parameters.map(({ name }, k) => [`gradient of ${name}`, tensor(gradients[k])]),
  );
  const step = (name) => settled(() => trainers[name].step(feeds));
  const plain = settled(await makePlain(parameters, gradients, device));
  // The model without an optimizer: its gradients stay where they are made.
  const session = await ort.InferenceSession.create(encodeModel(model(parameters)), {
    ...sessionOptions,
    ...(device && {
      preferredOutputLocation: Object.fromEntries(
        parameters.map(({ name }) => [`d ${name}`, 'gpu-buffer']),
      ),
    }),
  });
  const gradientsAlone = settled(async () => {
    for (const output of Object.values(await session.run(feeds))) output.dispose();
  });
  const creating = (name) => async () => {
    const trainer = await create(forms[name]);
    await trainer.dispose();
  };
  const row = async (name, subject, against, base, times = rounds) =>
    report({ case: name, backend, against, ratio: await ratio(subject, base, times) });
  await row('hybrid', step('hybrid'), plainName, plain);
  await row('graph', step('graph'), plainName, plain);
  await row('hybrid', step('hybrid'), 'graph', step('graph'));
  report({
    case: 'hybrid less the model',
    backend,
    against: 'graph less the model',
    ratio: await ratioAbove(step('hybrid'), step('graph'), gradientsAlone, rounds),
  });
  await row('graph, one arena', step('graph'), 'an arena for each parameter', step('each'));
  await row(
    'creating a graph trainer, one arena',
    creating('graph'),
    'an arena for each parameter',
    creating('each'),
    Math.min(rounds, 7),
  );
  await session.release();
  for (const trainer of Object.values(trainers)) {
    // Throws if the device refused a command: a step that did not run is fast.
    await trainer.metrics();
    await trainer.dispose();
  }
}
