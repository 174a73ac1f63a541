import { sizeOf } from './model/tensors.js';

export interface ParameterShape {
  readonly name: string;
  readonly shape: readonly number[];
}

/** Where a parameter lies in its arena. */
export interface Place extends ParameterShape {
  readonly start: number;
  readonly end: number;
}

/** A vector with parameters one behind the other, perhaps with gaps. */
export interface Arena {
  /** The input of a model that holds it. */
  readonly name: string;
  readonly places: readonly Place[];
  readonly length: number;
}

/** Tensors one behind the other. */
export function arenaOf(name: string, tensors: readonly ParameterShape[]): Arena {
  let length = 0;
  const places = tensors.map(({ name, shape }) => {
    const start = length;
    length += sizeOf(shape);
    return { name, shape, start, end: length };
  });
  return { name, places, length };
}

/** Values as the vector that they lie in, in the order of its places. */
export function packed(
  { places, length }: Arena,
  values: readonly ArrayLike<number>[],
): Float32Array {
  const arena = new Float32Array(length);
  places.forEach(({ start }, i) => {
    arena.set(values[i]!, start);
  });
  return arena;
}

/** The reverse: a copy of each value, by name. */
export const unpacked = ({ places }: Arena, values: Float32Array): [string, Float32Array][] =>
  places.map(({ name, start, end }) => [name, values.slice(start, end)]);
