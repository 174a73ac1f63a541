import { ParameterError } from '@schedule-free-adan/core';
import { decodeSafetensors, encodeSafetensors } from '@schedule-free-adan/core/checkpoints';
import type { Tensor } from 'onnxruntime-common';
import { OnnxModelError } from './errors.js';
import { GraphBuilder, reachable } from './graph.js';
import { type Arena, arenaOf } from './layout.js';
import type { Model } from './model/schema.js';
import { floatValues, makeValueInfo, shapeOf } from './model/tensors.js';
import { type Carrying, checkFeeds, type Feeds, Runner } from './runtime.js';
import type { Context, Form } from './trainer.js';
import {
  arenaNames,
  evaluationModelOf,
  type GradientModel,
  graphOf,
  list,
  namesOf,
  promote,
} from './training-model.js';

/** The vector with what is carried: where it goes in, and where it comes out renewed. */
export const carriedNames = (prefix: string) => ({
  input: `${prefix}carried`,
  output: `${prefix}carried/next`,
});

/**
 * The model with what it carries in one vector, which goes in and comes out.
 * @throws OnnxModelError
 */
export function carryingModelOf(
  model: Model,
  { carried = {}, gradients }: GradientModel,
  prefix: string,
): { model: Model; arena: Arena; values: Float32Array } {
  const graph = graphOf(model);
  const tensors = new Map((graph.initializer ?? []).map((t) => [t.name ?? '', t]));
  const made = new Set((graph.node ?? []).flatMap(({ output = [] }) => output));
  const held = Object.entries(carried).map(([name, next]) => {
    const tensor = tensors.get(name);
    const missing = tensor ? next : name;
    if (!tensor || !made.has(next)) {
      const known = tensor
        ? "no node's output"
        : `no initializer; those are ${list(tensors.keys())}`;
      throw new OnnxModelError('unknown-value', `The carried '${missing}' is ${known}.`, missing);
    }
    if (Object.hasOwn(gradients, name)) {
      const message = `'${name}' is a parameter; it can't be carried as well.`;
      throw new OnnxModelError('invalid-option', message, 'carried', name);
    }
    return { name, shape: shapeOf(tensor), own: floatValues(tensor) };
  });
  const arena = arenaOf(held);
  const { length, places } = arena;
  const values = new Float32Array(length);
  for (const [i, { start }] of places.entries()) values.set(held[i]!.own, start);
  const { input, output } = carriedNames(prefix);
  const b = new GraphBuilder(`${input}/`);
  promote(b, [arena], [input]);
  const before = b.nodes.splice(0);
  const parts = places.map(({ name, start, end }) => b.reshape(carried[name]!, [end - start]));
  b.concat(parts, output);
  const names = namesOf([arena]);
  const others = (list: readonly { readonly name?: string }[] = []) =>
    list.filter(({ name = '' }) => !names.has(name));
  return {
    arena,
    values,
    model: {
      ...model,
      graph: {
        ...graph,
        node: [...before, ...(graph.node ?? []), ...b.nodes],
        initializer: [...others(graph.initializer), ...b.constants.values()],
        input: [...others(graph.input), makeValueInfo(input, 'float32', [length])],
        output: [...(graph.output ?? []), makeValueInfo(output, 'float32', [length])],
        valueInfo: others(graph.valueInfo),
      },
    },
  };
}

/** Values that a model renews by itself, as a trainer keeps them. They lie on the host: they are few. */
export class CarriedState implements Carrying {
  /** Runs on these. */
  readonly model: Model;
  readonly arena: Arena;
  #values: Float32Array;
  /** Of the runs of a step that has not come to its end. */
  #next: Float32Array;

  constructor(
    private readonly given: Model,
    private readonly context: Omit<Context, 'source'>,
  ) {
    const { model, arena, values } = carryingModelOf(given, context, context.prefix);
    this.model = model;
    this.arena = arena;
    this.#values = values;
    this.#next = values;
  }

  get bytes(): number {
    return 4 * this.arena.length;
  }

  get named(): Record<string, Float32Array> {
    const { places } = this.arena;
    return Object.fromEntries(
      places.map(({ name, start, end }) => [name, this.#values.slice(start, end)]),
    );
  }

  #tensor(values: Float32Array): Tensor {
    return new this.context.ort.Tensor('float32', values, [values.length]);
  }

  get feeds(): Feeds {
    return { [carriedNames(this.context.prefix).input]: this.#tensor(this.#next) };
  }

  /** A run that gives NaN or infinity leaves everything as it was. */
  take(results: Feeds): void {
    const next = results[carriedNames(this.context.prefix).output]!.data as Float32Array;
    if (next.every(Number.isFinite)) this.#next = next.slice();
  }

  /** Forgets the runs of a step that failed. */
  begin(): void {
    this.#next = this.#values;
  }
  commit(): void {
    this.#values = this.#next;
  }

  /** As an input of the model that is evaluated, where parameters have `arenas`. */
  evaluationFeeds(arenas: readonly Arena[]): Feeds {
    const name = arenaNames(this.context.prefix, arenas.length).parameters;
    return { [name]: this.#tensor(this.#values) };
  }

  /** Sets moving averages to means over these batches, at x. */
  async recalibrate(form: Form, batches: Iterable<Feeds> | AsyncIterable<Feeds>): Promise<number> {
    const { ort, prefix, sessionOptions, averaged = {} } = this.context;
    const places = this.arena.places.filter(({ name }) => Object.hasOwn(averaged, name));
    const output = places.map(({ name, shape }) =>
      makeValueInfo(averaged[name]!, 'float32', shape),
    );
    const graph = graphOf(this.given);
    const needed = reachable(graph, Object.values(averaged));
    const { node, initializer } = needed;
    const input = (graph.input ?? []).filter(({ name = '' }) => needed.values.has(name));
    const model = { ...this.given, graph: { ...graph, node, initializer, input, output } };
    const arenas = [...form.arenas, this.arena];
    const runner = await Runner.create(
      ort,
      evaluationModelOf(model, arenas, prefix),
      sessionOptions,
    );
    const sums = new Float64Array(this.arena.length);
    let count = 0;
    try {
      const own = {
        ...(await form.evaluationFeeds()),
        ...this.evaluationFeeds(form.arenas),
      };
      for await (const batch of batches) {
        const feeds = runner.pick(batch);
        checkFeeds(feeds, runner, prefix);
        const results = await runner.run({ ...feeds, ...runner.pick(own) });
        for (const { name, start } of places) {
          const data = results[averaged[name]!]!.data as Float32Array;
          for (const [i, value] of data.entries()) sums[start + i]! += value;
        }
        count++;
      }
    } finally {
      await runner.release();
    }
    const values = this.#values.slice();
    for (const { start, end } of count > 0 ? places : []) {
      for (let i = start; i < end; i++) values[i] = sums[i]! / count;
    }
    this.#values = values;
    return count;
  }

  /** A checkpoint with what is carried in it: tensors that belong to no parameter, which other backends pass by. */
  save(checkpoint: Uint8Array): Uint8Array {
    const { metadata, tensors } = decodeSafetensors(checkpoint);
    const own = this.arena.places.map(
      ({ name, shape, start, end }) =>
        [`${name}.carried`, { shape, data: this.#values.slice(start, end) }] as const,
    );
    const { checksum: _, ...rest } = metadata;
    return encodeSafetensors({ metadata: rest, tensors: new Map([...tensors, ...own]) });
  }

  /**
   * Reads a checkpoint; what it returns takes over what was read. What the file lacks, as one of another
   * backend does, stays.
   * @throws CheckpointError; ParameterError `wrong-shape`
   */
  load(checkpoint: Uint8Array): () => void {
    const { tensors } = decodeSafetensors(checkpoint);
    const values = this.#values.slice();
    for (const { name, shape, start } of this.arena.places) {
      const found = tensors.get(`${name}.carried`);
      if (!found) continue;
      if (String(found.shape) !== String(shape)) {
        const message = `'${name}' has shape [${found.shape}], not [${shape}].`;
        throw new ParameterError('wrong-shape', message, name, found.shape);
      }
      values.set(found.data, start);
    }
    return () => {
      this.#values = values;
    };
  }
}
