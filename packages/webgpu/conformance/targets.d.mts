import type { Target } from '@schedule-free-adan/conformance';
import type { WebGpuBackendOptions } from '@schedule-free-adan/webgpu';

export function webgpuTargets(
  device: () => Promise<GPUDevice>,
  options?: WebGpuBackendOptions,
): Record<'webgpu' | 'webgpu-arena' | 'webgpu-own-buffers', Target>;
