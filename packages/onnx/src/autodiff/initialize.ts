import { attributeOf } from '../model/nodes.js';
import type { Graph } from '../model/schema.js';

/** Numbers in (0, 1), the same for the same seed (mulberry32). */
export function random(seed: number) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32 + 2 ** -33;
  };
}

const product = (extents: readonly number[]) => extents.reduce((a, b) => a * b, 1);

/** Values for a parameter, by its first use: He for weights, 1 for scales, 0 for biases. */
export function initialValues(
  name: string,
  shape: readonly number[],
  graph: Graph,
  next: () => number,
): Float32Array {
  const values = new Float32Array(product(shape));
  const user = (graph.node ?? []).find(({ input = [] }) => input.includes(name));
  const place = user?.input?.indexOf(name) ?? 0;
  const { opType = '' } = user ?? {};
  const transposed = opType === 'Gemm' && Number(attributeOf(user!, 'transB').i) === 1;
  let deviation = 0;
  if (opType === 'Gather') deviation = 0.02;
  else if (/Normalization$/.test(opType)) values.fill(place === 1 ? 1 : 0);
  else if (shape.length >= 2 && /^(MatMul|Gemm|Conv|ConvTranspose)$/.test(opType)) {
    const inputs = /Conv/.test(opType)
      ? product(shape.slice(1))
      : transposed
        ? shape.at(-1)!
        : shape.at(-2)!;
    deviation = Math.sqrt(2 / inputs);
  } else if (shape.length >= 2) deviation = 0.02;
  if (deviation > 0) {
    for (let i = 0; i < values.length; i++) {
      values[i] = deviation * Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next());
    }
  }
  return values;
}
