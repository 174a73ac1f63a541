import type { Dtype, FloatArray } from './backend.js';
import { CheckpointError } from './errors.js';

/** A tensor in a file: row-major values and their shape. */
export interface StoredTensor {
  readonly shape: readonly number[];
  readonly data: FloatArray;
}

export interface SafetensorsFile {
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

interface HeaderEntry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

export const dtypeOf = (data: FloatArray): Dtype =>
  data instanceof Float64Array ? 'float64' : 'float32';
const codes = { float32: 'F32', float64: 'F64' } as const;

const bytesOf = (data: FloatArray) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
export const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
const invalid = (why: string, subject?: string) =>
  new CheckpointError('invalid-checkpoint', `This is not a usable checkpoint: ${why}.`, subject);

let table: Uint32Array | undefined;

/** CRC-32 (IEEE 802.3), continuing from `crc`. */
function crc32(bytes: Uint8Array, crc = 0): number {
  table ??= Uint32Array.from({ length: 256 }, (_, byte) => {
    for (let bit = 0; bit < 8; bit++) byte = (byte >>> 1) ^ (0xedb88320 & -(byte & 1));
    return byte;
  });
  let value = ~crc;
  for (const byte of bytes) value = (value >>> 8) ^ table[(value ^ byte) & 0xff]!;
  return ~value >>> 0;
}

/** Over names, shapes, values and metadata, in an order that does not depend on the file's layout. */
function checksum(file: SafetensorsFile): string {
  const encoder = new TextEncoder();
  let crc = 0;
  for (const [key, value] of Object.entries(file.metadata).sort()) {
    if (key !== 'checksum') crc = crc32(encoder.encode(`${key}\n${value}\n`), crc);
  }
  for (const name of [...file.tensors.keys()].sort()) {
    const { shape, data } = file.tensors.get(name)!;
    crc = crc32(encoder.encode(`${name}\n${dtypeOf(data)}\n${shape.join()}\n`), crc);
    crc = crc32(bytesOf(data), crc);
  }
  return `crc32:${crc.toString(16).padStart(8, '0')}`;
}

/** Writes a safetensors file, with a checksum among its metadata. */
export function encodeSafetensors(file: SafetensorsFile): Uint8Array {
  const header: Record<string, unknown> = {
    __metadata__: { ...file.metadata, checksum: checksum(file) },
  };
  let offset = 0;
  for (const [name, { shape, data }] of file.tensors) {
    const end = offset + data.byteLength;
    header[name] = { dtype: codes[dtypeOf(data)], shape, data_offsets: [offset, end] };
    offset = end;
  }
  let json = new TextEncoder().encode(JSON.stringify(header));
  const padded = new Uint8Array(Math.ceil(json.length / 8) * 8).fill(0x20);
  padded.set(json);
  json = padded;
  const bytes = new Uint8Array(8 + json.length + offset);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  offset = 8 + json.length;
  for (const { data } of file.tensors.values()) {
    bytes.set(bytesOf(data), offset);
    offset += data.byteLength;
  }
  return bytes;
}

/**
 * Reads a safetensors file of float32 and float64 tensors. A checksum is verified where there is one.
 * @throws CheckpointError `invalid-checkpoint` for anything damaged, before it allocates for it.
 */
export function decodeSafetensors(bytes: Uint8Array): SafetensorsFile {
  if (!(bytes instanceof Uint8Array)) throw invalid('it is not a Uint8Array');
  if (bytes.length < 8) throw invalid(`it has ${bytes.length} bytes, a header needs 8`);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const start = 8 + Number(view.getBigUint64(0, true));
  if (start > bytes.length) throw invalid('its header is longer than the file');
  let header: Record<string, HeaderEntry> & { __metadata__?: Record<string, string> };
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(8, start)));
  } catch {
    throw invalid('its header is not JSON');
  }
  if (typeof header !== 'object' || header === null) throw invalid('its header is not an object');
  const { __metadata__: metadata = {}, ...entries } = header;
  const tensors = new Map<string, StoredTensor>();
  for (const [name, entry] of Object.entries(entries)) {
    const [begin, end] = entry?.data_offsets ?? [];
    const width = entry?.dtype === 'F64' ? 8 : 4;
    if (entry?.dtype !== 'F64' && entry?.dtype !== 'F32') {
      throw invalid(`tensor '${name}' has dtype ${entry?.dtype}; F32 and F64 are supported`, name);
    }
    if (
      !Array.isArray(entry.shape) ||
      !entry.shape.every((extent) => Number.isSafeInteger(extent) && extent >= 0) ||
      !(begin! >= 0 && end! <= bytes.length - start) ||
      end! - begin! !== width * sizeOf(entry.shape)
    ) {
      throw invalid(`tensor '${name}' lies outside of the file or has the wrong length`, name);
    }
    const data = bytes.slice(start + begin!, start + end!).buffer;
    tensors.set(name, {
      shape: entry.shape,
      data: width === 8 ? new Float64Array(data) : new Float32Array(data),
    });
  }
  const file = { metadata, tensors };
  if (metadata.checksum !== undefined && metadata.checksum !== checksum(file)) {
    throw invalid('its checksum does not match, so some of its bytes have changed', 'checksum');
  }
  return file;
}
