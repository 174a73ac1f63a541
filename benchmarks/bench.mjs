// What every benchmark shares: interleaved measuring, and the form of its results.
import { writeFileSync } from 'node:fs';
import { cpus, release, type } from 'node:os';

export const machine = (device) =>
  `${cpus()[0]?.model ?? 'unknown CPU'} × ${cpus().length}, ${type()} ${release()}, Node ${process.versions.node}, ${device}`;

export const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

/**
 * Times two things in turn, so that what else the machine does meets both, and gives the ratio of every
 * round: its median and how far it spreads.
 * @param {() => Promise<number>} ours milliseconds
 * @param {() => Promise<number>} theirs milliseconds
 */
export async function compare(ours, theirs, rounds) {
  await ours();
  await theirs();
  const [a, b, ratios] = [[], [], []];
  for (let round = 0; round < rounds; round++) {
    const first = round % 2 === 0;
    const [x, y] = first ? [await ours(), await theirs()] : [await theirs(), await ours()];
    a.push(first ? x : y);
    b.push(first ? y : x);
    ratios.push(a.at(-1) / b.at(-1));
  }
  return {
    ratio: { median: median(ratios), min: Math.min(...ratios), max: Math.max(...ratios) },
    milliseconds: [median(a), median(b)],
  };
}

/** Prints rows as a table, and writes them where `--json FILE` says. */
export function finish({ name, machine, rows }, json) {
  for (const { case: what, backend, against, ratio, milliseconds } of rows) {
    const { median: mid, min, max } = ratio;
    const spread = `${mid.toFixed(3)} (${min.toFixed(3)} to ${max.toFixed(3)})`;
    const [x, y] = milliseconds.map((ms) => ms.toFixed(2));
    console.log(
      `${what.padEnd(46)} ${backend.padEnd(20)} ${spread.padEnd(26)} ${x} / ${y} ms, ${against}`,
    );
  }
  if (json) writeFileSync(json, `${JSON.stringify({ name, machine, rows }, null, 2)}\n`);
}
