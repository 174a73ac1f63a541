/** ONNX files, read and written: for tools, and for whoever brings gradients of his own. */
export { OnnxFormatError, OnnxModelError } from '../errors.js';
export { decodeModel, encodeModel } from './codec.js';
export { type AttributeValue, makeAttribute, makeNode } from './nodes.js';
export type {
  Attribute,
  Dimension,
  FunctionDefinition,
  Graph,
  Int,
  Model,
  Node,
  OperatorSetId,
  SparseTensor,
  StringStringEntry,
  Tensor,
  TensorShape,
  TensorType,
  ValueInfo,
  ValueType,
} from './schema.js';
export {
  type ElementType,
  elementTypes,
  externalizeData,
  floatValues,
  inlineExternalData,
  makeTensor,
  makeValueInfo,
} from './tensors.js';
