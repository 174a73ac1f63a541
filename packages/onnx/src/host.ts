import type { Backend, FloatArray, StepRequest, TensorInfo } from '@schedule-free-adan/core';
import { coefficients, type RuleForm } from '@schedule-free-adan/core/rule';
import { type Arrays, kernels } from './kernels.js';
import { sizeOf } from './model/tensors.js';

/** A float32 tensor in memory that the host reads: its own, or a part of an arena. */
export interface HostTensor {
  readonly data: Float32Array;
  readonly shape: readonly number[];
  disposed: boolean;
}

export const hostTensor = (
  shape: readonly number[],
  data: Float32Array = new Float32Array(sizeOf(shape)),
): HostTensor => ({ data, shape: [...shape], disposed: false });

/**
 * Float32 tensors on the host, where ONNX Runtime's CPU providers read them. Each primitive rounds to
 * float32, as an operator of theirs does; the fused step works in float64 and rounds what it stores.
 */
export class HostBackend implements Backend<HostTensor> {
  readonly dtype = 'float32';
  #bytes = 0;

  /** Of all tensors that it has made and nobody has disposed. */
  get bytes(): number {
    return this.#bytes;
  }

  #make(shape: readonly number[], data: Float32Array): HostTensor {
    this.#bytes += data.byteLength;
    return hostTensor(shape, data);
  }

  #elementwise = (f: (a: number, b: number) => number) => (a: HostTensor, b: HostTensor) => {
    const [stepA, stepB] = [a.shape.length && 1, b.shape.length && 1];
    const { shape } = stepA ? a : b;
    const data = new Float32Array(sizeOf(shape));
    for (let i = 0; i < data.length; i++) data[i] = f(a.data[i * stepA]!, b.data[i * stepB]!);
    return this.#make(shape, data);
  };

  upload(values: FloatArray, shape: readonly number[]) {
    return this.#make(shape, Float32Array.from(values));
  }
  async download(a: HostTensor) {
    return this.downloadSync(a);
  }
  downloadSync(a: HostTensor) {
    return a.data.slice();
  }
  copy(a: HostTensor) {
    return this.#make(a.shape, a.data.slice());
  }
  dispose(a: HostTensor) {
    if (!a.disposed) this.#bytes -= a.data.byteLength;
    a.disposed = true;
  }
  inspect({ shape, disposed }: HostTensor): TensorInfo {
    return { shape, dtype: this.dtype, disposed };
  }
  constant(value: number) {
    return this.#make([], Float32Array.of(value));
  }

  add = this.#elementwise((a, b) => a + b);
  sub = this.#elementwise((a, b) => a - b);
  mul = this.#elementwise((a, b) => a * b);
  div = this.#elementwise((a, b) => a / b);
  minimum = this.#elementwise(Math.min);
  sqrt(a: HostTensor) {
    return this.#make(a.shape, a.data.map(Math.sqrt));
  }
  sumOfSquares({ data }: HostTensor) {
    return this.constant(squares(data));
  }
  allFinite({ data }: HostTensor) {
    return this.constant(Number.isFinite(squares(data)) ? 1 : 0);
  }
  select(condition: HostTensor, a: HostTensor, b: HostTensor) {
    return this.copy(condition.data[0] ? a : b);
  }

  step({ entries, maxGradNorm, epsilon, skipNonFinite, metrics }: StepRequest<HostTensor>) {
    let clip = 1;
    if (maxGradNorm > 0 || skipNonFinite) {
      let sum = 0;
      for (const { gradient } of entries) sum += squares(gradient.data);
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
    for (const { form, group, state, gradient } of entries) {
      const arrays = {} as Record<keyof Arrays, Float32Array>;
      for (const key of ['parameter', 'z', 'm', 'v', 'n', 'g'] as const) {
        if (state[key]) arrays[key] = state[key].data;
      }
      const first = state.seen?.data[0] === 0;
      kernels[formKey(form)]!(coefficients(group), arrays, gradient.data, clip, first);
      state.seen?.data.fill(1);
    }
  }
}

/** The name of a form's kernel. */
export const formKey = ({
  scheduleFree,
  firstMoment,
  gradientDifference,
  decay,
}: RuleForm): string =>
  [scheduleFree ? 'averaging' : 'plain', firstMoment && 'm', gradientDifference && 'v', decay]
    .filter(Boolean)
    .join('-');

function squares(data: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < data.length; i++) sum += data[i]! * data[i]!;
  return sum;
}
