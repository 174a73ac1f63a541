import { type BufferView, type Definitions, WebGpuAdan, type WebGpuOptions } from '../src/index.js';

/** Numbers in (-1, 1), the same for the same seed. */
export function noise(length: number, seed: number): Float32Array {
  let state = seed * 2654435761 + 1;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

export async function read(device: GPUDevice, view: BufferView): Promise<Float32Array> {
  if (view.size === 0) return new Float32Array();
  const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
  const staging = device.createBuffer({ size: view.size, usage });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(view.buffer, view.offset, staging, 0, view.size);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(GPUMapMode.READ);
  const values = new Float32Array(staging.getMappedRange().slice(0));
  staging.destroy();
  return values;
}

export const write = (device: GPUDevice, view: BufferView, values: Float32Array) =>
  device.queue.writeBuffer(view.buffer, view.offset, Float32Array.from(values));

export const shapes: Readonly<Record<string, readonly number[]>> = {
  scalar: [],
  odd: [13],
  matrix: [37, 11],
  none: [0, 3],
  long: [5, 1001],
  aligned: [64, 4],
};
export const lengthOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

export const inArena = (): Definitions =>
  Object.entries(shapes).map(
    ([name, shape], k) => [name, { shape, values: noise(lengthOf(shape), k) }] as const,
  );

export function inOwnBuffers(device: GPUDevice): Definitions {
  const { STORAGE, COPY_SRC, COPY_DST } = GPUBufferUsage;
  const usage = STORAGE | COPY_SRC | COPY_DST;
  return Object.entries(shapes).map(([name, shape], k) => {
    const size = Math.max(4, 4 * lengthOf(shape));
    const parameter = { buffer: device.createBuffer({ size, usage }) };
    const gradient = { buffer: device.createBuffer({ size, usage }) };
    device.queue.writeBuffer(parameter.buffer, 0, noise(lengthOf(shape), k));
    return [name, { shape, parameter, gradient }] as const;
  });
}

export const gradientsAt = (t: number) =>
  Object.entries(shapes).map(
    ([name, shape], k) => [name, noise(lengthOf(shape), 100 * t + k)] as const,
  );

export async function train(
  device: GPUDevice,
  definitions: Definitions,
  options: WebGpuOptions,
  steps = 6,
): Promise<WebGpuAdan> {
  const optimizer = await WebGpuAdan.create(device, definitions, options);
  for (let t = 1; t <= steps; t++) stepAt(optimizer, t);
  return optimizer;
}

export function stepAt(optimizer: WebGpuAdan, t: number): void {
  for (const [name, values] of gradientsAt(t)) {
    write(optimizer.device, optimizer.gradient(name), values);
  }
  optimizer.step();
}

/** The training state, as one string: equal exactly when every bit is. */
export const bits = async (optimizer: WebGpuAdan) =>
  Buffer.from(await optimizer.snapshot()).toString('base64');

export const everything: WebGpuOptions = {
  betas: [0.9, 0.92, 0.99],
  maxGradNorm: 0.5,
  weightDecay: 0.1,
  warmupSteps: 3,
  groups: [
    { parameters: ['odd'], learningRate: 0.1, weightDecay: 0 },
    { parameters: ['long', 'scalar'], learningRate: 0.001, weightDecay: 0.01 },
  ],
};
