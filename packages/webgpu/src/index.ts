export { WebGpuBackend, type WebGpuBackendOptions } from './backend.js';
export type {
  ArenaParameter,
  BufferView,
  Definitions,
  OwnParameter,
  ParameterDefinition,
} from './buffers.js';
export { WebGpuError, type WebGpuErrorCode } from './errors.js';
export { WebGpuAdan, type WebGpuOptions } from './optimizer.js';
export type { GpuTensor } from './tensor.js';
