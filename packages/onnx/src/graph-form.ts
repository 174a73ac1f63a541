import {
  type Hyperparameters,
  NonFiniteError,
  ParameterError,
  type ScheduleFreeAdan,
  scheduleFreeAdan,
} from '@schedule-free-adan/core';
import {
  decodeCheckpoint,
  encodeCheckpoint,
  type StoredParameter,
  type TrainingState,
} from '@schedule-free-adan/core/checkpoints';
import {
  advance,
  coefficients,
  resolveHyperparameters,
  type Scalars,
  type StateKey,
  stateKeys,
} from '@schedule-free-adan/core/rule';
import type { Tensor } from 'onnxruntime-common';
import { HostBackend, type HostTensor, hostTensor } from './host.js';
import { hostFeeds, meanGradients } from './hybrid-form.js';
import { type ArenaGroup, makeGroup } from './layout.js';
import { openProvider } from './provider.js';
import { type Feeds, lossOf, outputsOf, Runner, webgpuProvider } from './runtime.js';
import {
  coefficientsName,
  type Layout,
  makeLayout,
  type StateTensor,
  scalarNames,
} from './state-layout.js';
import { type Reports, stepGraphOf } from './step-graph.js';
import type { Context, Form, StepResult } from './trainer.js';
import { gradientModelOf } from './training-model.js';
import { trainingStepOf } from './training-step.js';

const LEARNING_RATE = scalarNames.indexOf('learningRate');

/** Sessions for one layout: the training step, and what several batches need. */
interface Sessions {
  readonly layout: Layout;
  readonly reports: Reports;
  readonly step: Runner;
  several?: { readonly gradients: Runner; readonly step: Runner };
}

/** Loss, gradients and step are one model: state goes in, and new state comes out. */
export class GraphForm implements Form {
  /** By the name of the input. */
  #state = new Map<string, Tensor>();
  /** What the last step reports, by its name in the graph. */
  #reports = new Map<string, Tensor>();
  groups: Form['groups'] = [];

  private constructor(
    readonly context: Context,
    private sessions: Sessions,
  ) {}

  static async create(context: Context, arenas: readonly ArenaGroup[]): Promise<GraphForm> {
    const { ort, prefix, freezable, sessionOptions } = context;
    const hostSchedule = webgpuProvider(sessionOptions) !== undefined;
    const layout = makeLayout(arenas, { prefix, freezable, hostSchedule });
    const first = hostSchedule ? await openProvider(ort, sessionOptions) : undefined;
    const sessions = await openSessions(context, layout).finally(() => first?.release());
    const form = new GraphForm(context, sessions);
    const mirror = form.#mirror();
    form.#write(decodeCheckpoint(await mirror.save()));
    mirror.dispose();
    return form;
  }

  get runner() {
    return this.sessions.step;
  }

  get bytes() {
    return [...this.#state.values()].reduce(
      (sum, { size, type }) => sum + size * (type === 'float64' ? 8 : 4),
      0,
    );
  }
  get arenas() {
    return this.sessions.layout.groups;
  }

  /** The same training in the optimizer of the core: it knows what a checkpoint has to be. */
  #mirror(): ScheduleFreeAdan<HostTensor> {
    const { parameters, options } = this.context;
    const tensors = parameters.map(
      ({ name, shape, values }) => [name, hostTensor(shape, values)] as const,
    );
    return scheduleFreeAdan(new HostBackend(), tensors, options);
  }

  async #through(change: (mirror: ScheduleFreeAdan<HostTensor>) => void): Promise<void> {
    const mirror = this.#mirror();
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
    const { prefix, parameters } = this.context;
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
    const freezable = layout.active !== undefined || mixed;
    if (same && freezable === (layout.active !== undefined)) return undefined;
    const arenas = groups.map(({ hyperparameters, parameters: names }) =>
      makeGroup(
        hyperparameters,
        parameters.filter(({ name }) => names.includes(name)),
      ),
    );
    return makeLayout(arenas, { prefix, freezable, hostSchedule: layout.hostSchedule });
  }

  #tensor({ type, shape }: Pick<StateTensor, 'type' | 'shape'>, values: Iterable<number>): Tensor {
    const { Tensor } = this.context.ort;
    return type === 'float64'
      ? new Tensor('float64', Float64Array.from(values), shape)
      : new Tensor('float32', Float32Array.from(values), shape);
  }

  /** Brings state of these kinds to the host, where it stays until the next step. */
  async #fetch(...keys: StateTensor['key'][]): Promise<void> {
    for (const { key, input, type, shape } of this.sessions.layout.state) {
      if (keys.length > 0 && !keys.includes(key)) continue;
      const tensor = this.#state.get(input)!;
      if (tensor.location !== 'gpu-buffer') continue;
      const values = (await tensor.getData(true)) as Float32Array;
      this.#state.set(input, this.#tensor({ type, shape }, values));
    }
  }

  #data(name: string): Float32Array | Float64Array {
    return this.#state.get(name)!.data as Float32Array | Float64Array;
  }

  #held(group: number, key: StateTensor['key']): StateTensor {
    return this.sessions.layout.state.find((s) => s.group === group && s.key === key)!;
  }

  /** Numbers of a checkpoint as the tensors that the graph reads. */
  #write(state: TrainingState): void {
    const { layout } = this.sessions;
    discard(this.#state);
    for (const tensor of layout.state) {
      const { scalars, hyperparameters } = state.groups[tensor.group]!;
      const { places, length } = layout.groups[tensor.group]!;
      const { key } = tensor;
      let values: Float32Array | Float64Array;
      if (key === 'skippedSteps') values = Float32Array.of(state.skippedSteps);
      else if (key === 'scalars') {
        const numbers = { ...scalars, learningRate: hyperparameters.learningRate };
        values = Float64Array.from(scalarNames, (name) => numbers[name]);
      } else if (key === 'seen') {
        const seen = places.map(({ name }) => state.tensors.get(name)?.seen?.data[0] ?? 0);
        values = Float32Array.from(layout.active ? seen : seen.slice(0, 1));
      } else {
        values = new Float32Array(length);
        for (const { name, start } of places) {
          values.set(
            state.tensors.get(name)![key === 'parameter' ? pointKey(state, name) : key]!.data,
            start,
          );
        }
      }
      this.#state.set(tensor.input, this.#tensor(tensor, values));
    }
    this.groups = layout.groups.map(({ hyperparameters }, k) => this.#group(hyperparameters, k));
  }

  #group(hyperparameters: Hyperparameters, k: number): Form['groups'][number] {
    const { input } = this.#held(k, 'scalars');
    const scalars = () => this.#data(input);
    return {
      get learningRate() {
        return scalars()[LEARNING_RATE]!;
      },
      set learningRate(learningRate) {
        resolveHyperparameters({ learningRate });
        scalars()[LEARNING_RATE] = learningRate;
      },
      get hyperparameters() {
        return { ...hyperparameters, learningRate: this.learningRate };
      },
    };
  }

  #scalars(k: number): Scalars {
    const numbers = this.#data(this.#held(k, 'scalars').input);
    const at = (name: (typeof scalarNames)[number]) => numbers[scalarNames.indexOf(name)]!;
    return {
      step: at('step'),
      momentStep: at('momentStep'),
      weightSum: at('weightSum'),
      learningRateMax: at('learningRateMax'),
    };
  }

  /** This step counted in on the host: the counters of each group, and what they make. */
  #advanced() {
    const { layout } = this.sessions;
    if (!layout.hostSchedule) return [];
    return this.groups.map(({ hyperparameters }, k) => {
      const scalars = advance(this.#scalars(k), hyperparameters);
      const numbers = { ...scalars, learningRate: hyperparameters.learningRate };
      return {
        tensor: this.#held(k, 'scalars'),
        scalars: scalarNames.map((name) => numbers[name]),
        coefficients: Object.values(coefficients({ hyperparameters, scalars })),
      };
    });
  }

  /** The state as a checkpoint has it. */
  async #read(): Promise<TrainingState> {
    await this.#fetch();
    const { layout } = this.sessions;
    const held = (group: number, key: StateTensor['key']) =>
      this.#data(this.#held(group, key).input);
    const tensors = new Map<string, StoredParameter>();
    const groups = layout.groups.map(({ form, places }, k) => {
      places.forEach(({ name, shape, start, end }, i) => {
        const stored = stateKeys(form).map((key) => {
          const data = held(k, key) as Float32Array;
          if (key === 'seen') {
            return [key, { shape: [], data: Float32Array.of(data[layout.active ? i : 0]!) }];
          }
          const label = key !== 'parameter' ? key : form.scheduleFree ? 'y' : 'x';
          return [label, { shape, data: data.slice(start, end) }];
        });
        tensors.set(name, Object.fromEntries(stored) as StoredParameter);
      });
      return {
        hyperparameters: this.groups[k]!.hyperparameters,
        scalars: this.#scalars(k),
        parameters: places.map(({ name }) => name),
      };
    });
    // In the order in which the user named them.
    const ordered = this.context.parameters.map(({ name }) => [name, tensors.get(name)!] as const);
    return {
      groups,
      skippedSteps: held(0, 'skippedSteps')[0]!,
      tensors: new Map(ordered),
    };
  }

  async step(batches: readonly Feeds[], frozen: ReadonlySet<string>): Promise<StepResult> {
    const { layout, reports } = this.sessions;
    const [name] = frozen;
    if (name !== undefined && !layout.active) {
      const message = `'${name}' can't be frozen in this graph; create the trainer with freezable: true.`;
      throw new ParameterError('invalid-option', message, name);
    }
    const own: Record<string, Tensor> = Object.fromEntries(this.#state);
    if (layout.active) {
      const active = layout.names.map((parameter) => (frozen.has(parameter) ? 0 : 1));
      own[layout.active] = this.#tensor({ type: 'float32', shape: [active.length] }, active);
    }
    const advanced = this.#advanced();
    advanced.forEach(({ coefficients: values }, k) => {
      const shape = [values.length];
      own[coefficientsName(layout.prefix, k)] = this.#tensor({ type: 'float32', shape }, values);
    });
    const { results, result } =
      batches.length === 1
        ? await this.#stepOnOne(batches[0]!, own)
        : await this.#stepOnSeveral(batches, own);
    discard(this.#state);
    discard(this.#reports);
    for (const { input, output } of layout.state) {
      if (results[output]) this.#state.set(input, results[output]);
    }
    for (const { tensor, scalars } of advanced) {
      this.#state.set(tensor.input, this.#tensor(tensor, scalars));
    }
    for (const name of [reports.gradientNorm, reports.clipFactor]) {
      if (name !== undefined) this.#reports.set(name, results[name]!);
    }
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

  async #stepOnOne(feeds: Feeds, own: Feeds) {
    const { loss, prefix, carrying } = this.context;
    const { step } = this.sessions;
    const results = await step.run({ ...feeds, ...step.pick(own) }, carrying);
    const result = { loss: lossOf(results, loss), outputs: outputsOf(results, prefix) };
    return { results, result };
  }

  async #stepOnSeveral(batches: readonly Feeds[], own: Feeds) {
    const { context, sessions } = this;
    const { ort, sessionOptions, prefix, source } = context;
    const { layout } = sessions;
    sessions.several ??= {
      gradients: await Runner.create(
        ort,
        gradientModelOf(source, context, layout.groups, prefix),
        sessionOptions,
      ),
      step: await Runner.create(
        ort,
        stepGraphOf(layout).model,
        sessionOptions,
        resident(context, layout, sessions.reports),
      ),
    };
    await this.#fetch('parameter');
    const { several } = sessions;
    const arenas = layout.groups.map(({ places }, k) =>
      places.length === 0
        ? new Float32Array()
        : (this.#data(this.#held(k, 'parameter').input) as Float32Array),
    );
    const { gradients, result } = await meanGradients(
      context,
      several.gradients,
      layout.groups,
      arenas,
      batches,
    );
    const named = layout.groups.flatMap(({ places }, k) =>
      places.map(({ name, shape, start, end }) => [
        name,
        new ort.Tensor('float32', gradients[k]!.slice(start, end), shape),
      ]),
    );
    const feeds = Object.fromEntries(named) as Feeds;
    return { results: await several.step.run({ ...feeds, ...several.step.pick(own) }), result };
  }

  async points(which: 'x' | 'y') {
    await this.#fetch('parameter', 'z');
    const { layout } = this.sessions;
    const values: Record<string, Float32Array> = {};
    const arena = (k: number, key: StateKey, length: number) =>
      hostTensor([length], this.#data(this.#held(k, key).input) as Float32Array);
    layout.groups.forEach(({ form, places, length, hyperparameters: { momentum } }, k) => {
      if (places.length === 0) return;
      let point = arena(k, 'parameter', length);
      if (which === 'x' && form.scheduleFree) {
        // Of its own: a memory does not shrink.
        point = new HostBackend().point(point, arena(k, 'z', length), momentum, 'x');
      }
      for (const { name, start, end } of places) values[name] = point.data.slice(start, end);
    });
    return Object.fromEntries(this.context.parameters.map(({ name }) => [name, values[name]!]));
  }

  async evaluationFeeds() {
    return hostFeeds(this.context, this.arenas, await this.points('x'));
  }

  async restart() {
    const present = encodeCheckpoint(await this.#read());
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
      skippedSteps: this.#data(`${layout.prefix}skippedSteps`)[0]!,
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
    await close(this.sessions);
  }
}

const pointKey = ({ tensors }: TrainingState, name: string) => (tensors.get(name)?.y ? 'y' : 'x');

/** Frees what lies on a device; what lies on the host loses its values. */
function discard(tensors: Map<string, Tensor>): void {
  for (const tensor of tensors.values()) tensor.dispose();
  tensors.clear();
}

/** Outputs of a step that stay on the device: what nobody reads before the next step. */
const resident = ({ sessionOptions }: Context, { state }: Layout, reports: Reports): string[] =>
  webgpuProvider(sessionOptions)
    ? [
        ...state.filter(({ type }) => type === 'float32').map(({ output }) => output),
        ...[reports.gradientNorm ?? [], reports.clipFactor ?? []].flat(),
      ]
    : [];

async function openSessions(context: Context, layout: Layout): Promise<Sessions> {
  const { ort, sessionOptions, source } = context;
  const { model, reports } = trainingStepOf(source, context, layout);
  const stay = resident(context, layout, reports);
  return { layout, reports, step: await Runner.create(ort, model, sessionOptions, stay) };
}

async function close({ step, several }: Sessions): Promise<void> {
  await step.release();
  await several?.gradients.release();
  await several?.step.release();
}
