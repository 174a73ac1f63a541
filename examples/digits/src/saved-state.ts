import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { InputError } from './errors.js';
import { writeAtomically } from './files.js';

const manifestName = 'state.json';
/** What older saves, also interrupted ones, have left behind; nothing else in the folder is ours. */
const ours = /^[a-z-]+-step-\d+\.(safetensors|onnx)(\.\d+\.tmp)?$/;

/** Where a file of a saved state is, by its name: `NAME-step-N.safetensors` or `.onnx`. */
export type StateFiles = Readonly<Record<string, Uint8Array>>;

/**
 * Saves what is needed to go on. Files have new names at every step; the manifest, which names them, is what
 * counts, and it is replaced in one go, so a crash at any time leaves a state that belongs together.
 * @param format of the manifest, with a version
 */
export function saveState(
  folder: string,
  format: string,
  manifest: object,
  files: StateFiles,
): void {
  for (const [name, bytes] of Object.entries(files)) writeAtomically(join(folder, name), bytes);
  writeAtomically(join(folder, manifestName), JSON.stringify({ format, ...manifest }));
  for (const name of readdirSync(folder)) {
    if (ours.test(name) && !Object.hasOwn(files, name)) rmSync(join(folder, name));
  }
}

/**
 * The manifest that {@link saveState} wrote last, and its files.
 * @throws InputError when there is nothing to resume
 */
export function loadState<M extends object>(
  folder: string,
  format: string,
): { readonly manifest: M; readonly file: (name: string) => Uint8Array } {
  const path = join(folder, manifestName);
  if (!existsSync(path)) {
    throw new InputError(`--resume: no saved run in ${folder}; leave --resume out to start one.`);
  }
  const { format: found, ...manifest } = JSON.parse(readFileSync(path, 'utf8'));
  if (found !== format) {
    throw new InputError(`--resume: ${path} is not a saved run of this version.`);
  }
  return { manifest, file: (name) => new Uint8Array(readFileSync(join(folder, name))) };
}
