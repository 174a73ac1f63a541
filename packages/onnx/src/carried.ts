import { decodeSafetensors, encodeSafetensors } from '@schedule-free-adan/core/checkpoints';
import { refuse, refuseParameter } from './errors.js';
import { GraphBuilder } from './graph.js';
import { type Arena, arenaOf, packed, unpacked } from './layout.js';
import type { Model, ValueInfo } from './model/schema.js';
import { floatValues, makeValueInfo, shapeOf } from './model/tensors.js';
import { type Feeds, tensorOf, withRunner } from './runtime.js';
import type { Context } from './trainer.js';
import {
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
export function carryingModelOf(model: Model, of: GradientModel, prefix: string) {
  const { carried = {}, gradients } = of;
  const graph = graphOf(model);
  const computed = computedIn(graph);
  const held = Object.entries(carried).map(([name, next]) => {
    const tensor = initializerOf(graph, 'carried', name);
    if (!computed.has(next)) {
      refuse('unknown-value', `The carried '${next}' is no node's output.`, next);
    }
    if (Object.hasOwn(gradients, name)) {
      const message = `'${name}' is a parameter; it can't be carried as well.`;
      refuse('invalid-option', message, 'carried', name);
    }
    return { name, shape: shapeOf(tensor), values: floatValues(tensor) };
  });
  const after = new GraphBuilder(`${prefix}carried/`);
  const arena = arenaOf(`${after.prefix}now`, held);
  const output = `${after.prefix}next`;
  const carrying = withArenas(model, [arena], after, () => {
    const parts = arena.places.map(({ name, start, end }) =>
      after.reshape(carried[name]!, [end - start]),
    );
    after.concat(parts, output);
    const others: ValueInfo[] = Object.values(gradients).map((name) => ({ name }));
    return [
      ...others,
      ...plainOutputs(graph, of),
      makeValueInfo(output, 'float32', [arena.length]),
    ];
  });
  const values = packed(
    arena,
    held.map((one) => one.values),
  );
  return { model: carrying, arena, output, values };
}

export type Carrying = ReturnType<typeof carry>;

/**
 * What a model renews by itself; on the host, as it is little.
 * @param context its source holds what is carried in initializers
 */
export function carry(context: Context) {
  const { source, prefix, averaged } = context;
  const { model, arena, output, values: initial } = carryingModelOf(source, context, prefix);
  const { places } = arena;
  /** All that is carried. Is replaced, and never written to. */
  let values = initial;
  /** What a run of the model reads besides what a form feeds. */
  const feeds = (): Feeds => ({ [arena.name]: tensorOf(context, values) });
  return {
    /** The model that is trained: what is carried goes in and comes out. */
    model,
    arena,
    feeds,

    /** By initializer, as copies. */
    named: (): Record<string, Float32Array> => Object.fromEntries(unpacked(arena, values)),

    /** @returns what brings the present values back */
    mark() {
      const before = values;
      return () => {
        values = before;
      };
    },

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
      /** The mean so far of what is averaged, and the rest. */
      const next = Float64Array.from(values);
      let count = 0;
      const training = evaluationModelOf(modelOf(source, outputs), arenas, prefix);
      await withRunner(context, training, async (runner) => {
        for await (const batch of batches) {
          const results = await runner.run(runner.pick(batch), { ...own, ...feeds() });
          for (const { name, start } of means) {
            const data = results[averaged[name]!]!.data as Float32Array;
            for (const [i, value] of data.entries()) {
              // What was there before the first batch may be NaN.
              next[start + i] = ((count && next[start + i]! * count) + value) / (count + 1);
            }
          }
          count++;
        }
      });
      values = Float32Array.from(next);
      return count;
    },

    /** What is carried goes in as tensors that belong to no parameter, which other backends pass by. */
    save(checkpoint: Uint8Array): Uint8Array {
      const { metadata, tensors } = decodeSafetensors(checkpoint);
      const { checksum: _, ...rest } = metadata;
      const own = unpacked(arena, values).map(
        ([name, data], i) => [`${name}.carried`, { shape: places[i]!.shape, data }] as const,
      );
      return encodeSafetensors({ metadata: rest, tensors: new Map([...tensors, ...own]) });
    },

    load(checkpoint: Uint8Array): void {
      const { tensors } = decodeSafetensors(checkpoint);
      const found = places.map(({ name, shape, start, end }) => {
        const tensor = tensors.get(`${name}.carried`);
        // That of another backend has none.
        if (!tensor) return values.subarray(start, end);
        if (String(tensor.shape) !== String(shape)) {
          const message = `'${name}' has shape [${tensor.shape}], not [${shape}].`;
          refuseParameter('wrong-shape', message, name, tensor.shape);
        }
        return tensor.data;
      });
      values = packed(arena, found);
    },
  };
}
