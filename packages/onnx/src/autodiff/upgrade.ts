import { GraphBuilder } from '../graph.js';
import { attributeOf } from '../model/nodes.js';
import type { Graph, Model, Node } from '../model/schema.js';
import { byName, toNumber } from '../model/tensors.js';
import { graphOf, isStandard, opsetOf } from '../training-model.js';
import { changes } from './changes.js';

/** Rules are written for this operator set; older models are brought to it. */
const TARGET = 18;

/**
 * The same model in operator set 18 or its own later one, with its constants as initializers.
 * @throws OnnxModelError `unsupported-model` before operator set 7, whose broadcasting was another one
 */
export function upgrade(
  model: Model,
  prefix: string,
): { model: Model; opset: number; constants: Set<string> } {
  const given = graphOf(model, 7);
  const from = opsetOf(model);
  const opset = Math.max(from, TARGET);
  const b = new GraphBuilder(`${prefix}upgrade/`);
  const table = changes.filter(([version]) => from < version);
  const rankTwo = new Set<string>();
  const constants = new Set<string>();
  const raise = (graph: Graph, outer: boolean): Graph => {
    const initializer = [...(graph.initializer ?? [])];
    const nodes: Node[] = [];
    for (const node of graph.node ?? []) {
      let raised = [node];
      for (const [, name, change] of isStandard(node) ? table : []) {
        raised = raised.flatMap((one) =>
          one.opType === name ? (change(one, b, rankTwo) ?? b.nodes.splice(0)) : one,
        );
      }
      if (node.opType === 'Gemm' || node.opType === 'Flatten') rankTwo.add(node.output![0]!);
      for (const one of raised) {
        const { attribute, opType, output } = one;
        const tensor = outer && opType === 'Constant' && attributeOf(one, 'value').t;
        if (tensor) {
          const name = output![0]!;
          initializer.push({ ...tensor, name });
          constants.add(name);
        } else if (attribute?.some(({ g }) => g)) {
          const deeper = attribute.map((a) => (a.g ? { ...a, g: raise(a.g, false) } : a));
          nodes.push({ ...one, attribute: deeper });
        } else nodes.push(one);
      }
    }
    return { ...graph, node: nodes, initializer };
  };
  const graph = raise(given, true);
  for (const [name, tensor] of b.constants) {
    constants.add(name);
    graph.initializer!.push(tensor);
  }
  const held = byName(graph.initializer);
  graph.input = (graph.input ?? []).filter(({ name = '' }) => !held.has(name));
  return {
    model: {
      ...model,
      irVersion: Math.max(toNumber(model.irVersion), 8),
      opsetImport: model.opsetImport!.map((one) =>
        isStandard(one) ? { ...one, version: opset } : one,
      ),
      graph,
    },
    opset,
    constants,
  };
}
