import { GraphBuilder, type Value } from './graph.js';
import type { Arena } from './layout.js';
import type { Model, ValueInfo } from './model/schema.js';
import { makeValueInfo } from './model/tensors.js';
import {
  arenaNames,
  assemble,
  type GradientModel,
  graphOf,
  namesOf,
  plainOutputs,
  promote,
} from './training-model.js';

/** In a model that adds gradients up: the input with the sum so far. */
export const sumName = (prefix: string, parameter: string) => `${prefix}sum/${parameter}`;

/**
 * The model with its parameters in arenas, and each gradient by itself: for a step whose host copies them
 * together, which on a device is far cheaper than a node that does.
 * @param adding each goes on top of its input {@link sumName}, and all is multiplied by `share`
 * @returns `outputs`: the output with the gradient of each parameter that has elements
 */
export function separateGradientModelOf(
  model: Model,
  of: GradientModel,
  groups: readonly Arena[],
  prefix: string,
  { adding = false } = {},
): { model: Model; outputs: ReadonlyMap<string, Value> } {
  const graph = graphOf(model);
  const [before, after] = [new GraphBuilder(`${prefix}cut/`), new GraphBuilder(prefix)];
  const arenas = groups.map((_, k) => arenaNames(prefix, k).parameters);
  promote(before, groups, arenas);
  const computed = new Set((graph.node ?? []).flatMap(({ output = [] }) => output));
  const outputs = new Map<string, Value>();
  const infos = new Map<Value, ValueInfo>();
  const share = `${prefix}share`;
  const sums: ValueInfo[] = [];
  for (const { name, shape, start, end } of groups.flatMap(({ places }) => places)) {
    if (end === start) continue;
    const gradient = of.gradients[name]!;
    let output: Value = gradient;
    if (adding) {
      const sum = sumName(prefix, name);
      sums.push(makeValueInfo(sum, 'float32', shape));
      const { add, mul } = after.algebra;
      output = mul(add(sum, after.reshape(gradient, shape)), share);
    } else if (!computed.has(gradient)) {
      // An output that is an input as well is not safe in every provider.
      output = after.node('Identity', [gradient]);
    }
    outputs.set(name, output);
    infos.set(output, makeValueInfo(output, 'float32', shape));
  }
  const assembled = assemble(
    model,
    { before, after },
    {
      names: namesOf(groups),
      inputs: [
        ...groups.map(({ length }, k) => makeValueInfo(arenas[k]!, 'float32', [length])),
        ...sums,
        makeValueInfo(share, 'float32', []),
      ],
      outputs: [...plainOutputs(graph, of), ...infos.values()],
    },
  );
  return { model: assembled, outputs };
}
