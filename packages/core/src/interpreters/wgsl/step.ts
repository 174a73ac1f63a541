import type { Kernel } from '../kernel.js';
import { forEach, fourOf, halves, shader, statements, storage } from './shader.js';

/** State that float16 suffices for. */
export const halfKeys: readonly string[] = ['m', 'v', 'g'];

/** How the arrays of a step are stored. */
export interface ArrayLayout {
  /** {@link halfKeys} are pairs of float16. */
  readonly half: boolean;
  /** The parameter's and the gradient's arrays hold whole vectors of four. */
  readonly packed: boolean;
  /** Vectors in every array, where that is known beforehand: saves looking up each array's length. */
  readonly vectors?: number | undefined;
}

/** An array of a step, `all_NAME`, of which the numbers at vector `i` are read and written. */
export function stepArray(name: string, { half, packed, vectors }: ArrayLayout) {
  const isOutside = name === 'gradient' || name === 'parameter';
  const type = half && halfKeys.includes(name) ? 'vec2u' : isOutside && !packed ? 'f32' : 'vec4f';
  const access = name === 'gradient' ? 'read' : 'read_write';
  return {
    declare: (binding: number) => storage(binding, access, `all_${name}`, type, vectors),
    ...fourOf(`all_${name}`, type),
  };
}

export interface StepShader {
  readonly kernel: Kernel;
  readonly layout: ArrayLayout;
  /** What is bound before the arrays of the kernel: those of its inputs, then of further outputs. */
  readonly declarations: readonly string[];
  /** The binding of the first array. */
  readonly first: number;
  /** Statements that come first: who has nothing to do returns. */
  readonly begin: string;
  /** Where a number of the kernel is. */
  readonly number: (name: string) => string;
}

/** The arrays that a kernel is bound to. */
export const arraysOf = ({ inputs, outputs }: Kernel): string[] => [
  ...new Set([...inputs, ...outputs]),
];

/** A step in place, four numbers at a time. */
export function stepShader({ kernel, layout, ...step }: StepShader): string {
  const array = (name: string) => stepArray(name, layout);
  return shader(
    ...step.declarations,
    ...arraysOf(kernel).map((name, k) => array(name).declare(step.first + k)),
    layout.half && halves,
    forEach(),
    step.begin,
    statements(
      kernel,
      (name) => (kernel.inputs.includes(name) ? array(name).read : step.number(name)),
      (name, value) => array(name).write(value),
    ),
    '}',
  );
}
