import type { Backend, FloatArray, StepRequest } from '@schedule-free-adan/core';
import { composedStep } from '@schedule-free-adan/core/rule';

/** A tensor as a list of numbers. */
export interface PlainTensor {
  values: number[];
  shape: readonly number[];
  disposed: boolean;
}

const tensor = (values: number[], shape: readonly number[]): PlainTensor => ({
  values,
  shape: [...shape],
  disposed: false,
});
const scalar = (value: number) => tensor([value], []);

/** Works element by element; a scalar meets every element of the other operand. */
const elementwise =
  (f: (a: number, b: number) => number) =>
  (a: PlainTensor, b: PlainTensor): PlainTensor => {
    const at = ({ values, shape }: PlainTensor, i: number) => values[shape.length === 0 ? 0 : i]!;
    const larger = a.shape.length === 0 ? b : a;
    return tensor(
      larger.values.map((_, i) => f(at(a, i), at(b, i))),
      larger.shape,
    );
  };

/** Schedule-Free Adan's tensor interface on plain arrays: all that an adapter needs. */
export class PlainArrayBackend implements Backend<PlainTensor> {
  readonly dtype = 'float64';

  upload = (values: FloatArray, shape: readonly number[]) => tensor([...values], shape);
  download = async (a: PlainTensor) => this.downloadSync(a);
  downloadSync = (a: PlainTensor) => Float64Array.from(a.values);
  copy = (a: PlainTensor) => tensor([...a.values], a.shape);
  dispose = (a: PlainTensor) => {
    a.disposed = true;
  };
  inspect = ({ shape, disposed }: PlainTensor) => ({ shape, disposed, dtype: this.dtype });

  constant = scalar;
  add = elementwise((a, b) => a + b);
  sub = elementwise((a, b) => a - b);
  mul = elementwise((a, b) => a * b);
  div = elementwise((a, b) => a / b);
  minimum = elementwise(Math.min);
  sqrt = (a: PlainTensor) => tensor(a.values.map(Math.sqrt), a.shape);
  sumOfSquares = (a: PlainTensor) => scalar(a.values.reduce((sum, v) => sum + v * v, 0));
  allFinite = (a: PlainTensor) => scalar(a.values.every(Number.isFinite) ? 1 : 0);
  select = (condition: PlainTensor, a: PlainTensor, b: PlainTensor) =>
    this.copy(condition.values[0] === 0 ? b : a);

  step(request: StepRequest<PlainTensor>) {
    composedStep(this, request);
  }
}
