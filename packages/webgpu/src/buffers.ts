import { ParameterError } from '@schedule-free-adan/core';
import type { WebGpuBackend } from './backend.js';
import { WebGpuError } from './errors.js';
import { chunkOf, GpuTensor, lengthOf } from './tensor.js';

/** A range of a buffer, in bytes. May be given to `createBindGroup` as it is. */
export interface BufferView {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly size: number;
}

/** A parameter that the optimizer finds a place for. */
export interface ArenaParameter {
  readonly shape: readonly number[];
  /** Initial values, row-major. Zeros when left out. */
  readonly values?: Float32Array;
}

/** A parameter in a buffer of the user's: usage STORAGE, COPY_SRC and COPY_DST; of the gradient, STORAGE. */
export interface OwnParameter {
  readonly shape: readonly number[];
  readonly parameter: GPUBufferBinding;
  readonly gradient: GPUBufferBinding;
}

export type ParameterDefinition = ArenaParameter | OwnParameter;
export type Definitions =
  | Readonly<Record<string, ParameterDefinition>>
  | Iterable<readonly [string, ParameterDefinition]>;
export type Named = ReadonlyMap<string, ParameterDefinition>;
export type Place = { readonly parameter: GpuTensor; readonly gradient: GpuTensor };

export const isOwn = (definition: ParameterDefinition): definition is OwnParameter =>
  'parameter' in definition || 'gradient' in definition;

/** Definitions by name. @throws ParameterError `duplicate-parameter` */
export function named(definitions: Definitions): Named {
  const entries = Symbol.iterator in definitions ? definitions : Object.entries(definitions);
  const result = new Map<string, ParameterDefinition>();
  for (const [name, definition] of entries) {
    if (result.has(name)) {
      throw new ParameterError(
        'duplicate-parameter',
        `Parameter '${name}' is given twice; give every parameter its own name.`,
        name,
      );
    }
    result.set(name, definition);
  }
  return result;
}

/**
 * Finds a place for every parameter without a buffer: one after the other, on boundaries that a view
 * may begin at, in as few buffers as the device's limit on one binding allows.
 * @throws ParameterError `wrong-shape`, WebGpuError `tensor-too-large`
 */
export function arena(backend: WebGpuBackend, definitions: Named): Map<string, Place> {
  const most = backend.chunkBytes;
  const boundary = backend.half ? 512 : 256;
  const chunks: { bytes: number; members: [string, number, ArenaParameter][] }[] = [];
  for (const [name, definition] of definitions) {
    if (isOwn(definition)) continue;
    const { shape, values } = definition;
    const length = lengthOf(shape);
    if (values && values.length !== length) {
      throw new ParameterError(
        'wrong-shape',
        `'${name}' has ${values.length} values, and its shape [${shape}] needs ${length}.`,
        name,
        values.length,
      );
    }
    const size = Math.max(1, Math.ceil((4 * length) / boundary)) * boundary;
    if (size > most) {
      throw new WebGpuError(
        'tensor-too-large',
        `'${name}' takes ${size} bytes, and an arena's buffer ${most} at most; ask for a device with higher maxStorageBufferBindingSize and maxBufferSize, or split it.`,
        name,
        size,
      );
    }
    let chunk = chunks.at(-1);
    if (!chunk || chunk.bytes + size > most) {
      chunk = { bytes: 0, members: [] };
      chunks.push(chunk);
    }
    chunk.members.push([name, chunk.bytes, definition]);
    chunk.bytes += size;
  }
  const places = new Map<string, Place>();
  for (const { bytes, members } of chunks) {
    const parameters = backend.allocate(bytes);
    const gradients = backend.allocate(bytes);
    const chunk = chunkOf(parameters, gradients, bytes / 16);
    for (const [name, offset, { shape, values }] of members) {
      if (values)
        backend.device.queue.writeBuffer(parameters.buffer, offset, Float32Array.from(values));
      places.set(name, {
        parameter: new GpuTensor(parameters, offset, shape, chunk),
        gradient: new GpuTensor(gradients, offset, shape),
      });
    }
  }
  return places;
}
