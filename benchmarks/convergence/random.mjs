import {
  epochOrder,
  normalNumbers as normals,
  uniformNumbers,
} from '../../examples/digits/dist/random.js';

export { epochOrder, uniformNumbers } from '../../examples/digits/dist/random.js';

/** Normal random numbers of a seed. */
export const normalNumbers = (seed) => normals(uniformNumbers(seed));

/**
 * Batches of a run, by its step: `batchOf` makes one of the numbers of its rows. Every epoch visits `count` rows in
 * another order, and drops what does not fill a batch.
 */
export function inEpochs(seed, count, batchSize, batchOf) {
  const perEpoch = Math.floor(count / batchSize);
  let order;
  return (step) => {
    const place = step % perEpoch;
    if (place === 0) order = epochOrder(seed, 1 + step / perEpoch, count);
    return batchOf([...order.subarray(place * batchSize, (place + 1) * batchSize)]);
  };
}
