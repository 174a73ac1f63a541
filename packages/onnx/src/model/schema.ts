/**
 * The messages of an ONNX file (onnx.proto, IR version 13) as TypeScript, and as the table that the
 * codec reads. What is left out here (training information, quantization annotations and the like) is kept as
 * unknown.
 */

/** A 64-bit integer: a number while that is exact, a bigint beyond. */
export type Int = number | bigint;

export interface StringStringEntry {
  key?: string;
  value?: string;
}
export interface OperatorSetId {
  domain?: string;
  version?: Int;
}
export interface Dimension {
  dimValue?: Int;
  dimParam?: string;
}
export interface TensorShape {
  dim?: Dimension[];
}
export interface TensorType {
  elemType?: number;
  shape?: TensorShape;
}
export interface ValueType {
  tensorType?: TensorType;
  sequenceType?: { elemType?: ValueType };
  mapType?: { keyType?: number; valueType?: ValueType };
  sparseTensorType?: TensorType;
  optionalType?: { elemType?: ValueType };
}
export interface ValueInfo {
  name?: string;
  type?: ValueType;
  docString?: string;
  metadataProps?: StringStringEntry[];
}
export interface Tensor {
  dims?: Int[];
  dataType?: number;
  floatData?: Float32Array;
  int32Data?: number[];
  stringData?: Uint8Array[];
  int64Data?: Int[];
  name?: string;
  rawData?: Uint8Array;
  doubleData?: Float64Array;
  uint64Data?: Int[];
  docString?: string;
  externalData?: StringStringEntry[];
  dataLocation?: number;
  metadataProps?: StringStringEntry[];
}
export interface SparseTensor {
  values?: Tensor;
  indices?: Tensor;
  dims?: Int[];
}
export interface Attribute {
  name?: string;
  f?: number;
  i?: Int;
  s?: Uint8Array;
  t?: Tensor;
  g?: Graph;
  floats?: Float32Array;
  ints?: Int[];
  strings?: Uint8Array[];
  tensors?: Tensor[];
  graphs?: Graph[];
  docString?: string;
  tp?: ValueType;
  typeProtos?: ValueType[];
  type?: number;
  refAttrName?: string;
  sparseTensor?: SparseTensor;
  sparseTensors?: SparseTensor[];
}
export interface Node {
  input?: string[];
  output?: string[];
  name?: string;
  opType?: string;
  attribute?: Attribute[];
  docString?: string;
  domain?: string;
  overload?: string;
  metadataProps?: StringStringEntry[];
}
export interface Graph {
  node?: Node[];
  name?: string;
  initializer?: Tensor[];
  docString?: string;
  input?: ValueInfo[];
  output?: ValueInfo[];
  valueInfo?: ValueInfo[];
  sparseInitializer?: SparseTensor[];
  metadataProps?: StringStringEntry[];
}
export interface FunctionDefinition {
  name?: string;
  input?: string[];
  output?: string[];
  attribute?: string[];
  node?: Node[];
  docString?: string;
  opsetImport?: OperatorSetId[];
  domain?: string;
  attributeProto?: Attribute[];
  valueInfo?: ValueInfo[];
  overload?: string;
  metadataProps?: StringStringEntry[];
}
export interface Model {
  irVersion?: Int;
  producerName?: string;
  producerVersion?: string;
  domain?: string;
  modelVersion?: Int;
  docString?: string;
  graph?: Graph;
  opsetImport?: OperatorSetId[];
  metadataProps?: StringStringEntry[];
  functions?: FunctionDefinition[];
}

/** How a field is written. A message is named by its type below. */
export type Scalar = 'int32' | 'int64' | 'uint64' | 'string' | 'bytes' | 'float' | 'double';
export interface Field {
  readonly name: string;
  /** Its name and that of its message, for errors. */
  readonly what: string;
  readonly type: Scalar | MessageName;
  /** Varint 0, eight bytes 1, a length and bytes 2, four bytes 5. */
  readonly wire: number;
  readonly repeated: boolean;
  /** Written packed, unless the file that it was read from did otherwise. */
  readonly packed: boolean;
}

/**
 * `number name type`, with `*` for repeated and `+` for repeated and packed. Without a number it is the
 * next one, without a type a string.
 */
const messages = {
  StringStringEntry: 'key, value',
  OperatorSetId: 'domain, version int64',
  Dimension: 'dimValue int64, dimParam',
  TensorShape: 'dim* Dimension',
  TensorType: 'elemType int32, shape TensorShape',
  ElementType: 'elemType ValueType',
  MapType: 'keyType int32, valueType ValueType',
  ValueType:
    'tensorType TensorType, 4 sequenceType ElementType, mapType MapType, ' +
    '8 sparseTensorType TensorType, optionalType ElementType',
  ValueInfo: 'name, type ValueType, docString, metadataProps* StringStringEntry',
  Tensor:
    'dims* int64, dataType int32, 4 floatData+ float, int32Data+ int32, stringData* bytes, ' +
    'int64Data+ int64, name, rawData bytes, doubleData+ double, uint64Data+ uint64, docString, ' +
    'externalData* StringStringEntry, dataLocation int32, 16 metadataProps* StringStringEntry',
  SparseTensor: 'values Tensor, indices Tensor, dims* int64',
  Attribute:
    'name, f float, i int64, s bytes, t Tensor, g Graph, floats* float, ints* int64, ' +
    'strings* bytes, tensors* Tensor, graphs* Graph, 13 docString, tp ValueType, ' +
    'typeProtos* ValueType, 20 type int32, refAttrName, sparseTensor SparseTensor, ' +
    'sparseTensors* SparseTensor',
  Node:
    'input*, output*, name, opType, attribute* Attribute, docString, domain, overload, ' +
    'metadataProps* StringStringEntry',
  Graph:
    'node* Node, name, 5 initializer* Tensor, 10 docString, input* ValueInfo, output* ValueInfo, ' +
    'valueInfo* ValueInfo, 15 sparseInitializer* SparseTensor, metadataProps* StringStringEntry',
  FunctionDefinition:
    'name, 4 input*, output*, attribute*, node* Node, docString, opsetImport* OperatorSetId, domain, ' +
    'attributeProto* Attribute, valueInfo* ValueInfo, overload, metadataProps* StringStringEntry',
  Model:
    'irVersion int64, producerName, producerVersion, domain, modelVersion int64, docString, ' +
    'graph Graph, opsetImport* OperatorSetId, 14 metadataProps* StringStringEntry, ' +
    '25 functions* FunctionDefinition',
} as const;

export type MessageName = keyof typeof messages;

export const isMessage = (type: Field['type']): type is MessageName => type in messages;

const wireTypes: Readonly<Record<string, number>> = {
  int32: 0,
  int64: 0,
  uint64: 0,
  double: 1,
  float: 5,
};

/** The fields of each message at their numbers. */
export const schema = Object.fromEntries(
  Object.entries(messages).map(([message, text]): [string, readonly Field[]] => {
    const fields: Field[] = [];
    for (const line of text.split(', ')) {
      const [, given, name, many, type = 'string'] = /^(?:(\d+) )?(\w+)([*+]?) ?(\w+)?/.exec(line)!;
      fields[Number(given ?? (fields.length || 1))] = {
        name: name!,
        what: `${message}.${name}`,
        type: type as Field['type'],
        wire: wireTypes[type] ?? 2,
        repeated: many !== '',
        packed: many === '+',
      };
    }
    return [message, fields];
  }),
) as Readonly<Record<MessageName, readonly Field[]>>;
