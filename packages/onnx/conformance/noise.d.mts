export function noise(length: number, seed: number): Float32Array;
