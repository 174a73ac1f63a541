import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { InputError } from './errors.js';
import { writeAtomically } from './files.js';
import type { OptimizerName, Settings } from './settings.js';
import type { Run, RunState } from './train.js';

const FORMAT = 'digits-demo/1';
const manifestName = 'state.json';
/** What older saves, also interrupted ones, have left behind; nothing else in the folder is ours. */
const ours = /^[a-z-]+-step-\d+\.safetensors(\.\d+\.tmp)?$/;

interface Manifest {
  readonly format: typeof FORMAT;
  readonly settings: Settings;
  readonly runs: readonly {
    readonly optimizer: OptimizerName;
    /** None before the first step: then a fresh run is the same. */
    readonly file: string | null;
    readonly state: RunState;
  }[];
}

/**
 * Saves all runs. Tensors go to new files first; the manifest that names them is what counts, and it
 * is replaced in one go, so a crash at any time leaves a state that belongs together.
 */
export async function saveRuns(
  folder: string,
  settings: Settings,
  runs: readonly Run[],
): Promise<void> {
  const saved: Manifest['runs'][number][] = [];
  for (const run of runs) {
    const { optimizer } = run.options;
    const steps = run.state.losses.length;
    const file = steps === 0 ? null : `${optimizer}-step-${steps}.safetensors`;
    if (file !== null) writeAtomically(join(folder, file), await run.save());
    saved.push({ optimizer, file, state: run.state });
  }
  const manifest: Manifest = { format: FORMAT, settings, runs: saved };
  writeAtomically(join(folder, manifestName), JSON.stringify(manifest));
  for (const file of readdirSync(folder)) {
    if (ours.test(file) && !saved.some((s) => s.file === file)) rmSync(join(folder, file));
  }
}

export interface SavedRuns {
  readonly settings: Settings;
  /** Puts weights, optimizer state and history into fresh runs. */
  restore(runs: readonly Run[]): Promise<void>;
}

/** @throws InputError when there is nothing to resume. */
export function loadRuns(folder: string): SavedRuns {
  const path = join(folder, manifestName);
  if (!existsSync(path)) {
    throw new InputError(`--resume: no saved run in ${folder}; leave --resume out to start one.`);
  }
  const manifest = JSON.parse(readFileSync(path, 'utf8')) as Manifest;
  if (manifest.format !== FORMAT) {
    throw new InputError(`--resume: ${path} is not a saved run of this version.`);
  }
  return {
    // There was no choice of a model once.
    settings: { ...manifest.settings, model: manifest.settings.model ?? 'mlp' },
    restore: async (runs) => {
      for (const run of runs) {
        const saved = manifest.runs.find((s) => s.optimizer === run.options.optimizer)!;
        if (saved.file === null) continue;
        await run.restore(saved.state, new Uint8Array(readFileSync(join(folder, saved.file))));
      }
    },
  };
}
