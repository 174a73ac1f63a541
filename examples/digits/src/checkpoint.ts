import { loadState, saveState } from './saved-state.js';
import type { OptimizerName, Settings } from './settings.js';
import type { Run, RunState } from './train.js';

const FORMAT = 'digits-demo/1';

interface Manifest {
  readonly settings: Settings;
  readonly runs: readonly {
    readonly optimizer: OptimizerName;
    /** None before the first step: then a fresh run is the same. */
    readonly file: string | null;
    readonly state: RunState;
  }[];
}

export async function saveRuns(
  folder: string,
  settings: Settings,
  runs: readonly Run[],
): Promise<void> {
  const saved: Manifest['runs'][number][] = [];
  const files: Record<string, Uint8Array> = {};
  for (const run of runs) {
    const { optimizer } = run.options;
    const steps = run.state.losses.length;
    const file = steps === 0 ? null : `${optimizer}-step-${steps}.safetensors`;
    if (file !== null) files[file] = await run.save();
    saved.push({ optimizer, file, state: run.state });
  }
  const manifest: Manifest = { settings, runs: saved };
  saveState(folder, FORMAT, manifest, files);
}

export interface SavedRuns {
  readonly settings: Settings;
  /** Puts weights, optimizer state and history into fresh runs. */
  restore(runs: readonly Run[]): Promise<void>;
}

/** @throws InputError when there is nothing to resume. */
export function loadRuns(folder: string): SavedRuns {
  const { manifest, file } = loadState<Manifest>(folder, FORMAT);
  return {
    // There was no choice of a model once.
    settings: { ...manifest.settings, model: manifest.settings.model ?? 'mlp' },
    restore: async (runs) => {
      for (const run of runs) {
        const saved = manifest.runs.find((s) => s.optimizer === run.options.optimizer)!;
        if (saved.file !== null) await run.restore(saved.state, file(saved.file));
      }
    },
  };
}
