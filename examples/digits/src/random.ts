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

/** Random numbers in [0, 1), the same ones for a seed and a stream; 0 is for what is drawn before any epoch. */
export function uniformNumbers(seed: number, stream = 0): () => number {
  const next = wordGenerator(seed, stream);
  return () => next() / 2 ** 32;
}

/** Normal random numbers out of uniform ones in [0, 1) (Box and Muller), which are drawn in twos. */
export function normalNumbers(uniform: () => number): () => number {
  let spare: number | undefined;
  return () => {
    if (spare !== undefined) {
      const value = spare;
      spare = undefined;
      return value;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
    const angle = 2 * Math.PI * uniform();
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
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
