import { refuse } from '../errors.js';
import { type Attribute, type Int, type Node, schema } from './schema.js';

type AttributeField =
  | 'f'
  | 'i'
  | 's'
  | 't'
  | 'g'
  | 'floats'
  | 'ints'
  | 'strings'
  | 'tensors'
  | 'graphs';

/**
 * Integers, lists of integers and texts are given as they are. JavaScript does not tell 1.0 from 1, so
 * floats say that they are: `{ f: 1 }`, `{ floats: Float32Array.of(1, 2) }`. In the same way go tensors
 * `{ t }`, graphs `{ g }`, and several of them.
 */
export type AttributeValue =
  | Int
  | string
  | readonly Int[]
  | { [K in AttributeField]: Required<Pick<Attribute, K>> }[AttributeField];

/**
 * An attribute of a node, as `onnx.helper.make_attribute` makes it.
 * @throws OnnxModelError `invalid-option` for a number that is no integer and does not say that it is a float
 */
export function makeAttribute(name: string, value: AttributeValue): Attribute {
  if (typeof value === 'number' && !Number.isInteger(value)) {
    const message = `The attribute '${name}' is ${value}, no integer; give a float as { f: ${value} }.`;
    refuse('invalid-option', message, name, value);
  }
  let field: Partial<Attribute>;
  if (typeof value === 'string') field = { s: new TextEncoder().encode(value) };
  else if (Array.isArray(value)) field = { ints: [...value] };
  else field = typeof value === 'object' ? (value as Attribute) : { i: value };
  // The type is the number of the field that holds the value, less one.
  const number = schema.Attribute.findIndex((one) => one && one.name in field);
  return { name, ...field, type: number - 1 };
}

/**
 * A node, as `onnx.helper.make_node` makes it.
 * @param more what else a node may have: `name`, `domain` and so on
 * @throws OnnxModelError as {@link makeAttribute}
 */
export function makeNode(
  opType: string,
  input: readonly string[],
  output: readonly string[],
  attributes: Readonly<Record<string, AttributeValue>> = {},
  more: Omit<Node, 'opType' | 'input' | 'output' | 'attribute'> = {},
): Node {
  const attribute = Object.entries(attributes).map(([name, value]) => makeAttribute(name, value));
  return {
    opType,
    input: [...input],
    output: [...output],
    ...(attribute.length > 0 && { attribute }),
    ...more,
  };
}

/** The attribute of that name, or one without a value. */
export const attributeOf = ({ attribute = [] }: Node, name: string): Attribute =>
  attribute.find((one) => one.name === name) ?? {};
