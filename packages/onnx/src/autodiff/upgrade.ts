import { OnnxModelError } from '../errors.js';
import { GraphBuilder } from '../graph.js';
import { attributeOf } from '../model/nodes.js';
import type { Graph, Model, Node } from '../model/schema.js';
import { toNumber } from '../model/tensors.js';

/** Rules are written for this operator set; older models are brought to it. */
const TARGET = 18;

/**
 * The same model in operator set 18 or its own later one, with its constants as initializers.
 * @throws OnnxModelError `unsupported-model` before operator set 7, whose broadcasting was another one
 */
export async function upgrade(
  model: Model,
  prefix: string,
): Promise<{ model: Model; opset: number; constants: Set<string> }> {
  const own = (model.opsetImport ?? []).find(
    ({ domain = '' }) => domain === '' || domain === 'ai.onnx',
  );
  const from = toNumber(own?.version);
  if (from < 7 || !model.graph) {
    const message = `The model uses operator set ${from}; convert it to 7 or later.`;
    throw new OnnxModelError('unsupported-model', message, 'opset', from);
  }
  const b = new GraphBuilder(`${prefix}upgrade/`);
  // Loaded by itself, since newer models never need it.
  const { changes } = from < TARGET ? await import('./changes.js') : { changes: [] };
  const table = changes.filter(([version]) => from < version);
  const rankTwo = new Set<string>();
  const raise = (graph: Graph, outer: boolean): Graph => {
    const initializer = [...(graph.initializer ?? [])];
    const nodes: Node[] = [];
    for (const node of graph.node ?? []) {
      let list = [node];
      if ((node.domain ?? '') === '' || node.domain === 'ai.onnx') {
        for (const [, name, change] of table) {
          list = list.flatMap((one) => {
            if (one.opType !== name) return [one];
            return change(one, b, rankTwo) ?? b.nodes.splice(0);
          });
        }
      }
      if (node.opType === 'Gemm' || node.opType === 'Flatten') rankTwo.add(node.output![0]!);
      for (const one of list) {
        const tensor = one.opType === 'Constant' ? attributeOf(one, 'value').t : undefined;
        if (outer && tensor) {
          initializer.push({ ...tensor, name: one.output![0]! });
          constants.add(one.output![0]!);
          continue;
        }
        const deeper = one.attribute?.some(({ g }) => g);
        nodes.push(
          deeper
            ? {
                ...one,
                attribute: one.attribute!.map((a) => (a.g ? { ...a, g: raise(a.g, false) } : a)),
              }
            : one,
        );
      }
    }
    return { ...graph, node: nodes, initializer };
  };
  const constants = new Set<string>();
  const graph = raise(model.graph, true);
  for (const [name, tensor] of b.constants) {
    constants.add(name);
    graph.initializer!.push(tensor);
  }
  const held = new Set(graph.initializer!.map(({ name }) => name));
  graph.input = (graph.input ?? []).filter(({ name }) => !held.has(name));
  const opset = Math.max(from, TARGET);
  const others = (model.opsetImport ?? []).filter((entry) => entry !== own);
  return {
    model: {
      ...model,
      irVersion: Math.max(toNumber(model.irVersion), 8),
      opsetImport: [{ ...own, version: opset }, ...others],
      graph,
    },
    opset,
    constants,
  };
}
