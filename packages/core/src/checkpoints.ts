/** Checkpoints as files: for converters, for tools, and for adapters with a format to serve. */
export {
  decodeCheckpoint,
  encodeCheckpoint,
  type StoredGroup,
  type StoredKey,
  type StoredParameter,
  type TrainingState,
} from './checkpoint.js';
export {
  decodeSafetensors,
  encodeSafetensors,
  type SafetensorsFile,
  type StoredTensor,
} from './safetensors.js';
