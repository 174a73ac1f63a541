import type { Target } from '@schedule-free-adan/conformance';

export const sharedDevice: () => Promise<GPUDevice>;
export const webgpu: () => Promise<Target>;
export const webgpuArena: () => Promise<Target>;
export const webgpuOwnBuffers: () => Promise<Target>;
