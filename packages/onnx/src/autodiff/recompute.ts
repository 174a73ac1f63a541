import type { Value } from '../graph.js';
import type { Graph, Node } from '../model/schema.js';
import { byName } from '../model/tensors.js';
import { chosenNodes, type NodeChoice } from './choice.js';
import type { Emitter } from './emit.js';

/** What a node's rule reads instead of the values of the forward pass. */
export type Recomputed = readonly [
  /** @param gradient one that has come to the node */
  instead: (node: Node, values: readonly Value[], gradient: Value) => readonly Value[],
  /** The value of the forward pass that this one equals. */
  original: (value: Value) => Value,
];

/** Twice the same node need not give twice the same. */
const random = /^(Dropout|Random|Bernoulli|Multinomial)/;

/**
 * Appends segments of the forward graph to the backward one, so that their values need not be kept from
 * one to the other. Each choice is a segment. What leaves it is kept, what is inside is made again.
 * @throws OnnxModelError `invalid-option` for a choice that meets no node
 */
export function recomputed(
  b: Emitter,
  { node: nodes = [], initializer }: Graph,
  choices: NodeChoice | readonly NodeChoice[],
): Recomputed {
  const plain = nodes.filter(
    ({ opType = '', attribute = [] }) =>
      !random.test(opType) && !attribute.some(({ g, graphs }) => g || graphs),
  );
  const segments = chosenNodes('recompute', choices, plain);
  const makers = new Map<Value, Node>();
  for (const node of segments.keys()) for (const name of node.output ?? []) makers.set(name, node);
  const fixed = byName(initializer);
  const copies = new Map<Value, Value>();
  const originals = new Map<Value, Value>();
  const flags = new Map<number, Value>();

  /**
   * The same value, but not before there is a gradient. The runtime would make the segment together with
   * the forward pass else, or find that it has been made before.
   */
  const late = (value: Value, segment: number) => b.where(flags.get(segment)!, value, value);

  const copy = (value: Value, segment: number): Value => {
    const maker = makers.get(value);
    if (!maker || segments.get(maker) !== segment) return value;
    if (!copies.has(value)) {
      const input = (maker.input ?? []).map((name) => copy(name, segment));
      if (!input.some((name) => originals.has(name))) {
        const at = Math.max(
          0,
          input.findIndex((name) => name && !fixed.has(name)),
        );
        if (input[at]) input[at] = late(input[at], segment);
      }
      const output = maker.output!.map((name) => {
        const again = name && `${b.prefix}again/${name}`;
        copies.set(name, again);
        originals.set(again, name);
        return again;
      });
      b.nodes.push({ ...maker, name: output[0]!, input, output });
    }
    return copies.get(value)!;
  };

  return [
    (node, values, gradient) => {
      const segment = segments.get(node);
      if (segment === undefined) return values;
      if (!flags.has(segment)) {
        const sum = b.node('ReduceSum', [gradient], { keepdims: 0 });
        flags.set(segment, b.greater(sum, 0));
      }
      return values.map((value) => copy(value, segment));
    },
    (value) => originals.get(value) ?? value,
  ];
}
