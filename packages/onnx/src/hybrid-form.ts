import { type ScheduleFreeAdan, scheduleFreeAdan } from '@schedule-free-adan/core';
import { HostBackend, type HostTensor } from './host.js';
import type { Arena, ArenaGroup } from './layout.js';
import { type Feeds, lossOf, outputsOf, type Runner } from './runtime.js';
import type { Context, Form, StepResult } from './trainer.js';
import { arenaNames } from './training-model.js';

/** Sums up gradients of several batches, in arenas; and their losses. */
export async function meanGradients(
  { ort, prefix, loss, carrying }: Context,
  runner: Runner,
  groups: readonly ArenaGroup[],
  arenas: readonly Float32Array[],
  batches: readonly Feeds[],
): Promise<{ gradients: Float32Array[]; result: StepResult }> {
  const names = groups.map((_, k) => arenaNames(prefix, k));
  const parameters = Object.fromEntries(
    groups.flatMap(({ places, length }, k) =>
      places.length > 0
        ? [[names[k]!.parameters, new ort.Tensor('float32', arenas[k]!, [length])]]
        : [],
    ),
  );
  let gradients: Float32Array[] = [];
  let total = 0;
  let outputs: StepResult['outputs'] = {};
  for (const [i, feeds] of batches.entries()) {
    const results = await runner.run({ ...feeds, ...runner.pick(parameters) }, carrying);
    const found = groups.map(({ places }, k) =>
      places.length > 0 ? (results[names[k]!.gradients]!.data as Float32Array) : new Float32Array(),
    );
    if (i === 0) gradients = found;
    else for (const [k, one] of found.entries()) addTo(gradients[k]!, one);
    total += lossOf(results, loss);
    outputs = outputsOf(results, prefix);
  }
  if (batches.length > 1) for (const one of gradients) scale(one, 1 / batches.length);
  return { gradients, result: { loss: total / batches.length, outputs } };
}

/** Values of all parameters as the arenas of a model. */
export function hostFeeds(
  { ort, prefix }: Context,
  arenas: readonly Arena[],
  values: Readonly<Record<string, Float32Array>>,
): Feeds {
  const feeds = arenas.map(({ places, length }, k) => {
    const arena = new Float32Array(length);
    for (const { name, start } of places) arena.set(values[name]!, start);
    return [arenaNames(prefix, k).parameters, new ort.Tensor('float32', arena, [length])];
  });
  return Object.fromEntries(feeds);
}

function addTo(sum: Float32Array, values: Float32Array): void {
  for (let i = 0; i < sum.length; i++) sum[i]! += values[i]!;
}

function scale(values: Float32Array, factor: number): void {
  for (let i = 0; i < values.length; i++) values[i]! *= factor;
}

/** The runtime computes gradients; the optimizer of the core steps the arenas in place. */
export class HybridForm implements Form {
  readonly #backend = new HostBackend();
  readonly #optimizer: ScheduleFreeAdan<HostTensor>;
  /** y of each group, as the runtime reads it. */
  readonly #arenas: HostTensor[];
  readonly #gradients: HostTensor[];
  /** The gradient of each parameter, in the arena of its group. */
  readonly #named: Record<string, HostTensor> = {};

  constructor(
    readonly context: Context,
    readonly arenas: readonly ArenaGroup[],
    readonly runner: Runner,
  ) {
    this.#optimizer = scheduleFreeAdan(this.#backend, {}, context.options);
    const backend = this.#backend;
    this.#arenas = arenas.map(({ length }) => backend.make([length]));
    this.#gradients = arenas.map(({ length }) => backend.make([length]));
    const values = new Map(context.parameters.map((p) => [p.name, p.values]));
    arenas.forEach(({ places }, k) => {
      for (const { name, shape, start } of places) {
        const part = backend.part(this.#arenas[k]!, shape, start);
        this.#named[name] = backend.part(this.#gradients[k]!, shape, start);
        part.data.set(values.get(name)!);
        this.#optimizer.addCell(name, {
          get: () => part,
          set: (tensor) => {
            part.data.set(tensor.data);
            backend.dispose(tensor);
          },
        });
      }
    });
  }

  get groups() {
    return this.#optimizer.groups;
  }

  get bytes() {
    return this.#backend.bytes;
  }

  async step(batches: readonly Feeds[], frozen: ReadonlySet<string>): Promise<StepResult> {
    const { context, runner, arenas } = this;
    const { gradients, result } = await meanGradients(
      context,
      runner,
      arenas,
      this.#arenas.map(({ data }) => data),
      batches,
    );
    gradients.forEach((values, k) => {
      this.#gradients[k]!.data.set(values);
    });
    const named = Object.entries(this.#named).map(([name, gradient]) => [
      name,
      frozen.has(name) ? null : gradient,
    ]);
    this.#optimizer.step(Object.fromEntries(named));
    return result;
  }

  async points(which: 'x' | 'y') {
    const optimizer = this.#optimizer;
    const tensors = which === 'x' ? optimizer.evalParameters() : optimizer.trainParameters();
    const values = Object.entries(tensors).map(([name, tensor]) => {
      const data = tensor.data.slice();
      this.#backend.dispose(tensor);
      return [name, data];
    });
    return Object.fromEntries(values) as Record<string, Float32Array>;
  }

  async evaluationFeeds() {
    return hostFeeds(this.context, this.arenas, await this.points('x'));
  }
  async restart() {
    this.#optimizer.restart();
  }
  metrics() {
    return this.#optimizer.metrics();
  }
  save() {
    return this.#optimizer.save();
  }
  async load(checkpoint: Uint8Array) {
    this.#optimizer.load(checkpoint);
  }
  async dispose() {
    this.#optimizer.dispose();
    await this.runner.release();
  }
}
