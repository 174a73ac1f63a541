import { OnnxModelError } from '../errors.js';
import { captured, type Value } from '../graph.js';
import { attributeOf } from '../model/nodes.js';
import type { Graph, Node } from '../model/schema.js';
import { numbersOf, toNumber } from '../model/tensors.js';
import { isStandard } from '../training-model.js';
import type { NodeChoice } from './choice.js';
import type { Emitter } from './emit.js';
import type { Probed } from './probe.js';
import { recomputed } from './recompute.js';
import type { Rule, RuleContext } from './rules.js';

const title = (node: Node) =>
  `node '${node.name || node.output?.[0]}' (${node.domain ? `${node.domain}.` : ''}${node.opType})`;

/** What a table has for a node's operator: `Relu`, or `domain.Operator`. */
export const ruleOf = <R = Rule>(node: Node, rules: Readonly<Record<string, R>>): R | undefined => {
  const { domain, opType = '' } = node;
  const key = isStandard(node) ? opType : `${domain}.${opType}`;
  return Object.hasOwn(rules, key) ? rules[key] : undefined;
};

/** Nodes through which the loss depends on these values, in the graph's order. */
export function pathOf(
  graph: Graph,
  from: ReadonlySet<string>,
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
  return { nodes: nodes.reverse(), values: needed };
}

/** @throws OnnxModelError `unsupported-operator` for the first node on the way that has no rule */
export function checkRules(
  nodes: readonly Node[],
  rules: Readonly<Record<string, Rule>>,
  opset: number,
): void {
  const node = nodes.find((one) => !ruleOf(one, rules));
  if (!node) return;
  const remedy = /^(Q[A-Z]|MatMulInteger|ConvInteger|Dequantize|Quantize|DynamicQuantize)/.test(
    node.opType ?? '',
  )
    ? 'Take the model before it was quantized'
    : 'Choose `trainable` parameters behind it';
  const message = `There is no gradient rule for ${title(node)} of operator set ${opset}. ${remedy}, or give a rule of your own in \`rules\`.`;
  throw new OnnxModelError(
    'unsupported-operator',
    message,
    node.name || node.output?.[0],
    node.opType,
  );
}

/** Appends the gradient of `loss` with respect to `wanted`, and returns it by name. */
export function differentiate(
  b: Emitter,
  graph: Graph,
  {
    loss,
    wanted,
    probed,
    rules,
    opset,
    recompute,
  }: {
    loss: Value;
    wanted: ReadonlySet<string>;
    probed: Probed;
    rules: Readonly<Record<string, Rule>>;
    opset: number;
    /** Segments that are computed again. */
    recompute: NodeChoice | readonly NodeChoice[];
  },
): Map<string, Value> {
  const path = pathOf(graph, wanted, loss, (node) =>
    (node.output ?? []).every((name) => name && !/float/.test(probed.types.get(name) ?? '')),
  );
  const initializers = new Map((graph.initializer ?? []).map((t) => [t.name ?? '', t]));
  const found = new Map<string, Value>();
  const give = (name: string, value: Value) => {
    const before = found.get(name);
    found.set(name, before === undefined ? value : b.add(before, value));
  };
  const lossShape = probed.shapes.get(loss)!;
  give(loss, lossShape.length === 0 ? b.value(1) : b.floats(lossShape as number[], [1]));
  const { instead, original } = recomputed(b, graph, recompute);
  const shape = (value: Value) => probed.shapes.get(original(value))!;
  for (const node of [...path.nodes].reverse()) {
    const [x, y] = [node.input ?? [], node.output ?? []];
    const dy = y.map((name) => found.get(name));
    if (dy.every((g) => g === undefined)) continue;
    const refuse = (why: string): never => {
      const message = `The gradient of ${title(node)} can't be made: ${why}. Fix extents with \`dimensions\`, or give a rule of your own in \`rules\`.`;
      throw new OnnxModelError('unsupported-operator', message, node.name || y[0], node.opType);
    };
    const attribute = (name: string) => attributeOf(node, name);
    const g = dy[0] ?? b.zeros(shape(y[0]!));
    const come = dy.find((one) => one !== undefined)!;
    const context: RuleContext = {
      b,
      x: instead(node, x, come),
      y: instead(node, y, come),
      dy,
      g,
      opset,
      shape,
      fixed: (value, from = 0, to?: number) =>
        shape(value)
          .slice(from, to)
          .map((e) =>
            typeof e === 'number' ? e : refuse(`'${value}' has an extent that is not fixed`),
          ),
      type: (value) => probed.types.get(original(value)) ?? '',
      needs: (input) => path.values.has(x[input] ?? ''),
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
      refuse,
    };
    const gradients = ruleOf(node, rules)!(context);
    x.forEach((name, i) => {
      if (!path.values.has(name)) return;
      const made = gradients[i];
      const value = typeof made === 'function' ? made() : made;
      if (value !== undefined) give(name, value);
    });
  }
  return found;
}
