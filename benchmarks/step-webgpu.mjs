// The WebGPU step against the streams that it moves, against itself in other layouts, and against Adam in
// tfjs and in jax-js, on the page of a browser. Timings on a software adapter say nothing about a GPU;
// ratios on one adapter say how far from its memory's speed the kernels are.
import { parseArgs } from 'node:util';
import { WebGpuAdan } from '@schedule-free-adan/webgpu';
import { modulePage, nodeDevice } from '../tools/webgpu-runtime.mjs';
import { compare, finish, machine } from './bench.mjs';

const { values: options } = parseArgs({
  options: {
    json: { type: 'string' },
    rounds: { type: 'string', default: '41' },
    only: { type: 'string', default: 'abcdefgx' },
  },
});
const rounds = Number(options.rounds);
if (!(Number.isInteger(rounds) && rounds >= 1)) {
  console.error(`--rounds is '${options.rounds}'; give an integer of at least 1.`);
  process.exit(2);
}
const wanted = (letter) => options.only.includes(letter);

const device = await nodeDevice();
const backend = device.adapterInfo.description || device.adapterInfo.vendor;
const rows = [];
const row = async (what, against, { ratio, milliseconds }) => {
  // Throws if the GPU refused a command: a step that did not run is fast.
  for (const one of used) if (one.gpuBytes > 0) await one.metrics();
  rows.push({ case: what, backend, against, ratio, milliseconds });
  console.error(`${what}: ${ratio.median.toFixed(3)}`);
};

/** Milliseconds of one call of `submit`, out of as many as take a while. */
const timed = (submit, calls) => async () => {
  const start = performance.now();
  for (let i = 0; i < calls; i++) submit();
  await device.queue.onSubmittedWorkDone();
  return (performance.now() - start) / calls;
};

const used = [];
async function optimizer(shapes, options) {
  const definitions = shapes.map((shape, i) => [`p${i}`, { shape }]);
  const made = await WebGpuAdan.create(device, definitions, options);
  for (const name of made.parameterNames) {
    const { buffer, offset, size } = made.gradient(name);
    device.queue.writeBuffer(buffer, offset, new Float32Array(size / 4).fill(0.01));
  }
  used.push(made);
  return made;
}

/**
 * Reads the gradient and five arrays of state, writes the five: the streams of the default step, in
 * workgroups of the same size. `sized`: every array is declared with its length, as the arena's are.
 */
function copyKernel(n, sized) {
  const names = ['parameters', 'z', 'v', 'n', 'g'];
  const type = sized ? `array<vec4f, ${n / 4}>` : 'array<vec4f>';
  const code = `@group(0) @binding(0) var<storage, read> gradients: ${type};
${names.map((name, k) => `@group(0) @binding(${k + 1}) var<storage, read_write> ${name}: ${type};`).join('\n')}
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * 256 + lane;
  if (i >= ${n / 4}) { return; }
  let parameter = parameters[i];
  parameters[i] = z[i];
  z[i] = v[i];
  v[i] = n[i];
  n[i] = g[i];
  // An addition, so that no read is left out.
  g[i] = gradients[i] + parameter;
}`;
  const module = device.createShaderModule({ code });
  const pipeline = device.createComputePipeline({ layout: 'auto', compute: { module } });
  const buffers = Array.from({ length: 6 }, () =>
    device.createBuffer({ size: 4 * n, usage: GPUBufferUsage.STORAGE }),
  );
  const group = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: buffers.map((buffer, binding) => ({ binding, resource: { buffer } })),
  });
  const workgroups = Math.ceil(n / 4 / 256);
  const lines = Math.ceil(workgroups / device.limits.maxComputeWorkgroupsPerDimension);
  return {
    submit() {
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(Math.ceil(workgroups / lines), lines);
      pass.end();
      device.queue.submit([encoder.finish()]);
    },
    dispose() {
      for (const buffer of buffers) buffer.destroy();
    },
  };
}

/** Few calls are timed together, and many rounds, since the machine's speed drifts. */
const small = { calls: 3, times: 5 * rounds };
/** The steps of two optimizers, taking turns. */
const steps = (ours, other, { calls, times } = small) =>
  compare(
    timed(() => ours.step(), calls),
    timed(() => other.step(), calls),
    times,
  );
const plain = { nonFinite: 'ignore' };
const sizes = [
  ['1M', 2 ** 20, small],
  ['16M', 2 ** 24, { calls: 1, times: rounds }],
];

for (const [label, n, amount] of sizes) {
  if (!wanted('a')) continue;
  const ours = await optimizer([[n]], plain);
  for (const sized of [false, true]) {
    const copy = copyKernel(n, sized);
    const result = await compare(
      timed(() => ours.step(), amount.calls),
      timed(copy.submit, amount.calls),
      amount.times,
    );
    const arrays = sized ? ', arrays of known length' : '';
    await row(`step / copy of the same streams${arrays}, ${label}`, 'a kernel that copies', result);
    copy.dispose();
  }
  ours.dispose();
}
for (const [label, n, amount] of sizes) {
  if (!wanted('b')) continue;
  const without = await optimizer([[n]], plain);
  for (const [what, more] of [
    ['with clipping and the look for NaN', { maxGradNorm: 1 }],
    ['with the look for NaN only', {}],
  ]) {
    const ours = await optimizer([[n]], more);
    const result = await steps(ours, without, amount);
    await row(`step ${what}, ${label}`, 'the step without', result);
    ours.dispose();
  }
  without.dispose();
}
if (wanted('c')) {
  // Lengths from 1 to 10,001: 200 tensors of every size, 1M numbers together.
  const shapes = Array.from({ length: 200 }, (_, i) => [1 + Math.round((i * 10_486) / 199)]);
  const total = shapes.reduce((sum, [n]) => sum + n, 0);
  for (const [what, more] of [
    ['', plain],
    [', with clipping', { maxGradNorm: 1 }],
  ]) {
    const many = await optimizer(shapes, more);
    const one = await optimizer([[total]], more);
    const result = await steps(many, one);
    await row(`200 tensors${what}`, 'one of the same total', result);
    many.dispose();
    one.dispose();
  }
}
if (wanted('g')) {
  const shapes = Array.from({ length: 24 }, () => [43_691]);
  const one = await optimizer(shapes, plain);
  const groups = [{ parameters: (name) => Number(name.slice(1)) % 2 === 0, learningRate: 0.02 }];
  const two = await optimizer(shapes, { ...plain, groups });
  const result = await steps(two, one);
  await row('24 tensors in two groups, 1M', 'one group', result);
  one.dispose();
  two.dispose();
}
if (wanted('x')) {
  const writing = await optimizer([[2 ** 20]], { ...plain, averages: true });
  const without = await optimizer([[2 ** 20]], plain);
  const result = await steps(writing, without);
  await row('step that writes x as well, 1M', 'the step without', result);
  writing.dispose();
  without.dispose();
}
if (wanted('f')) {
  for (const [label, n, amount] of sizes) {
    const half = await optimizer([[n]], { ...plain, state: 'float16' });
    const full = await optimizer([[n]], plain);
    const result = await steps(half, full, amount);
    await row(`float16 state, ${label}`, 'float32 state', result);
    half.dispose();
    full.dispose();
  }
}
if (wanted('d') || wanted('e')) {
  const entry = new URL('./step-webgpu-page.mjs', import.meta.url);
  const { browser, page } = await modulePage(entry, { external: ['node:*', 'fs', 'path'] });
  page.on('pageerror', (error) => console.error(String(error)));
  for (const [letter, rival] of [
    ['d', 'tf.train.adam, tfjs on webgpu'],
    ['e', 'Adam in jax-js on webgpu, jitted'],
  ]) {
    if (!wanted(letter)) continue;
    for (const tensors of [1, 24]) {
      const result = await compare(
        () => page.evaluate(`rivals.ours(${tensors})`),
        () => page.evaluate(`rivals['${letter}'](${tensors})`),
        rounds,
      );
      const what = tensors === 1 ? '1M in one tensor' : `1M in ${tensors} tensors`;
      rows.push({
        case: `step, ${what}`,
        backend: 'Chromium, SwiftShader',
        against: rival,
        ...result,
      });
      console.error(`${what} against ${rival}: ${result.ratio.median.toFixed(3)}`);
    }
  }
  await browser.close();
}
finish({ name: 'step-webgpu', machine: machine(backend), rows }, options.json);
