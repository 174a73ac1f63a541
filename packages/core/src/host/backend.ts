import type { Backend, FloatArray, StepRequest, TensorInfo } from '../backend.js';
import { coefficients } from '../coefficients.js';
import { type Kernel, pointKernel, stepKernel } from '../interpreters/kernel.js';
import { type WasmRun, wasmKernel, wasmRun, wasmSumOfSquares } from '../interpreters/wasm.js';
import { sizeOf } from '../safetensors.js';
import type { Placement, RuleForm, StateKey } from '../update-rule.js';

/** A float32 tensor in memory that the host reads. */
export interface HostTensor {
  readonly data: Float32Array;
  readonly shape: readonly number[];
  disposed: boolean;
}

/** A tensor around an array of somebody else's. */
export const hostTensor = (
  shape: readonly number[],
  data: Float32Array = new Float32Array(sizeOf(shape)),
): HostTensor => ({ data, shape: [...shape], disposed: false });

/** A tensor in a WebAssembly memory. Views go stale when that grows, so each look checks. */
class MemoryTensor implements HostTensor {
  disposed = false;
  readonly length: number;
  #view: Float32Array | undefined;
  constructor(
    readonly memory: WebAssembly.Memory,
    readonly address: number,
    readonly shape: readonly number[],
  ) {
    this.length = sizeOf(shape);
  }
  get data(): Float32Array {
    const { buffer } = this.memory;
    if (this.#view?.buffer !== buffer) {
      this.#view = new Float32Array(buffer, this.address, this.length);
    }
    return this.#view;
  }
}

const PAGE = 65536;
const modules = new Map<string, WebAssembly.Module>();

/**
 * Float32 tensors on the host, in a WebAssembly memory of their own, where others can read and write
 * them as typed arrays. The fused step works on four numbers at a time, and rounds to float32 as an
 * operator does. Needs WebAssembly with SIMD.
 */
export class HostBackend implements Backend<HostTensor> {
  readonly dtype = 'float32';
  readonly #memory = new WebAssembly.Memory({ initial: 1 });
  readonly #programs = new Map<string, WasmRun>();
  readonly #free = new Map<number, number[]>();
  #top = 16;
  #bytes = 0;

  /** Of all tensors that it has made and nobody has disposed. */
  get bytes(): number {
    return this.#bytes;
  }

  /** A tensor with whatever is in memory. */
  make(shape: readonly number[]): HostTensor {
    const size = sizeOf(shape);
    const room = roomFor(size);
    let address = this.#free.get(room)?.pop();
    if (address === undefined) {
      address = this.#top;
      this.#top += room;
      const missing = this.#top - this.#memory.buffer.byteLength;
      if (missing > 0) this.#memory.grow(Math.ceil(missing / PAGE));
    }
    this.#bytes += 4 * size;
    return new MemoryTensor(this.#memory, address, [...shape]);
  }

  /** A part of a tensor of this memory, from element `start`. Is not disposed. */
  part(tensor: HostTensor, shape: readonly number[], start: number): HostTensor {
    return new MemoryTensor(this.#memory, (tensor as MemoryTensor).address + 4 * start, shape);
  }

  #fill(shape: readonly number[], fill: (data: Float32Array) => void): HostTensor {
    const tensor = this.make(shape);
    fill(tensor.data);
    return tensor;
  }

  #elementwise = (f: (a: number, b: number) => number) => (a: HostTensor, b: HostTensor) => {
    const [stepA, stepB] = [a.shape.length && 1, b.shape.length && 1];
    return this.#fill((stepA ? a : b).shape, (data) => {
      const [from, other] = [a.data, b.data];
      for (let i = 0; i < data.length; i++) data[i] = f(from[i * stepA]!, other[i * stepB]!);
    });
  };

  upload(values: FloatArray, shape: readonly number[]) {
    return this.#fill(shape, (data) => data.set(values));
  }
  async download(a: HostTensor) {
    return this.downloadSync(a);
  }
  downloadSync(a: HostTensor) {
    return a.data.slice();
  }
  copy(a: HostTensor) {
    return this.#fill(a.shape, (data) => data.set(a.data));
  }
  dispose(a: HostTensor) {
    if (!a.disposed && a instanceof MemoryTensor && a.memory === this.#memory) {
      this.#bytes -= 4 * a.length;
      const room = roomFor(a.length);
      const free = this.#free.get(room);
      if (free) free.push(a.address);
      else this.#free.set(room, [a.address]);
    }
    a.disposed = true;
  }
  inspect({ shape, disposed }: HostTensor): TensorInfo {
    return { shape, dtype: this.dtype, disposed };
  }
  constant(value: number) {
    return this.#fill([], (data) => data.fill(value));
  }

  add = this.#elementwise((a, b) => a + b);
  sub = this.#elementwise((a, b) => a - b);
  mul = this.#elementwise((a, b) => a * b);
  div = this.#elementwise((a, b) => a / b);
  minimum = this.#elementwise(Math.min);
  sqrt(a: HostTensor) {
    return this.#fill(a.shape, (data) => data.set(a.data.map(Math.sqrt)));
  }
  sumOfSquares(a: HostTensor) {
    return this.constant(this.#squares(a));
  }
  allFinite(a: HostTensor) {
    return this.constant(Number.isFinite(this.#squares(a)) ? 1 : 0);
  }
  select(condition: HostTensor, a: HostTensor, b: HostTensor) {
    return this.copy(condition.data[0] ? a : b);
  }

  /** A program on this memory, compiled once for all. */
  #program(key: string, bytes: () => Uint8Array<ArrayBuffer>): WasmRun {
    let run = this.#programs.get(key);
    if (!run) {
      const module = modules.get(key) ?? new WebAssembly.Module(bytes());
      modules.set(key, module);
      run = wasmRun(module, this.#memory);
      this.#programs.set(key, run);
    }
    return run;
  }

  #run(
    key: string,
    kernel: Kernel,
    size: number,
    tensor: (name: string) => HostTensor,
    numbers: Readonly<Record<string, number>>,
    result = tensor,
  ): void {
    const address = (of: HostTensor) => (of as MemoryTensor).address;
    const run = this.#program(key, () => wasmKernel(kernel));
    run(
      size,
      ...kernel.inputs.map((name) => address(tensor(name))),
      ...kernel.outputs.map((name) => address(result(name))),
      ...kernel.numbers.map((name) => numbers[name]!),
    );
  }

  /** Runs `fn` with the tensor in this memory, where it may have to be copied to. */
  #here<R>(tensor: HostTensor, fn: (tensor: MemoryTensor) => R): R {
    if (tensor instanceof MemoryTensor && tensor.memory === this.#memory) return fn(tensor);
    const copy = this.copy(tensor) as MemoryTensor;
    try {
      return fn(copy);
    } finally {
      this.dispose(copy);
    }
  }

  #squares(tensor: HostTensor): number {
    const run = this.#program('squares', wasmSumOfSquares);
    return this.#here(tensor, ({ length, address }) => run(length, address));
  }

  point(from: HostTensor, z: HostTensor, momentum: number, to: Placement) {
    const result = this.make(from.shape);
    this.#here(from, (from) =>
      this.#here(z, (z) => {
        const numbers = { momentum, oneMinusMomentum: 1 - momentum };
        const input = (name: string) => (name === 'z' ? z : from);
        this.#run(to, pointKernel(to), from.length, input, numbers, () => result);
      }),
    );
    return result;
  }

  step({ entries, maxGradNorm, epsilon, skipNonFinite, metrics }: StepRequest<HostTensor>) {
    let clip = 1;
    if (maxGradNorm > 0 || skipNonFinite) {
      let sum = 0;
      for (const { gradient } of entries) sum += this.#squares(gradient);
      if (maxGradNorm > 0) {
        const norm = Math.sqrt(sum);
        clip = Math.min(1, maxGradNorm / (norm + epsilon));
        metrics.gradientNorm.data[0] = norm;
        metrics.clipFactor.data[0] = clip;
      }
      // Squares of float32 numbers don't overflow float64: the sum is finite exactly when they are.
      if (skipNonFinite && !Number.isFinite(sum)) {
        metrics.skippedSteps.data[0]! += 1;
        return;
      }
    }
    const ofGroup = new Map<unknown, Record<string, number>>();
    for (const { form, group, state, gradient } of entries) {
      const numbers = ofGroup.get(group) ?? { ...coefficients(group), clip };
      ofGroup.set(group, numbers);
      const first = state.seen?.data[0] === 0;
      numbers.clipPrevious = first ? clip : 1;
      const { kernel, key } = kernelOf(form);
      this.#here(gradient, (own) => {
        const input = (name: string) =>
          name === 'gradient' || (first && name === 'g') ? own : state[name as StateKey]!;
        const output = (name: string) => state[name as StateKey]!;
        this.#run(key, kernel, own.length, input, numbers, output);
      });
      state.seen?.data.fill(1);
    }
  }
}

/** Bytes for so many numbers: whole groups of four. */
const roomFor = (length: number) => Math.max(16, Math.ceil(length / 4) * 16);

const kernels = new Map<string, { readonly kernel: Kernel; readonly key: string }>();
function kernelOf(form: RuleForm) {
  const key = Object.values(form).join();
  let found = kernels.get(key);
  if (!found) {
    found = { key, kernel: stepKernel(form, { clipping: true, clipKnown: 'host' }) };
    kernels.set(key, found);
  }
  return found;
}
