// What the conformance suite checks: the backend under the core's optimizer, and the class that users
// hold, with its arena and with buffers of their own.
import { backendTarget, ownMethods } from '@schedule-free-adan/conformance';
import { WebGpuAdan, WebGpuBackend } from '@schedule-free-adan/webgpu';

/** @param {() => Promise<GPUDevice>} device */
export function webgpuTargets(device, options = {}) {
  return {
    webgpu: backendTarget({
      name: 'webgpu',
      backend: async () => new WebGpuBackend(await device(), options),
    }),
    'webgpu-arena': classTarget('webgpu-arena', device, options, inArena),
    // Small workgroups: a large parameter needs more of them than fit in one dimension.
    'webgpu-own-buffers': classTarget(
      'webgpu-own-buffers',
      device,
      { workgroupSize: 64, ...options },
      inOwnBuffers,
    ),
  };
}

const bufferOf = (place) => place.buffer ?? place.storage.buffer;
const fixedPlaces = 'a gradient has a fixed place of the right shape and type';

function classTarget(name, device, options, define) {
  return {
    name,
    dtype: 'float32',
    create: async (spec) => subject(await device(), spec, options, define),
    unsupported: {
      'bad-input/gradient-of-wrong-shape': fixedPlaces,
      'bad-input/gradient-of-wrong-rank': fixedPlaces,
      'bad-input/one-good-gradient-and-one-bad': fixedPlaces,
      'bad-input/disposed-gradient': fixedPlaces,
    },
  };
}

const inArena = (_device, { shape, values }) => ({ shape, values: Float32Array.from(values) });

function inOwnBuffers(device, { shape, values }, made) {
  const { STORAGE, COPY_SRC, COPY_DST } = GPUBufferUsage;
  const usage = STORAGE | COPY_SRC | COPY_DST;
  const make = () => {
    const buffer = device.createBuffer({ size: Math.max(4, 4 * values.length), usage });
    made.push(buffer);
    return { buffer };
  };
  const own = { shape, parameter: make(), gradient: make() };
  if (values.length > 0) {
    device.queue.writeBuffer(own.parameter.buffer, 0, Float32Array.from(values));
  }
  return own;
}

async function subject(device, { parameters, options }, extra, define) {
  // The suite's own tensors come from a backend of their own.
  const tensors = new WebGpuBackend(device);
  const shapes = new Map(parameters.map(({ name, shape }) => [name, String(shape)]));
  const buffers = [];
  const definitions = parameters.map((p) => [p.name, define(device, p, buffers)]);
  const optimizer = await WebGpuAdan.create(device, definitions, { ...options, ...extra });
  // Buffers for x are made once, by the first evaluation.
  optimizer.evaluate();
  const copy = (from, to) => {
    tensors.flush();
    const encoder = device.createCommandEncoder();
    if (to.size > 0)
      encoder.copyBufferToBuffer(bufferOf(from), from.offset, bufferOf(to), to.offset, to.size);
    device.queue.submit([encoder.finish()]);
  };
  const read = async (views) => {
    const copies = Object.entries(views).map(([name, view]) => {
      const tensor = tensors.upload(new Float32Array(view.size / 4), [view.size / 4]);
      copy(view, tensor);
      return [name, tensor];
    });
    const values = copies.map(async ([name, tensor]) => [name, await tensors.download(tensor)]);
    const result = Object.fromEntries(await Promise.all(values));
    for (const [, tensor] of copies) tensors.dispose(tensor);
    return result;
  };
  const held = () =>
    Object.fromEntries(optimizer.parameterNames.map((name) => [name, optimizer.parameter(name)]));
  const inMode = (mode, fn) => {
    const before = optimizer.mode;
    optimizer[mode]();
    const views = read(held());
    optimizer[before]();
    return fn(views);
  };
  return {
    upload: (values, shape) => tensors.upload(values, shape),
    download: (tensor) => tensors.download(tensor),
    free: (tensor) => tensors.dispose(tensor),
    step: (gradients) => {
      // What no gradient view can be, this stand-in for a backward pass refuses.
      const copies = Object.entries(gradients).flatMap(([name, tensor]) => {
        if (!tensor || !optimizer.parameterNames.includes(name)) return [];
        const view = optimizer.gradient(name);
        const fits = !tensor.disposed && String(tensor.shape) === shapes.get(name);
        if (!fits) throw new Error(`Not a gradient of '${name}'.`);
        return [[tensor, view]];
      });
      for (const [tensor, view] of copies) copy(tensor, view);
      const names = Object.keys(gradients).filter(
        (name) => gradients[name] || !optimizer.parameterNames.includes(name),
      );
      optimizer.step(undefined, names);
    },
    evalParameters: async () => read(optimizer.evaluate()),
    trainParameters: () => inMode('train', (views) => views),
    parameters: async () => read(held()),
    ...ownMethods(optimizer),
    save: () => optimizer.snapshot(),
    load: (checkpoint) => optimizer.load(checkpoint),
    dispose: () => {
      optimizer.dispose();
      for (const buffer of buffers) buffer.destroy();
    },
    liveMemory: () => optimizer.gpuBytes + tensors.bytes,
  };
}
