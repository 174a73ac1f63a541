import type { Target } from '@schedule-free-adan/conformance';

export const tfjsCpu: () => Promise<Target>;
export const tfjsWasm: () => Promise<Target>;
export const wasmFolder: () => string;
export function useBackend(name: 'cpu' | 'wasm'): Promise<void>;
