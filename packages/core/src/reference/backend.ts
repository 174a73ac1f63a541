import type { Backend, FloatArray, StepEntry, StepRequest, TensorInfo } from '../backend.js';
import { type Coefficients, coefficients } from '../coefficients.js';
import { numbers } from '../interpreters/numbers.js';
import { type ElementState, stateKeys, updateRule } from '../update-rule.js';

/** A float64 tensor on the host. */
export interface ReferenceTensor {
  /** Row-major. */
  readonly data: Float64Array;
  readonly shape: readonly number[];
  disposed: boolean;
}

const tensor = (data: Float64Array, shape: readonly number[]): ReferenceTensor => ({
  data,
  shape,
  disposed: false,
});
const scalar = (value: number) => tensor(Float64Array.of(value), []);

/**
 * The oracle: every primitive in float64 on plain typed arrays, and a fused step that runs the rule as
 * numbers, element by element.
 */
export class ReferenceBackend implements Backend<ReferenceTensor> {
  readonly dtype = 'float64';

  upload(values: FloatArray, shape: readonly number[]) {
    return tensor(Float64Array.from(values), [...shape]);
  }
  async download(a: ReferenceTensor) {
    return this.downloadSync(a);
  }
  downloadSync(a: ReferenceTensor) {
    return a.data.slice();
  }
  copy(a: ReferenceTensor) {
    return tensor(a.data.slice(), a.shape);
  }
  dispose(a: ReferenceTensor) {
    a.disposed = true;
  }
  inspect(a: ReferenceTensor): TensorInfo {
    return { shape: a.shape, dtype: this.dtype, disposed: a.disposed };
  }
  constant(value: number) {
    return scalar(value);
  }

  add = elementwise(numbers.add);
  sub = elementwise(numbers.sub);
  mul = elementwise(numbers.mul);
  div = elementwise(numbers.div);
  minimum = elementwise(Math.min);
  sqrt(a: ReferenceTensor) {
    return tensor(a.data.map(Math.sqrt), a.shape);
  }
  sumOfSquares(a: ReferenceTensor) {
    return scalar(a.data.reduce((sum, value) => sum + value * value, 0));
  }
  allFinite(a: ReferenceTensor) {
    return scalar(a.data.every(Number.isFinite) ? 1 : 0);
  }
  select(condition: ReferenceTensor, a: ReferenceTensor, b: ReferenceTensor) {
    return this.copy(condition.data[0] ? a : b);
  }

  /** The numbers that the rule works with. */
  coefficients(entry: StepEntry<ReferenceTensor>): Coefficients {
    return coefficients(entry.group);
  }

  step({ entries, maxGradNorm, epsilon, skipNonFinite, metrics }: StepRequest<ReferenceTensor>) {
    let sum = 0;
    let finite = true;
    for (const { gradient } of entries) {
      for (const g of gradient.data) {
        sum += g * g;
        finite &&= Number.isFinite(g);
      }
    }
    let clip = 1;
    if (maxGradNorm > 0) {
      clip = Math.min(1, maxGradNorm / (Math.sqrt(sum) + epsilon));
      metrics.gradientNorm.data[0] = Math.sqrt(sum);
      metrics.clipFactor.data[0] = clip;
    }
    if (skipNonFinite && !finite) {
      metrics.skippedSteps.data[0]! += 1;
      return;
    }
    for (const entry of entries) {
      const { form, state, gradient } = entry;
      const c = this.coefficients(entry);
      const keys = stateKeys(form).filter((key) => key !== 'seen');
      for (let i = 0; i < gradient.data.length; i++) {
        const g = gradient.data[i]! * clip;
        const element = Object.fromEntries(
          keys.map((key) => [key, state[key]!.data[i]]),
        ) as unknown as ElementState<number>;
        if (state.seen?.data[0] === 0) element.g = g;
        const next = updateRule(numbers, form, c, element, g);
        for (const key of keys) state[key]!.data[i] = next[key]!;
      }
      state.seen?.data.fill(1);
    }
  }
}

function elementwise(f: (a: number, b: number) => number) {
  return (a: ReferenceTensor, b: ReferenceTensor): ReferenceTensor => {
    const data = new Float64Array(a.shape.length === 0 ? b.data.length : a.data.length);
    const [stepA, stepB] = [a.shape.length === 0 ? 0 : 1, b.shape.length === 0 ? 0 : 1];
    for (let i = 0; i < data.length; i++) data[i] = f(a.data[i * stepA]!, b.data[i * stepB]!);
    return tensor(data, a.shape.length === 0 ? b.shape : a.shape);
  };
}
