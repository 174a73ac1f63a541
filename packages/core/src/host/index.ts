export { HostBackend, type HostTensor, hostTensor } from './backend.js';
