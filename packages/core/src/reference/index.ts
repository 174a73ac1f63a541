export { numbers } from '../interpreters/numbers.js';
export { ReferenceBackend, type ReferenceTensor } from './backend.js';
