import type { WebGpuBackend } from './backend.js';
import { isOwn, type Named, type OwnParameter, type Place } from './buffers.js';
import { WebGpuError, type WebGpuErrorCode } from './errors.js';
import { chunkOf, GpuTensor, lengthOf, Storage, vectorsIn } from './tensor.js';

const GRADIENT_USAGE = { STORAGE: 0x80 };
const PARAMETER_USAGE = { ...GRADIENT_USAGE, COPY_SRC: 0x4, COPY_DST: 0x8 };

/**
 * The user's own buffers as tensors, after all that can be known at once was checked.
 * @throws WebGpuError `missing-gradient`, `buffer-too-small`, `wrong-usage`, `misaligned-view`,
 * `overlapping-views`, `foreign-device`, `destroyed-buffer`
 */
export async function ownPlaces(
  backend: WebGpuBackend,
  definitions: Named,
): Promise<Map<string, Place>> {
  const places = new Map<string, Place>();
  const taken: [string, GpuTensor][] = [];
  const boundary = backend.device.limits.minStorageBufferOffsetAlignment;
  const view = (name: string, kind: 'parameter' | 'gradient', own: OwnParameter) => {
    const refuse = (code: WebGpuErrorCode, why: string, value?: unknown) => {
      throw new WebGpuError(code, `The ${kind} '${name}' ${why}.`, name, value);
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
    const lacking = Object.entries(kind === 'parameter' ? PARAMETER_USAGE : GRADIENT_USAGE)
      .filter(([, bit]) => !(buffer.usage & bit))
      .map(([usage]) => usage)
      .join(' | ');
    if (lacking) {
      refuse(
        'wrong-usage',
        `is in a buffer without the usage ${lacking}; create it with that`,
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
    const tensor = new GpuTensor(new Storage(buffer), offset, [...own.shape]);
    const other = taken.find(
      ([owner, t]) =>
        t.buffer === buffer &&
        // A kernel may not read and write one buffer at a time, not even at different places.
        ((offset < t.offset + t.size && t.offset < offset + size) || owner === name),
    );
    if (other) {
      refuse(
        'overlapping-views',
        `overlaps '${other[0]}' or shares its buffer; give each its own`,
        offset,
      );
    }
    taken.push([name, tensor]);
    return tensor;
  };
  for (const [name, definition] of definitions) {
    if (!isOwn(definition)) continue;
    const parameter = view(name, 'parameter', definition);
    const gradient = view(name, 'gradient', definition);
    parameter.chunk = chunkOf(parameter, gradient, vectorsIn(parameter.length), true);
    places.set(name, { parameter, gradient });
  }
  // What only the device can tell of a buffer: whose it is, and whether it still exists. A primitive reads a
  // number of it, and nobody looks at the result.
  for (const [name, place] of places) {
    for (const [kind, { storage, offset, length }] of Object.entries(place)) {
      if (length === 0) continue;
      backend.flush();
      backend.device.pushErrorScope('validation');
      backend.allFinite(new GpuTensor(storage, offset, [1])).dispose();
      backend.flush();
      const error = await backend.device.popErrorScope();
      if (!error) continue;
      const destroyed = /destroyed/i.test(error.message);
      throw new WebGpuError(
        destroyed ? 'destroyed-buffer' : 'foreign-device',
        `The buffer of ${kind} '${name}' ${destroyed ? 'is destroyed' : 'belongs to another device'} (${error.message}); give one that lives on this device.`,
        name,
      );
    }
  }
  return places;
}
