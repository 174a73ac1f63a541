import type { Target } from '@schedule-free-adan/conformance';

export const tfjsCpu: () => Promise<Target>;
export const tfjsWasm: () => Promise<Target>;
