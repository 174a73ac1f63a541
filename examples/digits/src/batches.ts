import { batchSize, classes, pixelsPerDigit } from './settings.js';

/** Digits on the host; no Node API is used here, so that a page can train as well. */
export interface Digits {
  readonly count: number;
  /** A byte per pixel, digit after digit. */
  readonly images: Uint8Array;
  readonly labels: Uint8Array;
}

export interface Batch {
  readonly size: number;
  /** size × 784, from 0 to 1. */
  readonly pixels: Float32Array;
  readonly labels: Int32Array;
}

/** Batch number `index` of an epoch; the last one may be smaller. */
export function readBatch(
  digits: Digits,
  order: Uint32Array,
  index: number,
  size = batchSize,
): Batch {
  const chosen = order.subarray(index * size, (index + 1) * size);
  const pixels = new Float32Array(chosen.length * pixelsPerDigit);
  const labels = Int32Array.from(chosen, (digit) => digits.labels[digit]!);
  for (let row = 0; row < chosen.length; row++) {
    const from = chosen[row]! * pixelsPerDigit;
    const to = row * pixelsPerDigit;
    for (let i = 0; i < pixelsPerDigit; i++) pixels[to + i] = digits.images[from + i]! / 255;
  }
  return { size: chosen.length, pixels, labels };
}

/** `count` digits from number `from` on, in their own order. */
export function consecutive({ images, labels }: Digits, from: number, count: number): Batch {
  const chosen = Int32Array.from(labels.subarray(from, from + count));
  const start = from * pixelsPerDigit;
  const bytes = images.subarray(start, start + chosen.length * pixelsPerDigit);
  const pixels = new Float32Array(bytes.length);
  for (let i = 0; i < bytes.length; i++) pixels[i] = bytes[i]! / 255;
  return { size: chosen.length, pixels, labels: chosen };
}

/** size × 10, with 1 at each label. */
export function oneHot(labels: Int32Array): Float32Array {
  const targets = new Float32Array(labels.length * classes);
  labels.forEach((label, row) => {
    targets[row * classes + label] = 1;
  });
  return targets;
}

/** How many rows of logits are greatest at their label. */
export function countRight(logits: ArrayLike<number>, labels: Int32Array): number {
  return labels.reduce((right, label, row) => {
    const start = row * classes;
    let best = 0;
    for (let c = 1; c < classes; c++) if (logits[start + c]! > logits[start + best]!) best = c;
    return right + Number(best === label);
  }, 0);
}
