export { WebGpuBackend } from './backend.js';
