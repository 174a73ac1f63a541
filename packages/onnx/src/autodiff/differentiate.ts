import { refuse } from '../errors.js';
import { captured, type Value } from '../graph.js';
import { attributeOf } from '../model/nodes.js';
import type { Graph, Node } from '../model/schema.js';
import { byName, numbersOf, toNumber } from '../model/tensors.js';
import { isStandard } from '../training-model.js';
import type { NodeChoice } from './choice.js';
import type { Emitter } from './emit.js';
import type { Probed } from './probe.js';
import { recomputed } from './recompute.js';
import type { Rule, RuleContext } from './rules.js';

/** Ends with an error about a node. */
function unsupported({ name, output, domain, opType }: Node, what: string, remedy: string): never {
  const own = name || output?.[0];
  const title = `node '${own}' (${domain ? `${domain}.` : ''}${opType})`;
  const message = `${what} ${title}${remedy}, or give a rule of your own in \`rules\`.`;
  refuse('unsupported-operator', message, own, opType);
}

/** What a table has for a node's operator: `Relu`, or `domain.Operator`. */
export const ruleOf = <R = Rule>(node: Node, rules: Readonly<Record<string, R>>): R | undefined => {
  const { domain, opType = '' } = node;
  const key = isStandard(node) ? opType : `${domain}.${opType}`;
  return Object.hasOwn(rules, key) ? rules[key] : undefined;
};

/** Nodes through which the loss depends on these values, in the graph's order. */
export function pathOf(
  graph: Graph,
  from: Iterable<string>,
  loss: Value,
  stops: (node: Node) => boolean,
) {
  const values = new Set(from);
  const forward: Node[] = [];
  for (const node of graph.node ?? []) {
    const read = [...(node.input ?? []), ...captured(node)];
    if (stops(node) || !read.some((name) => values.has(name))) continue;
    forward.push(node);
    for (const name of node.output ?? []) if (name) values.add(name);
  }
  const needed = new Set([loss]);
  const nodes = forward.reverse().filter(({ input = [], output = [] }) => {
    const on = output.some((name) => needed.has(name));
    if (on) for (const name of input) if (values.has(name)) needed.add(name);
    return on;
  });
  return [nodes.reverse(), needed] as const;
}

/** @throws OnnxModelError `unsupported-operator` for the first node on the way that has no rule */
export function checkRules(
  nodes: readonly Node[],
  rules: Readonly<Record<string, Rule>>,
  opset: number,
): void {
  const node = nodes.find((one) => !ruleOf(one, rules));
  if (!node) return;
  const remedy = /^Q[A-Z]|Integer|uantize/.test(node.opType ?? '')
    ? 'Take the model before it was quantized'
    : 'Choose `trainable` parameters behind it';
  unsupported(node, 'There is no gradient rule for', ` of operator set ${opset}. ${remedy}`);
}

/**
 * Appends the gradient of `loss` with respect to `wanted`, and returns it by name.
 * @param recompute segments that are computed again
 */
export function differentiate(
  b: Emitter,
  graph: Graph,
  loss: Value,
  wanted: Iterable<string>,
  probed: Probed,
  rules: Readonly<Record<string, Rule>>,
  opset: number,
  recompute: NodeChoice | readonly NodeChoice[],
): Map<string, Value> {
  const [nodes, values] = pathOf(graph, wanted, loss, (node) =>
    (node.output ?? []).every((name) => name && !/float/.test(probed.types.get(name)!)),
  );
  const initializers = byName(graph.initializer);
  const found = new Map<string, Value>();
  const give = (name: string, value: Value) => {
    const before = found.get(name);
    found.set(name, before === undefined ? value : b.add(before, value));
  };
  give(loss, b.floats(probed.shapes.get(loss) as number[], [1]));
  const [instead, original] = recomputed(b, graph, recompute);
  const shape = (value: Value) => probed.shapes.get(original(value))!;
  for (const node of [...nodes].reverse()) {
    const [x, y] = [node.input ?? [], node.output ?? []];
    const dy = y.map((name) => found.get(name));
    const come = dy.find(Boolean);
    if (!come) continue;
    const impossible = (why: string): never => {
      const remedy = ` can't be made: ${why}. Fix extents with \`dimensions\``;
      return unsupported(node, 'The gradient of', remedy);
    };
    const attribute = (name: string) => attributeOf(node, name);
    const g = dy[0] ?? b.zeros(shape(y[0]!));
    const context: RuleContext = {
      b,
      x: instead(node, x, come),
      y: instead(node, y, come),
      dy,
      g,
      opset,
      shape,
      fixed: (value, from, to) =>
        shape(value)
          .slice(from, to)
          .map((e) =>
            typeof e === 'number' ? e : impossible(`'${value}' has an extent that is not fixed`),
          ),
      type: (value) => probed.types.get(original(value)) ?? '',
      needs: (input) => values.has(x[input] ?? ''),
      int: (name, fallback) => toNumber(attribute(name).i ?? fallback),
      float: (name, fallback) => attribute(name).f ?? fallback,
      ints: (name) => attribute(name).ints?.map(Number),
      text: (name, fallback) => {
        const bytes = attribute(name).s;
        return bytes ? new TextDecoder().decode(bytes) : fallback;
      },
      constant: (input) => {
        const name = x[input] ?? '';
        const tensor = initializers.get(name);
        return tensor ? numbersOf(tensor) : probed.numbers.get(name);
      },
      refuse: impossible,
    };
    const gradients = ruleOf(node, rules)!(context);
    x.forEach((name, i) => {
      if (!values.has(name)) return;
      const made = gradients[i];
      const value = typeof made === 'function' ? made() : made;
      if (value) give(name, value);
    });
  }
  return found;
}
