import type { Algebra } from '@schedule-free-adan/core/rule';
import { type AttributeValue, makeNode } from './model/nodes.js';
import type { Graph, Node, Tensor, ValueInfo } from './model/schema.js';
import { type ArrayType, type ElementType, elementTypes, makeTensor } from './model/tensors.js';

/** The name of a value in a graph. */
export type Value = string;
/** A value; a number is a float32 constant. */
export type Operand = Value | number;

/**
 * Appends nodes to a graph: the rule's arithmetic is a node for each operation. Every value that it makes
 * has the prefix in its name.
 */
export class GraphBuilder implements Algebra<Value> {
  readonly nodes: Node[] = [];
  readonly constants = new Map<string, Tensor>();
  /** Of values named so far; whoever takes nodes away starts no count anew. */
  #count = 0;

  constructor(readonly prefix: string) {}

  /** A node with one output. Give `output` where the name matters. */
  node(
    opType: string,
    input: readonly Operand[],
    attributes: Readonly<Record<string, AttributeValue>> = {},
    output: Value = `${this.prefix}${opType}_${this.#count++}`,
  ): Value {
    const values = input.map((operand) => this.value(operand));
    const name = `${this.prefix}${output}`;
    this.nodes.push(makeNode(opType, values, [output], attributes, { name }));
    return output;
  }

  value(operand: Operand): Value {
    return typeof operand === 'number' ? this.constant(operand) : operand;
  }

  /** The tensor of that name, made once. */
  #held(label: string, type: ArrayType, shape: readonly number[], values: Iterable<number>): Value {
    const name = `${this.prefix}${label}`;
    if (!this.constants.has(name)) {
      this.constants.set(name, makeTensor(name, type, shape, values));
    }
    return name;
  }
  constant(value: number, type: ArrayType = 'float32'): Value {
    return this.#held(`${type}(${Object.is(value, -0) ? '-0' : value})`, type, [], [value]);
  }
  /** A constant tensor. */
  floats(shape: readonly number[], values: Iterable<number>): Value {
    return this.#held(`constant_${this.constants.size}`, 'float32', shape, values);
  }
  /** A vector of 64-bit integers: shapes, starts and ends. */
  integers(...values: number[]): Value {
    return this.#held(`[${values}]`, 'int64', [values.length], values);
  }

  cast(value: Value, type: ElementType): Value {
    return this.node('Cast', [value], { to: elementTypes[type] });
  }

  reshape(value: Value, shape: readonly number[], output?: Value): Value {
    // Zeros are extents here, and not "as it was".
    const attributes = shape.includes(0) ? { allowzero: 1 } : {};
    return this.node('Reshape', [value, this.integers(...shape)], attributes, output);
  }

  /** Vectors one behind the other. */
  concat(values: readonly Value[], output?: Value): Value {
    return this.node('Concat', values, { axis: 0 }, output);
  }

  /** Elements `start` to `end` of a vector. */
  slice(value: Value, start: number, end: number): Value {
    return this.node('Slice', [value, this.integers(start), this.integers(end), this.integers(0)]);
  }

  // Arrows, since the rule takes the arithmetic apart.
  readonly add = (a: Operand, b: Operand): Value => this.node('Add', [a, b]);
  readonly sub = (a: Operand, b: Operand): Value => this.node('Sub', [a, b]);
  readonly mul = (a: Operand, b: Operand): Value => this.node('Mul', [a, b]);
  readonly div = (a: Operand, b: Operand): Value => this.node('Div', [a, b]);
  readonly sqrt = (a: Operand): Value => this.node('Sqrt', [a]);
}

/** Names that a graph reads inside of a node's subgraphs, besides the node's own inputs. */
export function* captured(node: Node): Generator<Value> {
  for (const { g, graphs = [] } of node.attribute ?? []) {
    for (const inner of g ? [g, ...graphs] : graphs) {
      for (const { name = '' } of inner.output ?? []) yield name;
      for (const one of inner.node ?? []) {
        yield* one.input ?? [];
        yield* captured(one);
      }
    }
  }
}

/** The nodes and initializers that these outputs need, in their order. */
export function reachable(
  graph: Pick<Graph, 'node' | 'initializer'>,
  outputs: readonly ValueInfo[],
): { node: Node[]; initializer: Tensor[]; values: Set<Value> } {
  const values = new Set(outputs.map(({ name = '' }) => name));
  const node: Node[] = [];
  // Graphs are sorted: whoever reads a value stands behind the one that makes it.
  for (const one of [...(graph.node ?? [])].reverse()) {
    if (!(one.output ?? []).some((name) => name !== '' && values.has(name))) continue;
    node.push(one);
    for (const name of [...(one.input ?? []), ...captured(one)]) values.add(name);
  }
  const initializer = (graph.initializer ?? []).filter(({ name = '' }) => values.has(name));
  return { node: node.reverse(), initializer, values };
}
