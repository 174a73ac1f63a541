import type { HostTensor } from '@schedule-free-adan/core/host';
import { GraphBuilder, type Value } from './graph.js';
import type { Arena } from './layout.js';
import type { ValueInfo } from './model/schema.js';
import { makeValueInfo } from './model/tensors.js';
import { type Feeds, openRunner, type Runner } from './runtime.js';
import type { Context, StepResult } from './trainer.js';
import { checkSizes, computedIn, plainOutputs, withArenas } from './training-model.js';

/** A session that computes gradients, and which output is that of which parameter that has elements. */
export interface Gradients {
  readonly runner: Runner;
  readonly gradients: ReadonlyMap<string, Value>;
}

/** Makes another value of the gradient of a parameter, perhaps with further inputs of the model. */
export type Finish = (
  after: GraphBuilder,
  gradient: Value,
  name: string,
  shape: readonly number[],
  inputs: ValueInfo[],
) => Value;

/**
 * Opens the model with its parameters in arenas, and each gradient by itself: a host copies them
 * together at less cost than a node.
 * @param resident gradients stay on the device
 * @param finish what comes out instead of each gradient
 */
export async function openGradients(
  context: Context,
  arenas: readonly Arena[],
  resident = false,
  finish?: Finish,
): Promise<Gradients> {
  const after = new GraphBuilder(context.prefix);
  const gradients = new Map<string, Value>();
  const model = withArenas(context.source, arenas, after, (graph, inputs) => {
    const computed = computedIn(graph);
    const outputs = plainOutputs(graph, context);
    for (const { name, shape, start, end } of arenas.flatMap(({ places }) => places)) {
      if (end === start) continue;
      let gradient: Value = context.gradients[name]!;
      if (finish) gradient = finish(after, gradient, name, shape, inputs);
      // An output that is an input as well is not safe in every provider.
      else if (!computed.has(gradient)) gradient = after.node('Identity', [gradient]);
      gradients.set(name, gradient);
      outputs.push(makeValueInfo(gradient, 'float32', shape));
    }
    return outputs;
  });
  const runner = await openRunner(context, model, resident && [...gradients.values()]);
  return { runner, gradients };
}

/**
 * Runs one batch after the other. Gives the mean loss, and the outputs of the last.
 * @param run `share` is what a sum of gradients is multiplied by after the batch, so that a mean comes out
 */
export async function overBatches(
  { loss, outputs: names, carrying }: Context,
  batches: readonly Feeds[],
  run: (feeds: Feeds, index: number, share: number) => Promise<Feeds>,
): Promise<StepResult> {
  let total = 0;
  let outputs: StepResult['outputs'] = {};
  const { length } = batches;
  for (const [i, feeds] of batches.entries()) {
    const results = await run(feeds, i, i === length - 1 ? 1 / length : 1);
    carrying?.take(results);
    total += Number((results[loss]!.data as Float32Array)[0]);
    outputs = Object.fromEntries(names.map((name) => [name, results[name]!]));
  }
  return { loss: total / length, outputs };
}

/**
 * Writes the mean of the batches' gradients to tensors on the host.
 * @param own feeds that hold the parameters
 */
export function meanGradients(
  context: Context,
  { runner, gradients }: Gradients,
  own: Feeds,
  batches: readonly Feeds[],
  sums: ReadonlyMap<string, HostTensor>,
): Promise<StepResult> {
  return overBatches(context, batches, async (feeds, i, share) => {
    const results = await runner.run(feeds, own);
    checkSizes(context, (name) => results[gradients.get(name) ?? '']?.dims);
    for (const [name, output] of gradients) {
      const sum = sums.get(name)!.data;
      const values = results[output]!.data as Float32Array;
      if (i === 0) sum.set(values);
      else for (let k = 0; k < sum.length; k++) sum[k] = (sum[k]! + values[k]!) * share;
    }
    return results;
  });
}
