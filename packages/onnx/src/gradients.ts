import { GraphBuilder, type Value } from './graph.js';
import { type Arena, packed } from './layout.js';
import { byName, makeValueInfo } from './model/tensors.js';
import { type Feeds, openRunner, type Runner, tensorOf } from './runtime.js';
import type { Context, StepResult } from './trainer.js';
import { arenaName, checkSizes, computedIn, plainOutputs, withArenas } from './training-model.js';

/** In a model that adds gradients up: the input with the sum so far. */
export const sumName = (prefix: string, parameter: string) => `${prefix}sum/${parameter}`;
/** There as well: what the sum is multiplied by. */
export const shareName = (prefix: string) => `${prefix}share`;

/** How gradients come out of a session. */
interface GradientOptions {
  /** They stay on the device. */
  readonly resident?: boolean;
  /** Each goes on top of its input {@link sumName}, and all is multiplied by {@link shareName}. */
  readonly adding?: boolean;
}

/** A session that computes gradients, and which output is that of which parameter that has elements. */
export interface Gradients {
  readonly runner: Runner;
  readonly gradients: ReadonlyMap<string, Value>;
}

/**
 * Opens the model with its parameters in arenas, and each gradient by itself: a host copies them
 * together at less cost than a node.
 */
export async function openGradients(
  context: Context,
  groups: readonly Arena[],
  { resident = false, adding = false }: GradientOptions = {},
): Promise<Gradients> {
  const { source, prefix } = context;
  const after = new GraphBuilder(prefix);
  const { add, mul } = after;
  const gradients = new Map<string, Value>();
  const model = withArenas(source, groups, after, (graph) => {
    const computed = computedIn(graph);
    const inputs = [makeValueInfo(shareName(prefix), 'float32', [])];
    const outputs = plainOutputs(graph, context);
    for (const { name, shape, start, end } of groups.flatMap(({ places }) => places)) {
      if (end === start) continue;
      let gradient: Value = context.gradients[name]!;
      if (adding) {
        const sum = sumName(prefix, name);
        inputs.push(makeValueInfo(sum, 'float32', shape));
        gradient = mul(add(sum, after.reshape(gradient, shape)), shareName(prefix));
      } else if (!computed.has(gradient)) {
        // An output that is an input as well is not safe in every provider.
        gradient = after.node('Identity', [gradient]);
      }
      gradients.set(name, gradient);
      outputs.push(makeValueInfo(gradient, 'float32', shape));
    }
    return { inputs, outputs: [...byName(outputs).values()] };
  });
  const stay = resident ? [...new Set(gradients.values())] : [];
  return { runner: await openRunner(context, model, stay), gradients };
}

/** Runs one batch after the other. Gives the mean loss, and the outputs of the last. */
export async function overBatches(
  { loss, outputs: names, carrying }: Context,
  batches: readonly Feeds[],
  run: (feeds: Feeds, index: number) => Promise<Feeds>,
): Promise<StepResult> {
  let total = 0;
  let outputs: StepResult['outputs'] = {};
  for (const [i, feeds] of batches.entries()) {
    const results = await run({ ...feeds, ...carrying?.feeds() }, i);
    carrying?.take(results);
    total += Number((results[loss]!.data as Float32Array)[0]);
    outputs = Object.fromEntries(names.map((name) => [name, results[name]!]));
  }
  return { loss: total / batches.length, outputs };
}

/** Writes the mean of the batches' gradients, on the host, to where `place` says for each parameter. */
export function meanGradients(
  context: Context,
  { runner, gradients }: Gradients,
  arenas: readonly Float32Array[],
  batches: readonly Feeds[],
  place: (name: string) => Float32Array,
): Promise<StepResult> {
  const parameters = arenaFeeds(context, arenas);
  return overBatches(context, batches, async (feeds, i) => {
    const results = await runner.run(feeds, parameters);
    checkSizes(context, (name) => results[gradients.get(name) ?? '']?.dims);
    const share = i === batches.length - 1 ? 1 / batches.length : 1;
    for (const [name, output] of gradients) {
      const sum = place(name);
      const values = results[output]!.data as Float32Array;
      if (i === 0) sum.set(values);
      else for (let k = 0; k < sum.length; k++) sum[k] = (sum[k]! + values[k]!) * share;
    }
    return results;
  });
}

/** Arrays as the arenas of a model. */
const arenaFeeds = (context: Context, arenas: readonly Float32Array[]): Feeds =>
  Object.fromEntries(
    arenas.map((arena, k) => [arenaName(context.prefix, k), tensorOf(context, arena)]),
  );

/** Values of all parameters as the arenas of a model. */
export const hostFeeds = (
  context: Context,
  arenas: readonly Arena[],
  values: Readonly<Record<string, Float32Array>>,
): Feeds =>
  arenaFeeds(
    context,
    arenas.map((arena) => packed(arena, (name) => values[name]!)),
  );
