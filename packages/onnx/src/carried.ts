import { ParameterError } from '@schedule-free-adan/core';
import { decodeSafetensors, encodeSafetensors } from '@schedule-free-adan/core/checkpoints';
import { refuse } from './errors.js';
import { GraphBuilder } from './graph.js';
import { type Arena, arenaOf, type Place, packed } from './layout.js';
import type { Model, ValueInfo } from './model/schema.js';
import { byName, floatValues, makeValueInfo, shapeOf } from './model/tensors.js';
import { checkFeeds, type Feeds, tensorOf, withRunner } from './runtime.js';
import type { Context } from './trainer.js';
import {
  arenaName,
  computedIn,
  evaluationModelOf,
  type GradientModel,
  graphOf,
  initializerOf,
  modelOf,
  plainOutputs,
  withArenas,
} from './training-model.js';

/**
 * The model with what it carries in one vector, which goes in and comes out renewed.
 * @throws OnnxModelError
 */
export function carryingModelOf(
  model: Model,
  of: GradientModel,
  prefix: string,
): { model: Model; input: string; output: string; places: readonly Place[] } {
  const { carried = {}, gradients } = of;
  const graph = graphOf(model);
  const tensors = byName(graph.initializer);
  const computed = computedIn(graph);
  const held = Object.entries(carried).map(([name, next]) => {
    const shape = shapeOf(initializerOf(tensors, 'carried', name));
    if (!computed.has(next)) {
      refuse('unknown-value', `The carried '${next}' is no node's output.`, next);
    }
    if (Object.hasOwn(gradients, name)) {
      const message = `'${name}' is a parameter; it can't be carried as well.`;
      refuse('invalid-option', message, 'carried', name);
    }
    return { name, shape };
  });
  const arena = arenaOf(held);
  const after = new GraphBuilder(`${prefix}carried/`);
  const output = `${after.prefix}next`;
  const carrying = withArenas(model, [arena], after, () => {
    const parts = arena.places.map(({ name, start, end }) =>
      after.reshape(carried[name]!, [end - start]),
    );
    after.concat(parts, output);
    const others = Object.values(gradients).map((name) => ({ name }));
    const outputs = byName<ValueInfo>([...others, ...plainOutputs(graph, of)]);
    const next = makeValueInfo(output, 'float32', [arena.length]);
    return { outputs: [...outputs.values(), next] };
  });
  return { model: carrying, input: arenaName(after.prefix, 0), output, places: arena.places };
}

export type Carrying = ReturnType<typeof carry>;

/**
 * What a model renews by itself; on the host, as it is little.
 * @param context its source holds what is carried in initializers
 */
export function carry(context: Context) {
  const { source, prefix, averaged } = context;
  const { model, places, input, output } = carryingModelOf(source, context, prefix);
  const arena: Arena = { places, length: places.at(-1)!.end };
  const initializers = byName(graphOf(source).initializer);
  /** All that is carried. Is replaced, and never written to. */
  let values = packed(arena, (name) => floatValues(initializers.get(name)!));
  /** By initializer, as copies. */
  const named = (): Record<string, Float32Array> =>
    Object.fromEntries(places.map(({ name, start, end }) => [name, values.slice(start, end)]));
  return {
    /** The model that is trained: what is carried goes in and comes out. */
    model,
    arena,
    named,

    /** @returns what brings the present values back */
    mark() {
      const before = values;
      return () => {
        values = before;
      };
    },

    /** What a run of the model reads besides what a form feeds. */
    feeds: (name = input): Feeds => ({ [name]: tensorOf(context, values) }),

    /** A run that gives NaN or infinity leaves everything as it was. */
    take(results: Feeds): void {
      const next = results[output]!.data as Float32Array;
      if (next.every(Number.isFinite)) values = next.slice();
    },

    /**
     * Sets what is averaged to its mean over these batches.
     * @param arenas those of an evaluation, for which `own` are the feeds
     */
    async recalibrate(
      batches: Iterable<Feeds> | AsyncIterable<Feeds>,
      arenas: readonly Arena[],
      own: Feeds,
    ): Promise<number> {
      const means = places.filter(({ name }) => Object.hasOwn(averaged, name));
      const outputs = means.map(({ name, shape }) =>
        makeValueInfo(averaged[name]!, 'float32', shape),
      );
      const sums = new Float64Array(arena.length);
      let count = 0;
      const training = evaluationModelOf(modelOf(source, outputs), arenas, prefix);
      await withRunner(context, training, async (runner) => {
        for await (const batch of batches) {
          const feeds = runner.pick(batch);
          checkFeeds(feeds, runner, prefix);
          const results = await runner.run(feeds, own);
          for (const { name, start } of means) {
            const data = results[averaged[name]!]!.data as Float32Array;
            for (const [i, value] of data.entries()) sums[start + i]! += value;
          }
          count++;
        }
      });
      if (count > 0) {
        values = values.slice();
        for (const { start, end } of means) {
          values.set(
            sums.subarray(start, end).map((sum) => sum / count),
            start,
          );
        }
      }
      return count;
    },

    /** What is carried goes in as tensors that belong to no parameter, which other backends pass by. */
    save(checkpoint: Uint8Array): Uint8Array {
      const { metadata, tensors } = decodeSafetensors(checkpoint);
      const { checksum: _, ...rest } = metadata;
      const data = named();
      const own = places.map(
        ({ name, shape }) => [`${name}.carried`, { shape, data: data[name]! }] as const,
      );
      return encodeSafetensors({ metadata: rest, tensors: new Map([...tensors, ...own]) });
    },

    load(checkpoint: Uint8Array): void {
      const { tensors } = decodeSafetensors(checkpoint);
      const data = named();
      for (const { name, shape } of places) {
        // That of another backend has none.
        const found = tensors.get(`${name}.carried`) ?? { shape, data: data[name]! };
        if (String(found.shape) !== String(shape)) {
          const message = `'${name}' has shape [${found.shape}], not [${shape}].`;
          throw new ParameterError('wrong-shape', message, name, found.shape);
        }
        data[name] = found.data as Float32Array;
      }
      values = packed(arena, (name) => data[name]!);
    },
  };
}
