import type { GraphBuilder } from '../graph.js';
import type { Node } from '../model/schema.js';
import { toNumber } from '../model/tensors.js';

export const isTraining = ({ opType, attribute = [] }: Node) =>
  opType === 'BatchNormalization' &&
  attribute.some(({ name, i }) => name === 'training_mode' && toNumber(i) === 1);

/**
 * Normalization by the batch's own statistics, in operators that every provider has; and the running
 * ones, old · momentum + new · (1 − momentum), as the node gives them.
 */
export function lowerBatchNorm(b: GraphBuilder, { input, output, attribute = [] }: Node): void {
  const [x, scale, bias, mean, variance] = input as [string, string, string, string, string];
  const [y, ...running] = output as [string, string?, string?];
  const float = (name: string, fallback: number) =>
    attribute.find((a) => a.name === name)?.f ?? fallback;
  const { add, sub, mul, div, sqrt } = b;
  // Whatever the rank: [N, C, all the rest].
  const flat = b.node('Reshape', [x, b.integers(0, 0, -1)]);
  const channels = (value: string) => b.reshape(value, [1, -1, 1]);
  const average = (value: string) =>
    b.node('ReduceMean', [value, b.integers(0, 2)], { keepdims: 1 });
  const means = average(flat);
  const centered = sub(flat, means);
  const variances = average(mul(centered, centered));
  const hat = div(centered, sqrt(add(variances, float('epsilon', 1e-5))));
  const made = add(mul(hat, channels(scale)), channels(bias));
  b.node('Reshape', [made, b.node('Shape', [x])], {}, y);
  const momentum = float('momentum', 0.9);
  [mean, variance].forEach((old, k) => {
    if (!running[k]) return;
    const now = b.reshape(k === 0 ? means : variances, [-1]);
    const parts = [mul(old, momentum), mul(now, 1 - momentum)];
    b.node('Add', parts, {}, running[k]);
  });
}
