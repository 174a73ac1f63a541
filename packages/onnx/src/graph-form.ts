import {
  type Hyperparameters,
  NonFiniteError,
  type ScheduleFreeAdan,
  scheduleFreeAdan,
} from '@schedule-free-adan/core';
import {
  decodeCheckpoint,
  encodeCheckpoint,
  type StoredParameter,
  type TrainingState,
} from '@schedule-free-adan/core/checkpoints';
import { HostBackend, type HostTensor, hostTensor } from '@schedule-free-adan/core/host';
import { advance, coefficients, stateKeys } from '@schedule-free-adan/core/rule';
import type { Tensor } from 'onnxruntime-common';
import { refuseParameter } from './errors.js';
import { type Gradients, meanGradients, openGradients, overBatches } from './gradients.js';
import { hostOptimizer } from './hybrid-form.js';
import { packed } from './layout.js';
import {
  type Feeds,
  openRunner,
  type Runner,
  tensorOf,
  webgpuProvider,
  withProvider,
} from './runtime.js';
import {
  arenaGroups,
  coefficientsName,
  groupOf,
  type Layout,
  makeLayout,
  type StateTensor,
  stateName,
} from './state-layout.js';
import { type Reports, stepGraphOf } from './step-graph.js';
import type { Context, Form, StepResult } from './trainer.js';
import { trainingStepOf } from './training-step.js';

/** Sessions for one layout: the training step, and what several batches need. */
interface Sessions {
  readonly layout: Layout;
  readonly reports: Reports;
  readonly step: Runner;
  several?: { readonly gradients: Gradients; readonly step: Runner };
}

/**
 * Loss, gradients and step are one model: state goes in, and new state comes out. The counters stay on
 * the host, as some providers have no float64.
 */
export class GraphForm implements Form {
  /** By the name of the input. */
  #state = new Map<string, Tensor>();
  /** What the last step reports, by its name in the graph. */
  #reports = new Map<string, Tensor>();
  /** Has the groups, and counts their steps; the parameters are here. */
  readonly #counter: ScheduleFreeAdan<HostTensor>;

  private constructor(
    readonly context: Context,
    private sessions: Sessions,
  ) {
    this.#counter = scheduleFreeAdan(new HostBackend(), {}, context.options);
  }

  static async create(context: Context): Promise<GraphForm> {
    const { prefix, parameters, freezable, options, sessionOptions } = context;
    const arenas = arenaGroups(prefix, parameters, options);
    const layout = makeLayout(arenas, { prefix, freezable, hostSchedule: true });
    const open = () => openSessions(context, layout);
    const sessions = await (webgpuProvider(sessionOptions) ? withProvider(context, open) : open());
    const form = new GraphForm(context, sessions);
    await form.#through(() => {});
    return form;
  }

  get groups() {
    return this.#counter.groups;
  }
  /** A checkpoint may ask for another graph, so it is this form that passes for an optimizer. */
  get optimizer() {
    return this;
  }
  get bytes() {
    return [...this.#state.values()].reduce((sum, { size }) => sum + 4 * size, 0);
  }
  get arenas() {
    return this.sessions.layout.groups;
  }

  async #through(change: (mirror: ScheduleFreeAdan<HostTensor>) => void): Promise<void> {
    // The same training in the optimizer of the core: it knows what a checkpoint has to be.
    const mirror = hostOptimizer(this.context);
    try {
      change(mirror);
      const state = decodeCheckpoint(await mirror.save());
      const layout = this.#layoutFor(state);
      if (layout) {
        const old = this.sessions;
        this.sessions = await openSessions(this.context, layout);
        await close(old);
      }
      this.#write(state);
    } finally {
      mirror.dispose();
    }
  }

  /** Another layout, if this state does not go into the present one. */
  #layoutFor({ groups, tensors }: TrainingState): Layout | undefined {
    const { layout } = this.sessions;
    const fixed = (h: Hyperparameters) => JSON.stringify({ ...h, learningRate: 0 });
    const same = groups.every(
      ({ hyperparameters }, k) =>
        fixed(hyperparameters) === fixed(layout.groups[k]!.hyperparameters),
    );
    // Parameters that met their first gradients at different steps need memories of their own.
    const mixed = groups.some(
      ({ parameters: names }) =>
        new Set(names.map((name) => tensors.get(name)?.seen?.data[0] ?? 0)).size > 1,
    );
    const freezable = layout.active !== undefined;
    if (same && (freezable || !mixed)) return undefined;
    const arenas = groups.map(({ hyperparameters }, k) =>
      groupOf(hyperparameters, layout.groups[k]!),
    );
    return makeLayout(arenas, { ...layout, freezable: freezable || mixed });
  }

  /** Brings state of these kinds to the host, where it stays until the next step. */
  async #fetch(...keys: StateTensor['key'][]): Promise<void> {
    for (const { key, input, shape } of this.sessions.layout.state) {
      if (keys.length > 0 && !keys.includes(key)) continue;
      const tensor = this.#state.get(input)!;
      if (tensor.location !== 'gpu-buffer') continue;
      const values = (await tensor.getData(true)) as Float32Array;
      this.#state.set(input, tensorOf(this.context, values, shape));
    }
  }

  /** A tensor of a group's state that is on the host. */
  #data(group: number, key: StateTensor['key']): Float32Array {
    return this.#state.get(stateName(this.context.prefix, group, key))!.data as Float32Array;
  }

  /** Numbers of a checkpoint as the tensors that the graph reads. */
  #write(state: TrainingState): void {
    const { layout } = this.sessions;
    discard(this.#state);
    for (const { group, key, input, shape } of layout.state) {
      const arena = layout.groups[group]!;
      const held = (name: string) => state.tensors.get(name)!;
      let values: Float32Array;
      if (key === 'skippedSteps') values = Float32Array.of(state.skippedSteps);
      else if (key === 'seen') {
        const seen = arena.places.map(({ name }) => held(name).seen?.data[0] ?? 0);
        values = Float32Array.from(layout.active ? seen : seen.slice(0, 1));
      } else {
        const all = arena.places.map(({ name }) => {
          const { x, y = x, ...others } = held(name);
          return (key === 'parameter' ? y : others[key as 'z'])!.data;
        });
        values = packed(arena, all);
      }
      this.#state.set(input, tensorOf(this.context, values, shape));
    }
    const groups = state.groups.map((group) => ({ ...group, parameters: [] }));
    this.#counter.load(encodeCheckpoint({ ...state, groups, tensors: new Map() }));
  }

  /** The state as a checkpoint has it. */
  async #read(): Promise<TrainingState> {
    await this.#fetch();
    const { layout } = this.sessions;
    // In the order in which the user named them.
    const tensors = new Map<string, StoredParameter>(
      this.context.parameters.map(({ name }) => [name, {}]),
    );
    const groups = layout.groups.map(({ form, places }, k) => {
      places.forEach(({ name, shape, start, end }, i) => {
        const stored = stateKeys(form).map((key) => {
          const data = this.#data(k, key);
          if (key === 'seen') {
            return [key, { shape: [], data: Float32Array.of(data[layout.active ? i : 0]!) }];
          }
          const label = key !== 'parameter' ? key : form.scheduleFree ? 'y' : 'x';
          return [label, { shape, data: data.slice(start, end) }];
        });
        tensors.set(name, Object.fromEntries(stored) as StoredParameter);
      });
      const { hyperparameters, scalars } = this.#counter.groups[k]!;
      return { hyperparameters, scalars, parameters: places.map(({ name }) => name) };
    });
    return { groups, skippedSteps: this.#data(0, 'skippedSteps')[0]!, tensors };
  }

  async step(batches: readonly Feeds[], frozen: ReadonlySet<string>): Promise<StepResult> {
    const { layout, reports } = this.sessions;
    const [name] = frozen;
    if (name !== undefined && !layout.active) {
      const message = `'${name}' can't be frozen in this graph; create the trainer with freezable: true.`;
      refuseParameter('invalid-option', message, name);
    }
    const own: Record<string, Tensor> = Object.fromEntries(this.#state);
    if (layout.active) {
      const active = layout.names.map((parameter) => (frozen.has(parameter) ? 0 : 1));
      own[layout.active] = tensorOf(this.context, Float32Array.from(active));
    }
    this.groups.forEach(({ hyperparameters, scalars }, k) => {
      const next = { hyperparameters, scalars: advance(scalars, hyperparameters) };
      const numbers = Float32Array.from(Object.values(coefficients(next)));
      own[coefficientsName(layout.prefix, k)] = tensorOf(this.context, numbers);
    });
    let results: Feeds = {};
    let result: StepResult;
    if (batches.length === 1) {
      result = await overBatches(this.context, batches, async (feeds) => {
        results = await this.sessions.step.run(feeds, own);
        return results;
      });
    } else {
      const { gradients, step } = await this.#several();
      const sums = new Map(
        this.context.parameters.map(({ name, shape }) => [name, hostTensor(shape)] as const),
      );
      result = await meanGradients(this.context, gradients, own, batches, sums);
      const feeds = [...sums].map(([name, { data, shape }]) => [
        name,
        tensorOf(this.context, data, shape),
      ]);
      results = await step.run(Object.fromEntries(feeds), own);
    }
    this.#counter.step({});
    discard(this.#state);
    discard(this.#reports);
    for (const { input, output } of layout.state) this.#state.set(input, results[output]!);
    for (const name of Object.values(reports)) this.#reports.set(name, results[name]!);
    if (reports.finite) {
      const flags = results[reports.finite]!.data as Float32Array;
      const bad = layout.names[flags.findIndex(Number.isNaN)];
      if (bad !== undefined) {
        const message = `The gradient of '${bad}' holds NaN or Infinity; try a lower learningRate.`;
        throw new NonFiniteError('non-finite-gradient', message, bad);
      }
    }
    return result;
  }

  /** Sessions for gradients alone, and for the step alone. */
  async #several() {
    const { context, sessions, arenas } = this;
    const { layout, reports } = sessions;
    sessions.several ??= {
      gradients: await openGradients(context, arenas),
      step: await openRunner(
        context,
        stepGraphOf(layout).model,
        resident(context, layout, reports),
      ),
    };
    return sessions.several;
  }

  async points(which: 'x' | 'y') {
    await this.#fetch('parameter', 'z');
    // In the order in which the user named them.
    const all = Object.fromEntries(this.context.parameters.map((p) => [p.name, p.values]));
    this.arenas.forEach(({ form, places, length, hyperparameters }, k) => {
      if (places.length === 0) return;
      let point = hostTensor([length], this.#data(k, 'parameter'));
      if (which === 'x' && form.scheduleFree) {
        const z = hostTensor(point.shape, this.#data(k, 'z'));
        // Of its own: a memory does not shrink.
        point = new HostBackend().point(point, z, hyperparameters.momentum, 'x');
      }
      for (const { name, start, end } of places) all[name] = point.data.slice(start, end);
    });
    return all;
  }

  async restart() {
    const present = await this.save();
    return this.#through((mirror) => {
      mirror.load(present);
      mirror.restart();
    });
  }
  async metrics() {
    await this.#fetch('skippedSteps');
    const { reports, layout } = this.sessions;
    const { maxGradNorm } = layout.groups[0]!.hyperparameters;
    const number = async (name: string | undefined, before: number) => {
      if (maxGradNorm === 0) return null;
      const tensor = this.#reports.get(name ?? '');
      if (!tensor) return before;
      const [value] = (await tensor.getData(true)) as Float32Array;
      return value!;
    };
    return {
      gradientNorm: await number(reports.gradientNorm, 0),
      clipFactor: await number(reports.clipFactor, 1),
      skippedSteps: this.#data(0, 'skippedSteps')[0]!,
    };
  }
  async save() {
    return encodeCheckpoint(await this.#read());
  }
  load(checkpoint: Uint8Array) {
    return this.#through((mirror) => mirror.load(checkpoint));
  }
  async dispose() {
    discard(this.#state);
    discard(this.#reports);
    this.#counter.dispose();
    await close(this.sessions);
  }
}

/** Frees what lies on a device; what lies on the host loses its values. */
function discard(tensors: Map<string, Tensor>): void {
  for (const tensor of tensors.values()) tensor.dispose();
  tensors.clear();
}

/** Outputs of a step that stay on the device: what nobody reads before the next step. */
const resident = (
  { sessionOptions }: Context,
  { state }: Layout,
  { finite: _, ...reports }: Reports,
) =>
  webgpuProvider(sessionOptions) && [
    ...state.map(({ output }) => output),
    ...Object.values(reports),
  ];

async function openSessions(context: Context, layout: Layout): Promise<Sessions> {
  const { model, reports } = trainingStepOf(context.source, context, layout);
  const stay = resident(context, layout, reports);
  return { layout, reports, step: await openRunner(context, model, stay) };
}

async function close({ step, several }: Sessions): Promise<void> {
  await step.release();
  await several?.gradients.runner.release();
  await several?.step.release();
}
