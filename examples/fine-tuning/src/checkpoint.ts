import { loadState, saveState } from 'example-digits/saved-state';
import type { OnnxBackendName } from 'example-digits/settings';
import type { RunState, Saved } from './onnx/reader.js';
import type { Settings } from './settings.js';

const FORMAT = 'fine-tuning/1';

/** Settings of a run that can go on. */
export interface OnnxSettings extends Settings {
  readonly backend: OnnxBackendName;
}

interface Manifest {
  readonly settings: OnnxSettings;
  readonly state: RunState;
  readonly seconds: number;
  readonly files: { readonly model: string; readonly checkpoint: string };
}

export type SavedRun = Saved & Omit<Manifest, 'files'>;

export function saveRun(
  folder: string,
  { settings, state, seconds, model, checkpoint }: SavedRun,
): void {
  const named = (what: string, type: string) => `${what}-step-${state.steps}.${type}`;
  const files = { model: named('model', 'onnx'), checkpoint: named('optimizer', 'safetensors') };
  const manifest: Manifest = { settings, state, seconds, files };
  saveState(folder, FORMAT, manifest, { [files.model]: model, [files.checkpoint]: checkpoint });
}

/** @throws InputError when there is nothing to resume */
export function loadRun(folder: string): SavedRun {
  const { manifest, file } = loadState<Manifest>(folder, FORMAT);
  const { files, ...rest } = manifest;
  return { ...rest, model: file(files.model), checkpoint: file(files.checkpoint) };
}
