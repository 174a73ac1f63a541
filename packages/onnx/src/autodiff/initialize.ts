import { attributeOf } from '../model/nodes.js';
import type { Tensor } from '../model/schema.js';
import { shapeOf, sizeOf, toNumber, withFloatValues } from '../model/tensors.js';
import type { WholeGraph } from './probe.js';

/** Numbers in (0, 1), the same for the same seed (mulberry32). */
function random(seed: number) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32 + 2 ** -33;
  };
}

/**
 * The initializers of a graph, with new values for the parameters among them, by their first use: He for
 * weights, 1 for scales, 0 for biases.
 */
export function initialized(
  { node, initializer }: WholeGraph,
  parameters: readonly string[],
  seed: number,
): Tensor[] {
  const next = random(seed);
  return initializer.map((tensor) => {
    const { name = '' } = tensor;
    if (!parameters.includes(name)) return tensor;
    const shape = shapeOf(tensor);
    const user = node.find(({ input = [] }) => input.includes(name)) ?? {};
    const { opType = '', input = [] } = user;
    const values = new Float32Array(sizeOf(shape));
    if (/Normalization$/.test(opType)) {
      return withFloatValues(tensor, values.fill(input.indexOf(name) === 1 ? 1 : 0));
    }
    if (shape.length < 2 && opType !== 'Gather') return withFloatValues(tensor, values);
    let deviation = 0.02;
    if (/^(MatMul|Gemm|Conv|ConvTranspose)$/.test(opType)) {
      const rows = toNumber(attributeOf(user, 'transB').i) === 1 ? -1 : -2;
      const inputs = /Conv/.test(opType) ? sizeOf(shape.slice(1)) : shape.at(rows)!;
      deviation = Math.sqrt(2 / inputs);
    }
    const normal = () =>
      deviation * Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next());
    return withFloatValues(tensor, values.map(normal));
  });
}
