import { ParameterError } from '@schedule-free-adan/core';
import type { WebGpuBackend } from './backend.js';
import { TENSOR_USAGE } from './backend.js';
import { WebGpuError } from './errors.js';
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
        `'${name}' takes ${size} bytes, and a buffer of the arena has ${most} at most; ask for a device with a higher maxStorageBufferBindingSize and maxBufferSize, or split the parameter.`,
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

const STORAGE = 0x80;
const usages = { STORAGE, COPY_SRC: 0x4, COPY_DST: 0x8 };

/**
 * The user's own buffers as tensors, after all that can be known at once was checked.
 * @throws WebGpuError `missing-gradient`, `buffer-too-small`, `wrong-usage`, `misaligned-view`,
 * `overlapping-views`
 */
export function ownPlaces(backend: WebGpuBackend, definitions: Named): Map<string, Place> {
  const places = new Map<string, Place>();
  const taken: { what: string; buffer: GPUBuffer; from: number; to: number }[] = [];
  const boundary = backend.device.limits.minStorageBufferOffsetAlignment;
  const view = (name: string, kind: 'parameter' | 'gradient', own: OwnParameter, usage: number) => {
    const binding = own[kind];
    const what = `${kind} '${name}'`;
    if (!binding?.buffer) {
      throw new WebGpuError(
        'missing-gradient',
        `The ${what} has no buffer; give both { parameter, gradient } as { buffer, offset?, size? }, or neither.`,
        name,
      );
    }
    const { buffer, offset = 0 } = binding;
    const size = 4 * lengthOf(own.shape);
    const room = Math.min(binding.size ?? buffer.size, buffer.size - offset);
    if (room < size) {
      throw new WebGpuError(
        'buffer-too-small',
        `The ${what} has ${room} bytes, and its shape [${own.shape}] needs ${size}; give a larger buffer.`,
        name,
        room,
      );
    }
    const lacking = Object.entries(usages).filter(([, bit]) => usage & bit & ~buffer.usage);
    if (lacking.length > 0) {
      throw new WebGpuError(
        'wrong-usage',
        `The buffer of ${what} lacks the usage ${lacking.map(([key]) => key).join(', ')}; create it with GPUBufferUsage.${lacking.map(([key]) => key).join(' | GPUBufferUsage.')} added.`,
        name,
        buffer.usage,
      );
    }
    if (offset % boundary !== 0) {
      throw new WebGpuError(
        'misaligned-view',
        `The ${what} begins at byte ${offset}; views begin at a multiple of ${boundary} on this device.`,
        name,
        offset,
      );
    }
    // A kernel may not read and write one buffer at a time, not even at different places.
    const other = taken.find(
      (t) =>
        t.buffer === buffer &&
        ((offset < t.to && t.from < offset + size) || t.what === `parameter '${name}'`),
    );
    if (other) {
      throw new WebGpuError(
        'overlapping-views',
        `The ${what} and the ${other.what} share memory or, as parameter and gradient, a buffer; give each its own.`,
        name,
        offset,
      );
    }
    taken.push({ what, buffer, from: offset, to: offset + size });
    return new GpuTensor(new Storage(buffer), offset, [...own.shape]);
  };
  for (const [name, definition] of definitions) {
    if (!isOwn(definition)) continue;
    places.set(name, {
      parameter: view(name, 'parameter', definition, TENSOR_USAGE),
      gradient: view(name, 'gradient', definition, STORAGE),
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
      const { buffer, offset } = place[kind];
      if (buffer.size === 0) continue;
      device.pushErrorScope('validation');
      const group = backend.bind(pipeline, [{ buffer, offset, size: 4 }]);
      const foreign = await device.popErrorScope();
      if (foreign) {
        throw new WebGpuError(
          'foreign-device',
          `The buffer of ${kind} '${name}' can't be used on this device: ${foreign.message} Create it on the device that the optimizer runs on.`,
          name,
        );
      }
      device.pushErrorScope('validation');
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(1);
      pass.end();
      device.queue.submit([encoder.finish()]);
      const destroyed = await device.popErrorScope();
      if (destroyed) {
        throw new WebGpuError(
          'destroyed-buffer',
          `The buffer of ${kind} '${name}' can't be submitted: ${destroyed.message} Give a buffer that is not destroyed.`,
          name,
        );
      }
    }
  }
}
