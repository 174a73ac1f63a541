import type { RunOptions, SessionElsewhere, Target } from '@schedule-free-adan/conformance';

export const tfjsCpu: () => Promise<Target>;
export const tfjsWasm: () => Promise<Target>;
export const tfjsWasmThreaded: (options?: RunOptions) => Promise<SessionElsewhere>;
export const tfjsWebgl: (options?: RunOptions) => Promise<SessionElsewhere>;
export const tfjsWebgpu: (options?: RunOptions) => Promise<SessionElsewhere>;
export const wasmFolder: () => string;
export function useBackend(name: 'cpu' | 'wasm'): Promise<void>;
