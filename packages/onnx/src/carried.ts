import { ParameterError } from '@schedule-free-adan/core';
import { decodeSafetensors, encodeSafetensors } from '@schedule-free-adan/core/checkpoints';
import type { Tensor } from 'onnxruntime-common';
import { OnnxModelError } from './errors.js';
import { GraphBuilder } from './graph.js';
import { type Arena, arenaOf, type Place } from './layout.js';
import type { Model, ValueInfo } from './model/schema.js';
import { byName, floatValues, list, makeValueInfo, shapeOf } from './model/tensors.js';
import { checkFeeds, type Feeds, Runner } from './runtime.js';
import type { Context, Form } from './trainer.js';
import {
  arenaName,
  evaluationModelOf,
  type GradientModel,
  graphOf,
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

/**
 * A form around another, of a model that renews some of its initializers by itself. They lie on the host:
 * they are few.
 */
export class CarryingForm implements Form {
  /** What the other form trains. */
  readonly model: Model;
  readonly #arena: Arena;
  readonly #input: string;
  readonly #output: string;
  #form!: Form;
  #values: Float32Array;
  /** Of the runs of a step that has not come to its end. */
  #next: Float32Array;

  /** @param context its source holds what is carried in initializers */
  constructor(private readonly context: Context) {
    const { source, prefix } = context;
    const { model, places, input, output } = carryingModelOf(source, context, prefix);
    this.model = model;
    this.#input = input;
    this.#output = output;
    this.#arena = { places, length: places.at(-1)!.end };
    this.#values = new Float32Array(this.#arena.length);
    this.#next = this.#values;
    const tensors = byName(graphOf(source).initializer);
    for (const { name, start } of places) this.#values.set(floatValues(tensors.get(name)!), start);
  }

  around(form: Form): this {
    this.#form = form;
    return this;
  }

  get groups() {
    return this.#form.groups;
  }
  get runner() {
    return this.#form.runner;
  }
  get arenas() {
    return [...this.#form.arenas, this.#arena];
  }
  get bytes() {
    return this.#form.bytes + 4 * this.#values.length;
  }

  #tensor(values: Float32Array): Tensor {
    return new this.context.ort.Tensor('float32', values, [values.length]);
  }

  /** What a run reads besides what the other form feeds. */
  get feeds(): Feeds {
    return { [this.#input]: this.#tensor(this.#next) };
  }

  /** A run that gives NaN or infinity leaves everything as it was. */
  take(results: Feeds): void {
    const next = results[this.#output]!.data as Float32Array;
    if (next.every(Number.isFinite)) this.#next = next.slice();
  }

  async step(batches: readonly Feeds[], frozen: ReadonlySet<string>) {
    // Whatever a step left that failed.
    this.#next = this.#values;
    const result = await this.#form.step(batches, frozen);
    this.#values = this.#next;
    return result;
  }

  points(which: 'x' | 'y') {
    return this.#form.points(which);
  }

  /** By initializer. */
  carried(): Record<string, Float32Array> {
    const parts = this.#arena.places.map(({ name, start, end }) => [
      name,
      this.#values.slice(start, end),
    ]);
    return Object.fromEntries(parts);
  }

  async evaluationFeeds() {
    const { arenas } = this.#form;
    const own = arenaName(this.context.prefix, arenas.length);
    return { ...(await this.#form.evaluationFeeds()), [own]: this.#tensor(this.#values) };
  }

  async recalibrate(batches: Iterable<Feeds> | AsyncIterable<Feeds>): Promise<number> {
    const { ort, source, prefix, sessionOptions, averaged = {} } = this.context;
    const places = this.#arena.places.filter(({ name }) => Object.hasOwn(averaged, name));
    const output = places.map(({ name, shape }) =>
      makeValueInfo(averaged[name]!, 'float32', shape),
    );
    const training = evaluationModelOf(modelOf(source, output), this.arenas, prefix);
    const runner = await Runner.create(ort, training, sessionOptions);
    const sums = new Float64Array(this.#values.length);
    let count = 0;
    try {
      const own = runner.pick(await this.evaluationFeeds());
      for await (const batch of batches) {
        const feeds = runner.pick(batch);
        checkFeeds(feeds, runner, prefix);
        const results = await runner.run({ ...feeds, ...own });
        for (const { name, start } of places) {
          const data = results[averaged[name]!]!.data as Float32Array;
          for (const [i, value] of data.entries()) sums[start + i]! += value;
        }
        count++;
      }
    } finally {
      await runner.release();
    }
    if (count > 0) {
      const values = this.#values.slice();
      for (const { start, end } of places) {
        for (let i = start; i < end; i++) values[i] = sums[i]! / count;
      }
      this.#values = values;
    }
    return count;
  }

  restart() {
    return this.#form.restart();
  }
  metrics() {
    return this.#form.metrics();
  }

  /** What is carried goes in as tensors that belong to no parameter, which other backends pass by. */
  async save() {
    const { metadata, tensors } = decodeSafetensors(await this.#form.save());
    const { checksum: _, ...rest } = metadata;
    const own = this.#arena.places.map(
      ({ name, shape, start, end }) =>
        [`${name}.carried`, { shape, data: this.#values.slice(start, end) }] as const,
    );
    return encodeSafetensors({ metadata: rest, tensors: new Map([...tensors, ...own]) });
  }

  async load(checkpoint: Uint8Array) {
    const { tensors } = decodeSafetensors(checkpoint);
    const values = this.#values.slice();
    for (const { name, shape, start } of this.#arena.places) {
      const found = tensors.get(`${name}.carried`);
      // That of another backend has none.
      if (!found) continue;
      if (String(found.shape) !== String(shape)) {
        const message = `'${name}' has shape [${found.shape}], not [${shape}].`;
        throw new ParameterError('wrong-shape', message, name, found.shape);
      }
      values.set(found.data, start);
    }
    await this.#form.load(checkpoint);
    this.#values = values;
  }

  dispose() {
    return this.#form.dispose();
  }
}
