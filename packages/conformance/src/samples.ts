import type { FloatArray, OptimizerOptions } from '@schedule-free-adan/core';
import type { ParameterSpec, Subject, SubjectSpec } from './target.js';

/** Seeded uniform numbers in [0, 1): mulberry32. */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Roughly normal numbers, exact in float32 and away from its subnormals. */
export function normals(length: number, random: () => number): Float32Array {
  return Float32Array.from({ length }, () => {
    const value = random() + random() + random() + random() - 2;
    return Math.abs(value) < 1e-3 ? 1e-3 : value * 1.7;
  });
}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** Shapes with a scalar, an odd length, a matrix and nothing at all. */
export const usualShapes: Readonly<Record<string, readonly number[]>> = {
  matrix: [3, 4],
  vector: [7],
  scalar: [],
  empty: [0],
};

export function parametersOf(
  shapes: Readonly<Record<string, readonly number[]>>,
  random: () => number,
): ParameterSpec[] {
  return Object.entries(shapes).map(([name, shape]) => ({
    name,
    shape,
    values: normals(sizeOf(shape), random),
  }));
}

export function specOf(
  options: SubjectSpec['options'],
  seed: number,
  shapes = usualShapes,
): SubjectSpec {
  return { parameters: parametersOf(shapes, randomNumbers(seed)), options };
}

export type GradientValues = Readonly<Record<string, FloatArray | null>>;

/** Gradients for `steps` steps, of the parameters' shapes. */
export function gradientsFor(spec: SubjectSpec, steps: number, seed: number): GradientValues[] {
  const random = randomNumbers(seed ^ 0x9e3779b9);
  return Array.from({ length: steps }, () =>
    Object.fromEntries(
      spec.parameters.map(({ name, shape }) => [name, normals(sizeOf(shape), random)]),
    ),
  );
}

/** Uploads, steps, and frees the gradients. */
export async function stepWith(
  subject: Subject,
  spec: SubjectSpec,
  gradients: GradientValues,
): Promise<void> {
  const shapes = new Map(spec.parameters.map(({ name, shape }) => [name, shape]));
  const tensors = Object.fromEntries(
    Object.entries(gradients).map(([name, values]) => [
      name,
      values && subject.upload(values, shapes.get(name)!),
    ]),
  );
  try {
    await subject.step(tensors);
  } finally {
    for (const tensor of Object.values(tensors)) if (tensor !== null) subject.free(tensor);
  }
}

export type Options = Omit<OptimizerOptions, 'placement'>;
