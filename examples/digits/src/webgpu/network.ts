import { type BufferView, WebGpuAdan, type WebGpuOptions } from '@schedule-free-adan/webgpu';
import { normalNumbers } from '../random.js';
import {
  countKernel,
  gatherKernel,
  hiddenKernel,
  hiddenSlopeKernel,
  inputGradientKernel,
  lossKernel,
  outputGradientKernel,
  ROWS,
} from './kernels.js';

/** Digits as bytes on the host; no Node API is used here, so that a page can train as well. */
export interface Bytes {
  readonly count: number;
  readonly images: Uint8Array;
  readonly labels: Uint8Array;
}

/** A set of digits on the device, and the order in which batches take them. */
interface Resident {
  readonly images: GPUBuffer;
  readonly labels: GPUBuffer;
  readonly order: GPUBuffer;
  readonly count: number;
}

/** After so many steps, a demo asks for their losses. */
export const reportInterval = 25;

const hiddenUnits = 128;
const evaluationBatch = 1000;
/** Steps in an epoch of 60,000 digits of which the losses can wait on the device. */
const mostSteps = 60_000;
const BATCH_BYTES = 256;

const shapes = { w1: [784, hiddenUnits], b1: [hiddenUnits], w2: [hiddenUnits, 10], b2: [10] };
type ParameterName = keyof typeof shapes;
export type Weights = Readonly<Record<ParameterName, Float32Array>>;
type Views = Readonly<Record<ParameterName, BufferView>>;

/** Glorot's normal weights out of uniform random numbers; biases 0. */
export function initialWeights(uniform: () => number): Weights {
  const next = normalNumbers(uniform);
  const normal = (fanIn: number, fanOut: number) =>
    Float32Array.from({ length: fanIn * fanOut }, () => next() * Math.sqrt(2 / (fanIn + fanOut)));
  return {
    w1: normal(784, hiddenUnits),
    b1: new Float32Array(hiddenUnits),
    w2: normal(hiddenUnits, 10),
    b2: new Float32Array(10),
  };
}

/**
 * A network that lives and learns on the device. A training step is six dispatches and the
 * optimizer's, in one command buffer; the host sends a few numbers and reads nothing.
 */
export class GpuNetwork {
  readonly #pipelines = new Map<string, GPUComputePipeline>();
  readonly #pixels: GPUBuffer;
  readonly #right: GPUBuffer;
  readonly #hidden: GPUBuffer;
  readonly #slopes: GPUBuffer;
  readonly #loss: GPUBuffer;
  readonly #losses: GPUBuffer;
  readonly #batches: GPUBuffer;
  readonly #correct: GPUBuffer;
  readonly #groups = new Map<string, GPUBindGroup>();
  #fault: GPUError | undefined;

  private constructor(
    readonly device: GPUDevice,
    readonly optimizer: WebGpuAdan,
    readonly batchSize: number,
  ) {
    device.addEventListener('uncapturederror', ({ error }) => {
      this.#fault ??= error;
    });
    const { STORAGE, UNIFORM, COPY_SRC, COPY_DST } = GPUBufferUsage;
    const make = (size: number, usage = STORAGE | COPY_SRC | COPY_DST) =>
      device.createBuffer({ size, usage });
    const most = Math.max(batchSize, evaluationBatch);
    this.#pixels = make(4 * 784 * most);
    this.#right = make(4 * most);
    this.#hidden = make(4 * hiddenUnits * most);
    this.#slopes = make(4 * 10 * most);
    this.#loss = make(4 * most);
    this.#losses = make(4 * mostSteps);
    this.#batches = make(BATCH_BYTES * Math.ceil(mostSteps / batchSize), UNIFORM | COPY_DST);
    this.#correct = make(4);
  }

  static async create(
    device: GPUDevice,
    weights: Weights,
    batchSize: number,
    options: WebGpuOptions,
  ): Promise<GpuNetwork> {
    const names = Object.keys(shapes) as ParameterName[];
    const parameters = names.map(
      (name) => [name, { shape: shapes[name], values: weights[name] }] as const,
    );
    const optimizer = await WebGpuAdan.create(device, parameters, options);
    return new GpuNetwork(device, optimizer, batchSize);
  }

  /** Puts digits on the device. */
  resident({ images, labels, count }: Bytes): Resident {
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST;
    const put = (bytes: Uint8Array) => {
      const size = Math.ceil(bytes.length / 4) * 4;
      const buffer = this.device.createBuffer({ size, usage, mappedAtCreation: true });
      new Uint8Array(buffer.getMappedRange()).set(bytes);
      buffer.unmap();
      return buffer;
    };
    const inOrder = Uint32Array.from({ length: count }, (_, i) => i);
    return {
      images: put(images),
      labels: put(labels),
      order: put(new Uint8Array(inOrder.buffer)),
      count,
    };
  }

  /** Tells the order of an epoch's digits, and where each of its batches begins and ends. */
  beginEpoch(digits: Resident, order: Uint32Array): void {
    this.device.queue.writeBuffer(digits.order, 0, Uint32Array.from(order));
    this.#writeBatches(digits.count, this.batchSize);
  }

  #writeBatches(count: number, size: number): void {
    const batches = Math.ceil(count / size);
    const words = new Uint32Array((batches * BATCH_BYTES) / 4);
    const floats = new Float32Array(words.buffer);
    for (let i = 0; i < batches; i++) {
      const rows = Math.min(size, count - i * size);
      words.set([i * size, rows, i], (i * BATCH_BYTES) / 4);
      floats[(i * BATCH_BYTES) / 4 + 3] = 1 / rows;
    }
    this.device.queue.writeBuffer(this.#batches, 0, words);
  }

  /** One training step on a batch of the epoch, submitted as one command buffer. */
  step(digits: Resident, batch: number): void {
    const { optimizer, device } = this;
    const at = (name: ParameterName) => optimizer.parameter(name);
    const slope = (name: ParameterName) => optimizer.gradient(name);
    const rows = Math.min(this.batchSize, digits.count - batch * this.batchSize);
    const hidden = { buffer: this.#hidden };
    const slopes = { buffer: this.#slopes };
    const loss = { buffer: this.#loss };
    const pixels = { buffer: this.#pixels };
    const right = { buffer: this.#right };
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    const run = this.#runner(pass, digits, batch, 'train');
    run(gatherKernel, this.#gathered(digits), Math.ceil((196 * rows) / 64));
    run(hiddenKernel, [pixels, at('w1'), at('b1'), hidden], 1, Math.ceil(rows / ROWS));
    run(lossKernel, [right, at('w2'), at('b2'), hidden, slopes, loss], Math.ceil(rows / 32));
    run(
      outputGradientKernel,
      [hidden, slopes, loss, slope('w2'), slope('b2'), { buffer: this.#losses }],
      Math.ceil(1291 / 64),
    );
    run(hiddenSlopeKernel, [at('w2'), slopes, hidden], Math.ceil((hiddenUnits * rows) / 64));
    run(inputGradientKernel, [pixels, hidden, slope('w1'), slope('b1')], 1, 50);
    pass.end();
    optimizer.step(encoder);
    device.queue.submit([encoder.finish()]);
  }

  /** The losses of the epoch's steps from one to another: the only thing that training reads back. */
  async losses(from: number, to: number): Promise<Float32Array> {
    return new Float32Array(await this.#read(this.#losses, 4 * from, 4 * (to - from)));
  }

  /** The share of digits that are named correctly, at x or at y. Overwrites the epoch's batches. */
  async accuracy(digits: Resident, point: 'x' | 'y'): Promise<number> {
    const { device, optimizer } = this;
    const views =
      point === 'x'
        ? (optimizer.evaluate() as Views)
        : (Object.fromEntries(
            optimizer.parameterNames.map((name) => [name, optimizer.parameter(name)]),
          ) as Views);
    this.#writeBatches(digits.count, evaluationBatch);
    device.queue.writeBuffer(this.#correct, 0, new Uint32Array(1));
    const hidden = { buffer: this.#hidden };
    for (let batch = 0; batch * evaluationBatch < digits.count; batch++) {
      const rows = Math.min(evaluationBatch, digits.count - batch * evaluationBatch);
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      const run = this.#runner(pass, digits, batch, point);
      const correct = { buffer: this.#correct };
      const pixels = { buffer: this.#pixels };
      const right = { buffer: this.#right };
      run(gatherKernel, this.#gathered(digits), Math.ceil((196 * rows) / 64));
      run(hiddenKernel, [pixels, views.w1, views.b1, hidden], 1, Math.ceil(rows / ROWS));
      run(countKernel, [right, views.w2, views.b2, hidden, correct], Math.ceil(rows / 32));
      pass.end();
      device.queue.submit([encoder.finish()]);
    }
    const [correct] = new Uint32Array(await this.#read(this.#correct, 0, 4));
    return correct! / digits.count;
  }

  #gathered({ order, images, labels }: Resident): GPUBufferBinding[] {
    return [order, images, labels, this.#pixels, this.#right].map((buffer) => ({ buffer }));
  }

  #runner(pass: GPUComputePassEncoder, digits: Resident, batch: number, purpose: string) {
    return (code: string, views: readonly GPUBufferBinding[], x: number, y = 1) => {
      const pipeline = this.#pipeline(code);
      const key = `${purpose} ${batch} ${digits.count} ${code}`;
      let group = this.#groups.get(key);
      if (!group) {
        const uniform = { buffer: this.#batches, offset: BATCH_BYTES * batch, size: 16 };
        const all = [uniform, ...views];
        group = this.device.createBindGroup({
          layout: pipeline.getBindGroupLayout(0),
          entries: all.map((resource, binding) => ({ binding, resource })),
        });
        this.#groups.set(key, group);
      }
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(x, y);
    };
  }

  #pipeline(code: string): GPUComputePipeline {
    let pipeline = this.#pipelines.get(code);
    if (!pipeline) {
      const module = this.device.createShaderModule({ code });
      pipeline = this.device.createComputePipeline({ layout: 'auto', compute: { module } });
      this.#pipelines.set(code, pipeline);
    }
    return pipeline;
  }

  async #read(buffer: GPUBuffer, offset: number, size: number): Promise<ArrayBuffer> {
    if (size === 0) return new ArrayBuffer(0);
    const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
    const staging = this.device.createBuffer({ size, usage });
    const encoder = this.device.createCommandEncoder();
    encoder.copyBufferToBuffer(buffer, offset, staging, 0, size);
    this.device.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    if (this.#fault) throw new Error(`The GPU refused a command: ${this.#fault.message}`);
    const bytes = staging.getMappedRange().slice(0);
    staging.destroy();
    return bytes;
  }

  dispose(): void {
    this.optimizer.dispose();
    this.device.destroy();
  }
}
