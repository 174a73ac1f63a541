export { ReferenceBackend, type ReferenceTensor } from './backend.js';
