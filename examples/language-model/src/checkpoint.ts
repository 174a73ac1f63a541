import { loadState, saveState } from 'example-digits/saved-state';
import type { Settings } from './settings.js';
import type { RunState } from './train.js';

const FORMAT = 'language-model/1';

interface Manifest {
  readonly settings: Settings;
  readonly state: RunState;
  /** The optimizer's state. */
  readonly file: string;
}

export function saveRun(
  folder: string,
  settings: Settings,
  state: RunState,
  checkpoint: Uint8Array,
): void {
  const file = `optimizer-step-${state.losses.length}.safetensors`;
  const manifest: Manifest = { settings, state, file };
  saveState(folder, FORMAT, manifest, { [file]: checkpoint });
}

/** @throws InputError when there is nothing to resume */
export function loadRun(folder: string): Manifest & { readonly checkpoint: Uint8Array } {
  const { manifest, file } = loadState<Manifest>(folder, FORMAT);
  return { ...manifest, checkpoint: file(manifest.file) };
}
