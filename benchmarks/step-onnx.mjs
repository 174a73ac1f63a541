// What a step costs in ONNX Runtime: hybrid and graph, against a fused loop over typed arrays on the same
// parameters; one arena against a graph for each parameter; and creating the sessions. Gradients are fed,
// so that nothing but the step is measured.
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { atom, javascript, printer, stepKernel } from '@schedule-free-adan/core/interpreters';
import {
  advance,
  coefficients,
  initialScalars,
  resolveHyperparameters,
  ruleForm,
} from '@schedule-free-adan/core/rule';
import { buildStepGraph, OrtTrainer } from '@schedule-free-adan/onnx';
import { encodeModel } from '@schedule-free-adan/onnx/model';
import { passThroughModel } from '../packages/onnx/conformance/targets.mjs';

const { values: options } = parseArgs({
  options: {
    json: { type: 'string' },
    parameters: { type: 'string', default: '20' },
    length: { type: 'string', default: '50000' },
    rounds: { type: 'string', default: '15' },
  },
});
const [count, length, rounds] = [options.parameters, options.length, options.rounds].map(Number);
if (!(count >= 1 && length >= 1 && rounds >= 3)) {
  console.error('--parameters and --length must be at least 1, --rounds at least 3');
  process.exit(2);
}

const parameters = Array.from({ length: count }, (_, k) => ({
  name: `p${k}`,
  shape: [length],
  values: Float32Array.from({ length }, (_, i) => Math.sin(i + k)),
}));
const gradients = parameters.map(({ values }) => values.map((v) => Math.cos(7 * v)));
const hyperparameters = { maxGradNorm: 1, weightDecay: 0.1 };

const web = await import('onnxruntime-web');
web.env.wasm.numThreads = 1;
const runtimes = {
  wasm: [web, { executionProviders: ['wasm'] }],
  node: [await import('onnxruntime-node'), { intraOpNumThreads: 1 }],
};

/** The rule as one plain loop over typed arrays, with the norm before it: what the forms are held to. */
function fused() {
  const h = resolveHyperparameters(hyperparameters);
  const kernel = stepKernel(ruleForm(h, 'y'), { clipping: true, clipKnown: 'host' });
  const text = printer(javascript);
  const isArray = (name) => kernel.inputs.includes(name);
  const next = kernel.run(text, (name) => atom(isArray(name) ? `${name}_` : name));
  const loop = new Function(
    ...kernel.inputs,
    `{ ${kernel.numbers} }`,
    `for (let i = 0; i < gradient.length; i++) {
      ${kernel.inputs.map((name) => `const ${name}_ = ${name}[i];`).join('\n')}
      ${text.lines.join('\n')}
      ${kernel.outputs.map((name) => `${name}[i] = ${next[name].text};`).join('\n')}
    }`,
  );
  const states = parameters.map(({ values }, k) =>
    kernel.inputs.map((name) => {
      if (name === 'gradient') return gradients[k];
      return name === 'parameter' || name === 'z' ? values.slice() : new Float32Array(length);
    }),
  );
  let scalars = initialScalars;
  return async () => {
    let sum = 0;
    for (const gradient of gradients) {
      for (let i = 0; i < gradient.length; i++) sum += gradient[i] * gradient[i];
    }
    const clip = Math.min(1, h.maxGradNorm / (Math.sqrt(sum) + h.epsilon));
    scalars = advance(scalars, h);
    const c = { ...coefficients({ hyperparameters: h, scalars }), clip, clipPrevious: 1 };
    for (const arrays of states) loop(...arrays, c);
  };
}

/** A model's gradients, without any step: what hybrid and graph have in common. */
async function trainer(ort, sessionOptions, form) {
  const one = await OrtTrainer.create({
    ort,
    model: passThroughModel(parameters),
    loss: 'loss',
    gradients: Object.fromEntries(parameters.map(({ name }) => [name, `d ${name}`])),
    form,
    sessionOptions,
    ...hyperparameters,
  });
  const feeds = Object.fromEntries(
    parameters.map(({ name }, k) => [
      `gradient of '${name}'`,
      new ort.Tensor('float32', gradients[k], [length]),
    ]),
  );
  return { step: () => one.step(feeds), dispose: () => one.dispose() };
}

/** Step graphs fed by themselves: all parameters in one, or one for each. */
async function stepGraphs(ort, sessionOptions, lists) {
  const graphs = [];
  for (const list of lists) {
    const { model, layout } = buildStepGraph(list, hyperparameters);
    const session = await ort.InferenceSession.create(encodeModel(model), sessionOptions);
    const state = layout.state.map(({ input, type, shape }) => {
      const size = shape.reduce((a, b) => a * b, 1);
      const data = type === 'float64' ? new Float64Array(size).fill(0.01) : new Float32Array(size);
      return [input, new ort.Tensor(type, data, shape)];
    });
    const fed = list.map(({ name }) => [
      name,
      new ort.Tensor('float32', gradients[Number(name.slice(1))], [length]),
    ]);
    graphs.push({ session, layout, feeds: Object.fromEntries([...fed, ...state]) });
  }
  return {
    step: async () => {
      for (const { session, layout, feeds } of graphs) {
        const results = await session.run(feeds);
        for (const { input, output } of layout.state) feeds[input] = results[output];
      }
    },
    dispose: async () => {
      for (const { session } of graphs) await session.release();
    },
  };
}

const time = async (run) => {
  const start = performance.now();
  await run();
  return performance.now() - start;
};

/** Ratios of the two, taken in turns. */
async function ratio(subject, base) {
  for (let i = 0; i < 3; i++) {
    await subject();
    await base();
  }
  const ratios = [];
  for (let i = 0; i < rounds; i++) ratios.push((await time(subject)) / (await time(base)));
  ratios.sort((a, b) => a - b);
  return { median: ratios[rounds >> 1], min: ratios[0], max: ratios.at(-1) };
}

const rows = [];
function report(name, backend, against, found) {
  rows.push({ case: name, backend, against, ratio: found });
  const [median, min, max] = [found.median, found.min, found.max].map((v) => v.toFixed(2));
  console.log(`${backend.padEnd(5)} ${name.padEnd(28)} ${median} × ${against} (${min} to ${max})`);
}

console.log(`${count} parameters of ${length}, clipping and decay; ${rounds} rounds`);
const loop = fused();
for (const [backend, [ort, sessionOptions]] of Object.entries(runtimes)) {
  const graph = await trainer(ort, sessionOptions, 'graph');
  const hybrid = await trainer(ort, sessionOptions, 'hybrid');
  report('hybrid, whole run', backend, 'fused loop', await ratio(hybrid.step, loop));
  report('graph, whole run', backend, 'fused loop', await ratio(graph.step, loop));
  report('graph', backend, 'hybrid', await ratio(graph.step, hybrid.step));
  await graph.dispose();
  await hybrid.dispose();
  const each = parameters.map((parameter) => [parameter]);
  const arena = await stepGraphs(ort, sessionOptions, [parameters]);
  const apart = await stepGraphs(ort, sessionOptions, each);
  report('step graph alone, arena', backend, 'fused loop', await ratio(arena.step, loop));
  report('step graph, arena', backend, 'one for each', await ratio(arena.step, apart.step));
  await arena.dispose();
  await apart.dispose();
  const create = (lists) => async () => {
    const made = await stepGraphs(ort, sessionOptions, lists);
    await made.dispose();
  };
  const found = await ratio(create([parameters]), create(each));
  report('creating sessions, arena', backend, 'one for each', found);
}
if (options.json) {
  const machine = `${cpus().length} × ${cpus()[0]?.model}, Node ${process.version}`;
  writeFileSync(options.json, `${JSON.stringify({ name: 'step-onnx', machine, rows }, null, 2)}\n`);
}
