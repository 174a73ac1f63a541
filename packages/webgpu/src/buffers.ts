import { ParameterError } from '@schedule-free-adan/core';
import type { WebGpuBackend } from './backend.js';
import { WebGpuError, type WebGpuErrorCode } from './errors.js';
import { type Chunk, GpuTensor, lengthOf, Storage } from './tensor.js';

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

/** Definitions by name. @throws ParameterError `duplicate-parameter`, `wrong-shape` */
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
    if (isOwn(definition) || !definition.values) continue;
    const { shape, values } = definition;
    if (values.length !== lengthOf(shape)) {
      throw new ParameterError(
        'wrong-shape',
        `'${name}' has ${values.length} values, and its shape [${shape}] needs ${lengthOf(shape)}.`,
        name,
        values.length,
      );
    }
  }
  return result;
}

/**
 * Finds a place for every parameter without a buffer: one after the other, on boundaries that a view
 * may begin at, in as few buffers as the device's limit on one binding allows.
 */
export function arena(backend: WebGpuBackend, definitions: Named): Map<string, Place> {
  const most = backend.chunkBytes;
  const boundary = backend.half ? 512 : 256;
  const chunks: { bytes: number; members: [string, number, readonly number[]][] }[] = [];
  for (const [name, definition] of definitions) {
    if (isOwn(definition)) continue;
    const { shape } = definition;
    const size = Math.max(1, Math.ceil((4 * lengthOf(shape)) / boundary)) * boundary;
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
    chunk.members.push([name, chunk.bytes, shape]);
    chunk.bytes += size;
  }
  const places = new Map<string, Place>();
  for (const { bytes, members } of chunks) {
    const parameters = backend.allocate(bytes);
    const gradients = backend.allocate(bytes);
    const chunk: Chunk = { parameters, gradients, bytes };
    for (const [name, offset, shape] of members) {
      const parameter = new GpuTensor(parameters, offset, shape, false, chunk);
      places.set(name, {
        parameter,
        gradient: new GpuTensor(gradients, offset, shape, false, chunk),
      });
    }
  }
  return places;
}

const STORAGE: readonly (readonly [number, string])[] = [[0x80, 'STORAGE']];
const PARAMETER_USAGE = [...STORAGE, [0x4, 'COPY_SRC'], [0x8, 'COPY_DST']] as const;

/**
 * The user's own buffers as tensors, after all that can be known at once was checked.
 * @throws WebGpuError `missing-gradient`, `buffer-too-small`, `wrong-usage`, `misaligned-view`,
 * `overlapping-views`
 */
export function ownPlaces(backend: WebGpuBackend, definitions: Named): Map<string, Place> {
  const places = new Map<string, Place>();
  const taken: { name: string; buffer: GPUBuffer; from: number; to: number }[] = [];
  const boundary = backend.device.limits.minStorageBufferOffsetAlignment;
  const view = (name: string, kind: 'parameter' | 'gradient', own: OwnParameter) => {
    const what = `${kind} '${name}'`;
    const refuse = (code: WebGpuErrorCode, why: string, value?: unknown) => {
      throw new WebGpuError(code, `The ${what} ${why}.`, name, value);
    };
    const { buffer, offset = 0, size: room = buffer?.size - offset } = own[kind] ?? {};
    if (!buffer) {
      return refuse(
        'missing-gradient',
        'has no buffer; give { parameter, gradient }, each as { buffer, offset?, size? }, or neither',
      );
    }
    const size = 4 * lengthOf(own.shape);
    const given = Math.min(room, buffer.size - offset);
    if (given < size) {
      refuse(
        'buffer-too-small',
        `has ${given} bytes; its shape [${own.shape}] needs ${size}`,
        given,
      );
    }
    const lacking = (kind === 'parameter' ? PARAMETER_USAGE : STORAGE).filter(
      ([bit]) => !(buffer.usage & bit),
    );
    if (lacking.length > 0) {
      const names = lacking.map(([, usage]) => usage).join(' | ');
      refuse(
        'wrong-usage',
        `is in a buffer without the usage ${names}; create it with`,
        buffer.usage,
      );
    }
    if (offset % boundary !== 0) {
      refuse(
        'misaligned-view',
        `begins at byte ${offset}; begin at a multiple of ${boundary}`,
        offset,
      );
    }
    const other = taken.find(
      (t) =>
        t.buffer === buffer &&
        // A kernel may not read and write one buffer at a time, not even at different places.
        ((offset < t.to && t.from < offset + size) || t.name === name),
    );
    if (other) {
      refuse(
        'overlapping-views',
        `shares memory, or as gradient a buffer, with '${other.name}'; give each its own`,
        offset,
      );
    }
    taken.push({ name, buffer, from: offset, to: offset + size });
    return new GpuTensor(new Storage(buffer), offset, [...own.shape]);
  };
  for (const [name, definition] of definitions) {
    if (!isOwn(definition)) continue;
    places.set(name, {
      parameter: view(name, 'parameter', definition),
      gradient: view(name, 'gradient', definition),
    });
  }
  return places;
}

const probe = `@group(0) @binding(0) var<storage, read> data: array<u32>;
@compute @workgroup_size(1) fn main() { _ = arrayLength(&data); }
`;

/**
 * What only the device can tell of a buffer: whose it is, and whether it still exists. The probe's
 * kernel binds the buffer and does nothing.
 * @throws WebGpuError `foreign-device`, `destroyed-buffer`
 */
export async function probeBuffers(
  backend: WebGpuBackend,
  places: ReadonlyMap<string, Place>,
): Promise<void> {
  const { device } = backend;
  const pipeline = backend.pipeline(probe);
  for (const [name, place] of places) {
    for (const kind of ['parameter', 'gradient'] as const) {
      const { offset, storage } = place[kind];
      const { buffer } = storage;
      if (buffer.size === 0) continue;
      device.pushErrorScope('validation');
      backend.flush();
      backend.dispatch(pipeline, backend.bind(pipeline, [{ buffer, offset, size: 4 }]), 1);
      backend.flush();
      const error = await device.popErrorScope();
      if (!error) continue;
      const destroyed = /destroyed/i.test(error.message);
      throw new WebGpuError(
        destroyed ? 'destroyed-buffer' : 'foreign-device',
        `The buffer of ${kind} '${name}' ${destroyed ? 'is destroyed' : 'belongs to another device'} (${error.message}); give one that lives on this device.`,
        name,
      );
    }
  }
}
