import { ParameterError } from '@schedule-free-adan/core';
import { decodeSafetensors, encodeSafetensors } from '@schedule-free-adan/core/checkpoints';
import type { Tensor } from 'onnxruntime-common';
import { OnnxModelError } from './errors.js';
import { GraphBuilder, reachable } from './graph.js';
import { type Arena, arenaOf, type Place } from './layout.js';
import type { Model, ValueInfo } from './model/schema.js';
import { byName, floatValues, makeValueInfo, shapeOf } from './model/tensors.js';
import { checkFeeds, type Feeds, Runner } from './runtime.js';
import type { Context, Form } from './trainer.js';
import {
  arenaName,
  evaluationModelOf,
  type GradientModel,
  graphOf,
  list,
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
  const { initializer, node: nodes = [] } = graphOf(model);
  const tensors = byName(initializer);
  const made = new Set(nodes.flatMap(({ output = [] }) => output));
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
    return { name, shape: shapeOf(tensor) };
  });
  const arena = arenaOf(held);
  const after = new GraphBuilder(`${prefix}carried/`);
  const output = `${after.prefix}next`;
  const carrying = withArenas(model, [arena], after, (graph) => {
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

/** Values that a model renews by itself, as a trainer keeps them. They lie on the host: they are few. */
export class CarriedState {
  /** Runs on these. */
  readonly model: Model;
  readonly arena: Arena;
  readonly #input: string;
  readonly #output: string;
  #values: Float32Array;
  /** Of the runs of a step that has not come to its end. */
  #next: Float32Array;

  constructor(
    private readonly given: Model,
    private readonly context: Omit<Context, 'source'>,
  ) {
    const { model, places, input, output } = carryingModelOf(given, context, context.prefix);
    this.model = model;
    this.#input = input;
    this.#output = output;
    this.arena = { places, length: places.at(-1)!.end };
    this.#values = new Float32Array(this.arena.length);
    this.#next = this.#values;
    const tensors = byName(graphOf(given).initializer);
    for (const { name, start } of places) this.#values.set(floatValues(tensors.get(name)!), start);
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
    return { [this.#input]: this.#tensor(this.#next) };
  }

  /** A run that gives NaN or infinity leaves everything as it was. */
  take(results: Feeds): void {
    const next = results[this.#output]!.data as Float32Array;
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
    const name = arenaName(this.context.prefix, arenas.length);
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
    const needed = reachable(graph, output);
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
