import { type ScheduleFreeAdan, scheduleFreeAdan } from '@schedule-free-adan/core';
import { HostBackend, type HostTensor } from '@schedule-free-adan/core/host';
import { type Gradients, hostFeeds, meanGradients, openGradients } from './gradients.js';
import type { Arena } from './layout.js';
import type { Feeds } from './runtime.js';
import type { Context, Form, StepResult } from './trainer.js';

/** The runtime computes gradients; the optimizer of the core steps the arenas in place. */
export class HybridForm implements Form {
  readonly #backend = new HostBackend();
  readonly #optimizer: ScheduleFreeAdan<HostTensor>;
  /** y of each group, as the runtime reads it. */
  readonly #arenas: HostTensor[];
  readonly #gradients: HostTensor[];
  /** The gradient of each parameter, in the arena of its group. */
  readonly #named: Record<string, HostTensor> = {};

  private constructor(
    readonly context: Context,
    readonly arenas: readonly Arena[],
    private readonly session: Gradients,
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

  static async create(context: Context, arenas: readonly Arena[]): Promise<HybridForm> {
    return new HybridForm(context, arenas, await openGradients(context, arenas));
  }

  get runner() {
    return this.session.runner;
  }
  get groups() {
    return this.#optimizer.groups;
  }

  get bytes() {
    return this.#backend.bytes;
  }

  async step(batches: readonly Feeds[], frozen: ReadonlySet<string>): Promise<StepResult> {
    const result = await meanGradients(
      this.context,
      this.session,
      this.#arenas.map(({ data }) => data),
      batches,
      (name) => this.#named[name]!.data,
    );
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
