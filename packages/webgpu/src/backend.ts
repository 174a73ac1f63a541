import type { Backend, FloatArray, StepRequest, TensorInfo } from '@schedule-free-adan/core';
import { grid, halfKeys, packShader, WgslPrimitives } from '@schedule-free-adan/core/wgsl';
import { deviceLost } from './errors.js';
import { makePlan, type Plan } from './plan.js';
import { type Chunk, GpuTensor, lengthOf, padded, type Range, Storage } from './tensor.js';

export interface WebGpuBackendOptions {
  /** Invocations per workgroup. Default 256, or what the device can do; the same bits for every size. */
  readonly workgroupSize?: number;
  /** `'float16'` keeps m, v and the previous gradient as pairs of float16. Default `'float32'`. */
  readonly state?: 'float32' | 'float16';
  /** How many invocations share the norm of the gradients, about. Default 2048. */
  readonly normThreads?: number;
  /** Size in bytes of an arena's largest buffer. Default: what the device can bind. */
  readonly chunkBytes?: number;
}

/** STORAGE, COPY_SRC and COPY_DST of GPUBufferUsage, which not every runtime has as a global. */
const TENSOR_USAGE = 0x80 | 0x4 | 0x8;
const COPY_SRC = 0x4;
const MAP_READ_COPY_DST = 0x1 | 0x8;

export interface Prepared {
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
}

/** What was compiled on a device, by workgroup size and text. */
const pipelines = new WeakMap<GPUDevice, Map<string, GPUComputePipeline>>();

/**
 * Tensors of float32 on a device that somebody else owns. Work is recorded and submitted by itself at
 * the end of the running task at the latest, or goes into an encoder of the user's: {@link within}.
 */
export class WebGpuBackend extends WgslPrimitives<GpuTensor> implements Backend<GpuTensor> {
  readonly dtype = 'float32';
  readonly half: boolean;
  readonly workgroupSize: number;
  readonly normThreads: number;
  readonly chunkBytes: number;
  /** Bytes of GPU buffers that this backend holds, with those of readings under way. */
  bytes = 0;
  lost: string | undefined;
  lastPlan: Plan | undefined;
  /** Steps write x as well, where there is a place for it. */
  averages = false;
  readonly #pipelines: Map<string, GPUComputePipeline>;
  readonly #plans = new WeakMap<object, Plan>();
  #encoder: GPUCommandEncoder | undefined;
  /** The encoder is somebody else's, who submits it. */
  #borrowed = false;
  #pass: GPUComputePassEncoder | undefined;
  #garbage: GPUBuffer[] = [];
  #postponed: (() => void)[] = [];

  constructor(
    readonly device: GPUDevice,
    options: WebGpuBackendOptions = {},
  ) {
    super();
    const { maxComputeInvocationsPerWorkgroup: most } = device.limits;
    this.workgroupSize = options.workgroupSize ?? Math.min(256, most);
    this.normThreads = options.normThreads ?? 2048;
    this.half = options.state === 'float16';
    const { maxStorageBufferBindingSize: bound, maxBufferSize } = device.limits;
    this.chunkBytes = Math.min(options.chunkBytes ?? bound, bound, maxBufferSize);
    this.#pipelines = pipelines.get(device) ?? new Map();
    pipelines.set(device, this.#pipelines);
    device.lost.then(({ reason, message }) => {
      this.lost = message || reason;
    });
  }

  /** The fused step: two passes over the gradients where that is asked for, and one dispatch over the state. */
  step(request: StepRequest<GpuTensor>): void {
    this.alive();
    this.lastPlan = this.#plans.get(request.metrics) ?? makePlan(this, request.metrics);
    this.#plans.set(request.metrics, this.lastPlan);
    this.lastPlan.step(request);
  }

  /** @throws WebGpuError `device-lost` */
  alive(): void {
    if (this.lost !== undefined) throw deviceLost(this.lost);
  }

  // Memory

  /** `size` bytes of GPU memory, zeros. */
  allocate(size: number, usage = TENSOR_USAGE, values?: FloatArray, onRelease?: () => void) {
    const buffer = this.device.createBuffer({ size, usage, mappedAtCreation: !!values });
    if (values) {
      new Float32Array(buffer.getMappedRange()).set(values);
      buffer.unmap();
    }
    this.bytes += size;
    return new Storage(buffer, () => {
      this.bytes -= size;
      // Commands in a foreign encoder may still need it: the garbage collector frees it then.
      if (!this.#borrowed) this.#garbage.push(buffer);
      if (!this.#encoder) this.#clear();
      onRelease?.();
    });
  }

  /** A buffer laid out as the parameters of a chunk are, for the tensors of a key. */
  plane({ planes, vectors }: Chunk, key: string): Storage {
    let plane = planes.get(key);
    if (!plane || plane.released) {
      const half = this.half && halfKeys.includes(key);
      plane = this.allocate(padded(4 * vectors) / (half ? 2 : 1));
      plane.half = half;
      planes.set(key, plane);
    }
    return plane;
  }

  /** Zeros, without values. */
  upload(values: FloatArray | undefined, shape: readonly number[]): GpuTensor {
    const storage = this.allocate(padded(lengthOf(shape)), TENSOR_USAGE, values);
    return new GpuTensor(storage, 0, [...shape]);
  }

  /** @throws WebGpuError `device-lost` */
  async download(tensor: GpuTensor): Promise<Float32Array> {
    this.alive();
    const { length, half, size } = tensor;
    const staging = this.allocate(padded(length), MAP_READ_COPY_DST);
    this.transfer(tensor, staging, 0);
    // Others may want to read as well: all that is recorded by then is submitted at once.
    // What is recorded in an encoder of the user's is read once he must have submitted it.
    await (this.#borrowed && new Promise<void>((read) => this.#postponed.push(read)));
    this.flush();
    try {
      await staging.buffer.mapAsync(1);
      const raw = staging.buffer.getMappedRange().slice(0, size);
      return half ? widen(raw) : new Float32Array(raw);
    } catch (error) {
      throw deviceLost(this.lost ?? `reading failed: ${error}`);
    } finally {
      staging.drop();
    }
  }

  copy(tensor: GpuTensor): GpuTensor {
    const result = this.upload(undefined, tensor.shape);
    result.storage.half = tensor.half;
    this.transfer(tensor, result.storage, 0);
    return result;
  }

  /** Copies the elements of a tensor of the same format into a buffer. */
  transfer(tensor: GpuTensor, target: Storage, offset: number): void {
    const bytes = Math.ceil(tensor.size / 4) * 4;
    this.commands().copyBufferToBuffer(tensor.buffer, tensor.offset, target.buffer, offset, bytes);
  }

  dispose(tensor: GpuTensor): void {
    tensor.dispose();
  }

  inspect(tensor: GpuTensor): TensorInfo {
    return tensor;
  }

  // Commands

  /** The encoder that commands go to, outside of a compute pass. */
  commands(): GPUCommandEncoder {
    this.#endPass();
    if (!this.#encoder) {
      this.#encoder = this.device.createCommandEncoder();
      queueMicrotask(() => this.flush());
    }
    return this.#encoder;
  }

  /** Runs `fn` with all commands going into `encoder`, to be submitted by its owner. */
  within<R>(encoder: GPUCommandEncoder, fn: () => R): R {
    this.flush();
    this.#encoder = encoder;
    this.#borrowed = true;
    try {
      return fn();
    } finally {
      this.#endPass();
      this.#encoder = undefined;
      this.#borrowed = false;
    }
  }

  /** Writes to a buffer, in order with the commands. */
  write({ buffer }: Storage, offset: number, data: Uint32Array<ArrayBuffer>): void {
    if (!this.#borrowed) {
      this.flush();
      this.device.queue.writeBuffer(buffer, offset, data);
      return;
    }
    // The queue would write before the owner submits; and when that is, nobody here knows.
    const staging = this.allocate(data.byteLength, COPY_SRC, new Float32Array(data.buffer));
    this.commands().copyBufferToBuffer(staging.buffer, 0, buffer, offset, staging.size);
    staging.drop();
  }

  /** Submits what was recorded. */
  flush(): void {
    if (!this.#encoder || this.#borrowed) return;
    this.#endPass();
    this.device.queue.submit([this.#encoder.finish()]);
    this.#encoder = undefined;
    this.#clear();
  }

  #clear(): void {
    for (const buffer of this.#garbage) buffer.destroy();
    this.#garbage = [];
  }

  /** Reads what was to be read from encoders of the user's: by now they are submitted. */
  readPostponed(): void {
    for (const read of this.#postponed) read();
    this.#postponed = [];
  }

  #endPass(): void {
    this.#pass?.end();
    this.#pass = undefined;
  }

  /** A kernel, bound. The same text is compiled once. */
  prepare(code: string, ranges: readonly Range[]): Prepared {
    const { device, workgroupSize } = this;
    const key = workgroupSize + code;
    let pipeline = this.#pipelines.get(key);
    if (!pipeline) {
      const module = device.createShaderModule({ code: `override workgroupSize: u32;\n${code}` });
      pipeline = device.createComputePipeline({
        layout: 'auto',
        compute: { module, constants: { workgroupSize } },
      });
      this.#pipelines.set(key, pipeline);
    }
    const entries = ranges.map((resource, binding) => ({ binding, resource }));
    const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
    return { pipeline, group };
  }

  dispatch({ pipeline, group }: Prepared, invocations: number): void {
    this.#pass ??= this.commands().beginComputePass();
    const pass = this.#pass;
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(...grid(invocations, this.workgroupSize));
  }

  /** The same values as pairs of float16, in a buffer at `offset`. */
  pack({ storage, length }: GpuTensor, { buffer }: Storage, offset: number): void {
    const size = padded(length) / 2;
    const kernel = this.prepare(packShader(), [storage, { buffer, offset, size }]);
    this.dispatch(kernel, size / 8);
  }

  constant(value: number): GpuTensor {
    return this.upload(Float32Array.of(value), []);
  }

  protected override run(code: string, operands: readonly GpuTensor[], ofNone?: number): GpuTensor {
    const shaped = operands.find(({ shape }) => shape.length > 0) ?? operands[0]!;
    const reduced = ofNone !== undefined;
    if (reduced && shaped.length === 0) return this.constant(ofNone);
    const result = this.upload(undefined, reduced ? [] : shaped.shape);
    if (result.length > 0) this.dispatch(this.prepare(code, [...operands, result]), result.length);
    return result;
  }
}

/** Pairs of float16 as float32: the same bits of the fraction, and another bias of the exponent. */
function widen(raw: ArrayBuffer): Float32Array {
  const { buffer } = Uint32Array.from(
    new Uint16Array(raw),
    (h) => ((h & 0x8000) << 16) | ((h & 0x7fff) << 13),
  );
  return new Float32Array(buffer).map((x) => x * 2 ** 112);
}
