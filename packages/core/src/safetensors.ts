import type { Dtype, FloatArray } from './backend.js';
import { CheckpointError } from './errors.js';

/** A tensor in a file: row-major values and their shape. */
export interface StoredTensor {
  readonly shape: readonly number[];
  readonly data: FloatArray;
}

/** What a safetensors file holds: text by key, and tensors by name. */
export interface SafetensorsFile {
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

interface Header {
  [tensor: string]: { dtype: string; shape: readonly number[]; data_offsets: readonly number[] };
}

const bytesOf = (data: FloatArray) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
export const dtypeOf = (data: FloatArray): Dtype =>
  data instanceof Float64Array ? 'float64' : 'float32';
export const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

export const invalid = (why: string, subject?: string, value?: unknown) =>
  new CheckpointError('invalid-checkpoint', `Unusable checkpoint: ${why}.`, subject, value);

/** What `read` returns; any error in it is one of the file. */
export function usable<R>(read: () => R): R {
  try {
    return read();
  } catch (why) {
    throw invalid((why as Error).message);
  }
}

/** FNV-1a, 32 bits: any one changed byte changes it. */
function checksum(...parts: readonly Uint8Array[]): string {
  let hash = 0x811c9dc5;
  for (const bytes of parts) for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return String(hash >>> 0);
}

const encode = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

/** Writes a safetensors file, with a checksum of header and values among its metadata. */
export function encodeSafetensors({ metadata, tensors }: SafetensorsFile): Uint8Array {
  const header: Header = {};
  let length = 0;
  for (const [name, { shape, data }] of tensors) {
    const dtype = dtypeOf(data) === 'float64' ? 'F64' : 'F32';
    header[name] = { dtype, shape, data_offsets: [length, length + data.byteLength] };
    length += data.byteLength;
  }
  const values = new Uint8Array(length);
  for (const [name, { data }] of tensors) values.set(bytesOf(data), header[name]!.data_offsets[0]);
  const sealed = { ...metadata, checksum: checksum(encode([metadata, header]), values) };
  const json = encode({ __metadata__: sealed, ...header });
  // The values start at a multiple of eight; the format allows spaces behind the header.
  const start = 8 + Math.ceil(json.length / 8) * 8;
  const bytes = new Uint8Array(start + length).fill(0x20, 0, start);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(start - 8), true);
  bytes.set(json, 8);
  bytes.set(values, start);
  return bytes;
}

/**
 * Reads a safetensors file of float32 and float64 tensors. A checksum is verified where there is one.
 * @throws CheckpointError `invalid-checkpoint` for anything damaged, before it allocates for it.
 */
export function decodeSafetensors(bytes: Uint8Array): SafetensorsFile {
  return usable(() => {
    const tensors = new Map<string, StoredTensor>();
    const start = 8 + Number(new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true));
    const text = new TextDecoder().decode(bytes.subarray(8, start));
    const { __metadata__: metadata = {}, ...header } = JSON.parse(text) as Header & {
      __metadata__?: Record<string, string>;
    };
    const values = bytes.subarray(start);
    for (const [name, { dtype, shape, data_offsets }] of Object.entries(header)) {
      const [begin, end] = data_offsets as [number, number];
      const width = dtype === 'F64' ? 8 : dtype === 'F32' ? 4 : Number.NaN;
      if (!(begin >= 0 && end <= values.length) || end - begin !== sizeOf(shape) * width) {
        throw new Error(`'${name}' can't be ${dtype} of shape [${shape}]`);
      }
      const data = values.slice(begin, end).buffer;
      tensors.set(name, {
        shape,
        data: width > 4 ? new Float64Array(data) : new Float32Array(data),
      });
    }
    const { checksum: expected, ...rest } = metadata;
    if (expected !== undefined && expected !== checksum(encode([rest, header]), values)) {
      throw new Error('its checksum differs');
    }
    return { metadata, tensors };
  });
}
