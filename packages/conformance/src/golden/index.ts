import type { GoldenFile } from './format.js';
import trajectories from './trajectories.json' with { type: 'json' };

/** Trajectories of the published reference code, in float64. */
export const golden = trajectories as unknown as GoldenFile;

/**
 * Checks that a parsed JSON file has the format of the built-in one.
 * @throws Error that names what is wrong
 */
export function asGoldenFile(value: unknown): GoldenFile {
  const file = value as Partial<GoldenFile> | null;
  if (typeof file?.format !== 'string' || !file.format.startsWith('sf-adan-golden/1')) {
    throw new Error(
      `format is ${JSON.stringify(file?.format)}; a golden file has "sf-adan-golden/1"`,
    );
  }
  if (!Array.isArray(file.cases) || file.cases.length === 0) {
    throw new Error('a golden file has a list of cases, this one has none');
  }
  for (const { name, shapes, initial, gradients, expected, steps } of file.cases) {
    const complete = [shapes, initial, gradients, expected].every(Array.isArray);
    if (typeof name !== 'string' || !complete || gradients.length < steps) {
      throw new Error(`case ${JSON.stringify(name)} lacks shapes, initial, gradients or expected`);
    }
  }
  return file as GoldenFile;
}
