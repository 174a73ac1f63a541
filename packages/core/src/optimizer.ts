import type {
  Backend,
  FloatArray,
  ParameterState,
  StepEntry,
  StepMetrics,
  StepRequest,
} from './backend.js';
import {
  decodeCheckpoint,
  encodeCheckpoint,
  type StoredGroup,
  type StoredKey,
  storedPoint,
} from './checkpoint.js';
import { composedStep, temporaries } from './composed-step.js';
import { CheckpointError, NonFiniteError, ParameterError, StateError } from './errors.js';
import {
  checkHyperparameter,
  type GroupHyperparameters,
  type HyperparameterOptions,
  type Hyperparameters,
  resolveGroup,
  resolveHyperparameters,
} from './hyperparameters.js';
import { type StoredTensor, sizeOf } from './safetensors.js';
import { advance, initialScalars, type Scalars } from './schedule.js';
import {
  evaluationPoint,
  type Placement,
  type RuleForm,
  ruleForm,
  stateKeys,
  trainingPoint,
} from './update-rule.js';

/** Where a parameter lives when the optimizer does not own it: a framework's variable, say. */
export interface ParameterCell<T> {
  get(): T;
  /** Takes over `tensor`, and disposes what it replaces. */
  set(tensor: T): void;
}

/** A group of parameters with hyperparameters of its own; what it leaves out, the optimizer gives. */
export type GroupOptions = {
  /** Names, or a test of the name. A parameter belongs to the first group that claims it. */
  readonly parameters: readonly string[] | ((name: string) => boolean);
} & { readonly [K in keyof GroupHyperparameters]?: GroupHyperparameters[K] };

export interface OptimizerOptions extends HyperparameterOptions {
  readonly groups?: readonly GroupOptions[];
  /**
   * Which point a parameter holds between steps. `'y'` (default): a forward pass trains at no cost,
   * and x is computed when somebody evaluates. `'x'`: whoever reads a parameter evaluates, and y
   * exists only while a gradient is taken.
   */
  readonly placement?: Placement;
}

/** A group as the optimizer runs it. Group 0 holds every parameter that no other group claims. */
export interface Group {
  readonly hyperparameters: Hyperparameters;
  readonly scalars: Scalars;
  /** May be set before any step: a learning-rate schedule of your own. Finite, ≥ 0. */
  learningRate: number;
}

export interface Metrics {
  /** 2-norm of all gradients of the last step before clipping; null when not clipping. */
  readonly gradientNorm: number | null;
  /** The factor that clipping put on them; null when not clipping. */
  readonly clipFactor: number | null;
  /** Steps skipped so far for NaN or ±Infinity. */
  readonly skippedSteps: number;
}

export type Mode = 'train' | 'eval';

class RunningGroup implements Group {
  scalars = initialScalars;
  constructor(
    public hyperparameters: Hyperparameters,
    readonly claims: (name: string) => boolean,
  ) {}
  get learningRate(): number {
    return this.hyperparameters.learningRate;
  }
  set learningRate(value: number) {
    checkHyperparameter('learningRate', value);
    this.hyperparameters = { ...this.hyperparameters, learningRate: value };
  }
}

/** A parameter's state; `parameter` reads and writes the cell, whoever owns it. */
class RunningParameter<T> implements ParameterState<T> {
  declare z?: T;
  declare m?: T;
  declare v?: T;
  declare g?: T;
  declare seen?: T;
  declare n: T;
  /** The point of the resident placement while the cell holds the other one. */
  saved: T | undefined;
  constructor(
    readonly name: string,
    readonly shape: readonly number[],
    readonly group: RunningGroup,
    readonly cell: ParameterCell<T>,
    readonly owned: boolean,
  ) {}
  get parameter(): T {
    return this.cell.get();
  }
  set parameter(tensor: T) {
    this.cell.set(tensor);
  }
}

const isCell = <T>(value: T | ParameterCell<T>): value is ParameterCell<T> =>
  typeof (value as ParameterCell<T>).get === 'function' &&
  typeof (value as ParameterCell<T>).set === 'function';

/**
 * Schedule-Free Adan over any backend. Gradients are taken at y (`mode` train), models are evaluated
 * at x (`mode` eval). Tensors that are passed in stay the caller's; tensors that are handed out by
 * {@link evalParameters} and {@link trainParameters} become the caller's.
 */
export class ScheduleFreeAdan<T> {
  readonly #backend: Backend<T>;
  readonly #placement: Placement;
  readonly #groups: RunningGroup[];
  readonly #parameters = new Map<string, RunningParameter<T>>();
  readonly #metrics: StepMetrics<T>;
  /** Per gradient, 1 while it was finite: read at the next awaited call under 'throw'. */
  readonly #finite = new Map<string, T>();
  #mode: Mode;
  #disposed = false;

  /**
   * @param parameters named tensors, copied, or cells, used as they are. More can be added later.
   * @throws OptionError, ParameterError `duplicate-parameter`, `unknown-parameter` (a group names a
   * parameter that is not there), `wrong-dtype`, StateError `disposed`.
   */
  constructor(
    backend: Backend<T>,
    parameters:
      | Readonly<Record<string, T | ParameterCell<T>>>
      | Iterable<readonly [string, T | ParameterCell<T>]> = {},
    options: OptimizerOptions = {},
  ) {
    const { groups = [], placement = 'y', ...rest } = options;
    const base = resolveHyperparameters(rest);
    this.#backend = backend;
    this.#placement = placement;
    this.#mode = placement === 'y' ? 'train' : 'eval';
    const claimed = new Set<string>();
    this.#groups = groups.map(({ parameters: claims, ...own }, i) => {
      const where = ` of group ${i + 1}`;
      if (typeof claims !== 'function') {
        for (const name of claims) {
          if (claimed.has(name)) throw duplicate(name, 'is named in two groups; name it in one');
          claimed.add(name);
        }
      }
      const test = typeof claims === 'function' ? claims : (name: string) => claims.includes(name);
      return new RunningGroup(resolveGroup(base, own, where), test);
    });
    this.#groups.unshift(new RunningGroup(base, () => true));

    const entries = Symbol.iterator in parameters ? [...parameters] : Object.entries(parameters);
    const names = new Set<string>();
    for (const [name, value] of entries) {
      if (names.has(name))
        throw duplicate(name, 'is given twice; give every parameter its own name');
      names.add(name);
      this.#check(name, isCell(value) ? value.get() : value, 'parameter');
    }
    for (const name of claimed) {
      if (entries.length > 0 && !names.has(name)) throw unknown(name, [...names], 'A group names');
    }
    this.#metrics = {
      gradientNorm: backend.constant(0),
      clipFactor: backend.constant(1),
      skippedSteps: backend.constant(0),
    };
    for (const [name, value] of entries) this.addParameter(name, value);
  }

  get mode(): Mode {
    return this.#mode;
  }

  get groups(): readonly Group[] {
    return this.#groups;
  }

  get parameterNames(): string[] {
    return [...this.#parameters.keys()];
  }

  /**
   * The tensor that a parameter holds in the present mode. It stays the optimizer's.
   * @throws ParameterError `unknown-parameter`
   */
  parameter(name: string): T {
    this.#alive();
    return this.#get(name).parameter;
  }

  /** Adds a parameter: a tensor, copied, or a cell. It starts with x = y = z = its present value. */
  addParameter(name: string, value: T | ParameterCell<T>): void {
    this.#alive();
    if (this.#parameters.has(name)) throw duplicate(name, 'is there already');
    const backend = this.#backend;
    const initial = isCell(value) ? value.get() : value;
    const { shape } = this.#check(name, initial, 'parameter');
    const group = this.#groups.slice(1).find((g) => g.claims(name)) ?? this.#groups[0]!;
    let held = initial;
    const owned = !isCell(value);
    if (owned) held = backend.copy(initial);
    const cell = owned
      ? {
          get: () => held,
          set: (tensor: T) => {
            backend.dispose(held);
            held = tensor;
          },
        }
      : value;
    const parameter = new RunningParameter(name, [...shape], group, cell, owned);
    this.#initialise(parameter);
    this.#parameters.set(name, parameter);
  }

  /** Forgets a parameter and its state. A cell keeps the point of the resident placement. */
  removeParameter(name: string): void {
    this.#alive();
    this.#free(this.#get(name));
    this.#parameters.delete(name);
  }

  /**
   * Takes the present value of a parameter as its new x, y and z, after somebody wrote to its cell.
   * Moments and the averaging weights stay.
   */
  adoptParameter(name: string): void {
    this.#alive();
    const parameter = this.#get(name);
    this.#check(name, parameter.parameter, 'parameter');
    if (parameter.z !== undefined) {
      this.#backend.dispose(parameter.z);
      parameter.z = this.#backend.copy(parameter.parameter);
    }
    if (parameter.saved !== undefined) {
      this.#backend.dispose(parameter.saved);
      parameter.saved = this.#backend.copy(parameter.parameter);
    }
  }

  /**
   * One step. Gradients are of the loss at y, by parameter name, of the parameter's shape; `null`, or
   * a name left out, is a parameter without a gradient: it keeps everything.
   * @throws ParameterError `unknown-parameter`, `wrong-shape`, `wrong-dtype`; StateError `disposed`,
   * `wrong-mode`; NonFiniteError (see `nonFinite`). Parameters and moments stay as they were.
   */
  step(gradients: Readonly<Record<string, T | null | undefined>>): void {
    this.#alive();
    if (this.#placement === 'y' && this.#mode === 'eval') {
      throw new StateError(
        'wrong-mode',
        'step() in eval mode: gradients belong to the training point; call train() first.',
        'mode',
        'eval',
      );
    }
    const present: [RunningParameter<T>, T][] = [];
    for (const [name, gradient] of Object.entries(gradients)) {
      const parameter = this.#get(name);
      if (gradient === null || gradient === undefined) continue;
      const { shape } = this.#check(name, gradient, 'gradient');
      if (String(shape) !== String(parameter.shape)) {
        throw new ParameterError(
          'wrong-shape',
          `The gradient of '${name}' has shape [${shape}]; the parameter has [${parameter.shape}].`,
          name,
          shape,
        );
      }
      present.push([parameter, gradient]);
    }

    const { maxGradNorm, epsilon, nonFinite } = this.#groups[0]!.hyperparameters;
    const offender = nonFinite === 'throw' ? this.#findNonFinite(present) : undefined;
    const coefficients = new Map(
      this.#groups.map((group) => {
        const next = advance(group.scalars, group.hyperparameters);
        group.scalars = next.scalars;
        return [group, [next.coefficients, this.#form(group)] as const] as const;
      }),
    );
    if (offender !== undefined) throw nonFiniteError(offender);

    this.#inMode(this.#placement === 'y' ? 'train' : 'eval', () => {
      const entries = present.map(([state, gradient]): StepEntry<T> => {
        const [c, form] = coefficients.get(state.group)!;
        return { name: state.name, form, coefficients: c, state, gradient };
      });
      const request: StepRequest<T> = {
        entries,
        maxGradNorm,
        epsilon,
        skipNonFinite: nonFinite !== 'ignore',
        metrics: this.#metrics,
      };
      if (this.#backend.step) this.#backend.step(request);
      else composedStep(this.#backend, request);
    });
  }

  /** Parameters hold y, where gradients are taken. The way back from {@link eval} is exact to the bit. */
  train(): void {
    this.#setMode('train');
  }

  /** Parameters hold x, where the model is evaluated. */
  eval(): void {
    this.#setMode('eval');
  }

  /** Runs `fn`, which may be asynchronous, with x in the parameters, and restores them exactly. */
  withEvalParameters<R>(fn: () => R): R {
    return this.#inMode('eval', fn);
  }

  /**
   * Runs `fn`, which may be asynchronous, with y in the parameters, or in those with these `names`, and
   * restores them exactly.
   */
  withTrainParameters<R>(fn: () => R, names?: Iterable<string>): R {
    return this.#inMode('train', fn, names);
  }

  /** x of every parameter, as new tensors. Changes nothing. */
  evalParameters(): Record<string, T> {
    return this.#points('x');
  }

  /** y of every parameter, as new tensors. Changes nothing. */
  trainParameters(): Record<string, T> {
    return this.#points('y');
  }

  /** Resets the moments, and keeps x, y, z and the averaging weights (Adan's restart). */
  restart(): void {
    this.#alive();
    for (const parameter of this.#parameters.values()) this.#resetMoments(parameter);
    for (const group of this.#groups) group.scalars = { ...group.scalars, momentStep: 0 };
  }

  /** Reads back what the last steps reported. @throws NonFiniteError, see `nonFinite: 'throw'`. */
  async metrics(): Promise<Metrics> {
    this.#alive();
    const { gradientNorm, clipFactor, skippedSteps } = this.#metrics;
    const clipping = this.#groups[0]!.hyperparameters.maxGradNorm > 0;
    const read = async (tensor: T) => (await this.#backend.download(tensor))[0]!;
    const all = [read(gradientNorm), read(clipFactor), read(skippedSteps)] as const;
    const pending = this.#raisePending();
    const [norm, clip, skipped] = await Promise.all(all);
    await pending;
    return {
      gradientNorm: clipping ? norm! : null,
      clipFactor: clipping ? clip! : null,
      skippedSteps: skipped!,
    };
  }

  /**
   * The training state as a safetensors file, the same in either mode. State is as of the call, also
   * when steps follow before the promise resolves.
   */
  async save(): Promise<Uint8Array> {
    this.#alive();
    const groups = this.#groups.map(({ hyperparameters, scalars }) => ({
      hyperparameters,
      scalars,
      parameters: [] as string[],
    }));
    const reads: [string, StoredKey | 'seen', readonly number[], Promise<FloatArray>][] = [];
    for (const parameter of this.#parameters.values()) {
      const { name, shape, group } = parameter;
      groups[this.#groups.indexOf(group)]!.parameters.push(name);
      const form = this.#form(group);
      for (const key of stateKeys(form)) {
        const tensor = key === 'parameter' ? this.#resident(parameter) : parameter[key]!;
        const stored = key !== 'parameter' ? key : form.scheduleFree ? this.#placement : 'x';
        reads.push([name, stored, shape, this.#backend.download(tensor)]);
      }
      if (parameter.seen !== undefined) {
        reads.push([name, 'seen', shape, this.#backend.download(parameter.seen)]);
      }
    }
    const skipped = this.#backend.download(this.#metrics.skippedSteps);
    const pending = this.#raisePending();
    const tensors = new Map<string, { [K in StoredKey]?: StoredTensor }>();
    for (const [name, key, shape, promise] of reads) {
      const data = await promise;
      const stored = tensors.get(name) ?? {};
      tensors.set(name, stored);
      if (key !== 'seen') stored[key] = { shape, data };
      else if (data[0] === 0) delete stored.g;
    }
    const skippedSteps = (await skipped)[0]!;
    await pending;
    return encodeCheckpoint({ groups, skippedSteps, tensors });
  }

  /**
   * Goes on from a checkpoint, of whatever backend: state, counters and hyperparameters become those
   * of the file. The mode stays as it is.
   * @throws CheckpointError, ParameterError `missing-parameter`, `unknown-parameter`, `wrong-shape`.
   * Nothing has changed then.
   */
  load(bytes: Uint8Array): void {
    this.#alive();
    const state = decodeCheckpoint(bytes);
    this.#checkFits(state.groups);
    for (const [name, { shape }] of this.#parameters) {
      const stored = state.tensors.get(name)!;
      const found = (stored.x ?? stored.y)!.shape;
      if (String(found) !== String(shape)) {
        throw new ParameterError(
          'wrong-shape',
          `'${name}' has shape [${found}] in the checkpoint and [${shape}] here.`,
          name,
          found,
        );
      }
    }
    const mode = this.#mode;
    this.#setMode(this.#placement === 'y' ? 'train' : 'eval');
    state.groups.forEach(({ hyperparameters, scalars }, i) => {
      Object.assign(this.#groups[i]!, { hyperparameters, scalars });
    });
    const backend = this.#backend;
    for (const [name, parameter] of this.#parameters) {
      const stored = state.tensors.get(name)!;
      const { momentum } = parameter.group.hyperparameters;
      const point = storedPoint(stored, this.#placement, momentum);
      parameter.parameter = backend.upload(point.data, point.shape);
      this.#initialise(parameter);
      for (const key of ['z', 'm', 'v', 'n', 'g'] as const) {
        const tensor = stored[key];
        if (!tensor || parameter[key] === undefined) continue;
        backend.dispose(parameter[key]);
        parameter[key] = backend.upload(tensor.data, tensor.shape);
        if (key === 'g') {
          backend.dispose(parameter.seen!);
          parameter.seen = backend.constant(1);
        }
      }
    }
    backend.dispose(this.#metrics.skippedSteps);
    this.#metrics.skippedSteps = backend.constant(state.skippedSteps);
    this.#setMode(mode);
  }

  /** Frees every tensor that the optimizer owns. Again is harmless; any other call then throws. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const parameter of this.#parameters.values()) this.#free(parameter);
    for (const tensor of Object.values(this.#metrics)) this.#backend.dispose(tensor);
    for (const tensor of this.#finite.values()) this.#backend.dispose(tensor);
  }

  #alive(): void {
    if (this.#disposed) {
      throw new StateError('disposed', 'This optimizer was disposed; make a new one.', 'optimizer');
    }
  }

  #get(name: string): RunningParameter<T> {
    const parameter = this.#parameters.get(name);
    if (!parameter) throw unknown(name, this.parameterNames, 'There is no parameter');
    return parameter;
  }

  #form(group: RunningGroup): RuleForm {
    return ruleForm(group.hyperparameters, this.#placement);
  }

  #check(name: string, tensor: T, what: string) {
    const { inspect, dtype } = this.#backend;
    const info = inspect.call(this.#backend, tensor);
    if (info.disposed) {
      throw new StateError('disposed', `The ${what} '${name}' is a disposed tensor.`, name);
    }
    if (info.dtype !== dtype) {
      throw new ParameterError(
        'wrong-dtype',
        `The ${what} '${name}' has dtype ${info.dtype}; cast it to ${dtype}.`,
        name,
        info.dtype,
      );
    }
    return info;
  }

  /** Tensors of a parameter's form, as at the very beginning; frees what was there. */
  #initialise(parameter: RunningParameter<T>): void {
    const backend = this.#backend;
    if (parameter.z !== undefined) backend.dispose(parameter.z);
    delete parameter.z;
    if (this.#form(parameter.group).scheduleFree) parameter.z = backend.copy(parameter.parameter);
    this.#resetMoments(parameter);
  }

  #resetMoments(parameter: RunningParameter<T>): void {
    const backend = this.#backend;
    for (const key of ['m', 'v', 'n', 'g', 'seen'] as const) {
      if (parameter[key] !== undefined) backend.dispose(parameter[key]);
      delete parameter[key];
    }
    const zeros = new Float32Array(sizeOf(parameter.shape));
    const form = this.#form(parameter.group);
    for (const key of stateKeys(form)) {
      if (key !== 'parameter' && key !== 'z')
        parameter[key] = backend.upload(zeros, parameter.shape);
    }
    if (form.gradientDifference) parameter.seen = backend.constant(0);
  }

  #free(parameter: RunningParameter<T>): void {
    if (parameter.saved !== undefined) {
      if (parameter.owned) this.#backend.dispose(parameter.saved);
      else parameter.parameter = parameter.saved;
    }
    if (parameter.owned) this.#backend.dispose(parameter.parameter);
    for (const key of ['z', 'm', 'v', 'n', 'g', 'seen'] as const) {
      if (parameter[key] !== undefined) this.#backend.dispose(parameter[key]);
    }
  }

  #resident(parameter: RunningParameter<T>): T {
    return parameter.saved ?? parameter.parameter;
  }

  /** x or y of a parameter, as a new tensor. */
  #point(parameter: RunningParameter<T>, point: Placement): T {
    const resident = this.#resident(parameter);
    if (parameter.z === undefined || point === this.#placement) return this.#backend.copy(resident);
    const scope = temporaries(this.#backend);
    const { momentum } = parameter.group.hyperparameters;
    const c = {
      momentum: scope.constant(momentum),
      oneMinusMomentum: scope.constant(1 - momentum),
    };
    const compute = point === 'x' ? evaluationPoint : trainingPoint;
    const result = scope.keep(compute(scope.algebra, c, resident, parameter.z));
    scope.release();
    return result;
  }

  #points(point: Placement): Record<string, T> {
    this.#alive();
    return Object.fromEntries(
      [...this.#parameters].map(([name, parameter]) => [name, this.#point(parameter, point)]),
    );
  }

  #setMode(mode: Mode, names: Iterable<string> = this.#parameters.keys()): void {
    this.#alive();
    if (mode === this.#mode) return;
    const point = mode === 'eval' ? 'x' : 'y';
    for (const parameter of [...names].map((name) => this.#get(name))) {
      if (point === this.#placement && parameter.saved !== undefined) {
        parameter.parameter = parameter.saved;
        parameter.saved = undefined;
      } else if (point !== this.#placement && parameter.z !== undefined) {
        const other = this.#point(parameter, point);
        parameter.saved = this.#backend.copy(parameter.parameter);
        parameter.parameter = other;
      }
    }
    this.#mode = mode;
  }

  #inMode<R>(mode: Mode, fn: () => R, names?: Iterable<string>): R {
    const before = this.#mode;
    this.#setMode(mode, names);
    const restore = () => {
      if (!this.#disposed) this.#setMode(before);
    };
    let result: R;
    try {
      result = fn();
    } catch (error) {
      restore();
      throw error;
    }
    if (result instanceof Promise) return result.finally(restore) as R;
    restore();
    return result;
  }

  /** The first parameter whose gradient is not finite, where that can be known at once. */
  #findNonFinite(present: readonly [RunningParameter<T>, T][]): string | undefined {
    const backend = this.#backend;
    for (const [{ name }, gradient] of present) {
      const flag = backend.allFinite(gradient);
      if (backend.downloadSync) {
        const finite = backend.downloadSync(flag)[0] !== 0;
        backend.dispose(flag);
        if (!finite) return name;
      } else {
        const before = this.#finite.get(name);
        this.#finite.set(name, before === undefined ? flag : backend.minimum(before, flag));
        if (before !== undefined) {
          backend.dispose(before);
          backend.dispose(flag);
        }
      }
    }
    return undefined;
  }

  /** The error that could not be thrown at the step. */
  async #raisePending(): Promise<void> {
    const flags = [...this.#finite];
    this.#finite.clear();
    const values = await Promise.all(flags.map(([, flag]) => this.#backend.download(flag)));
    for (const [, flag] of flags) this.#backend.dispose(flag);
    const found = values.findIndex((value) => value[0] === 0);
    if (found >= 0) throw nonFiniteError(flags[found]![0]);
  }

  #checkFits(groups: readonly StoredGroup[]): void {
    if (groups.length !== this.#groups.length) {
      throw new CheckpointError(
        'invalid-checkpoint',
        `The checkpoint has ${groups.length} groups and this optimizer ${this.#groups.length}; make it with the same groups.`,
        'groups',
        groups.length,
      );
    }
    const stored = new Map(
      groups.flatMap((g, i) => g.parameters.map((name) => [name, i] as const)),
    );
    for (const [name, parameter] of this.#parameters) {
      const index = stored.get(name);
      const here = this.#groups.indexOf(parameter.group);
      if (index === undefined) {
        throw new ParameterError(
          'missing-parameter',
          `The checkpoint has no parameter '${name}'; it has ${list([...stored.keys()])}.`,
          name,
        );
      }
      if (index !== here) {
        throw new CheckpointError(
          'invalid-checkpoint',
          `'${name}' is in group ${index} of the checkpoint and in group ${here} here.`,
          name,
          index,
        );
      }
    }
    for (const name of stored.keys()) {
      if (!this.#parameters.has(name)) {
        throw unknown(name, this.parameterNames, 'The checkpoint holds');
      }
    }
  }
}

const list = (names: readonly string[]) =>
  names.length > 0 ? names.map((name) => `'${name}'`).join(', ') : 'none';
const duplicate = (name: string, why: string) =>
  new ParameterError('duplicate-parameter', `Parameter '${name}' ${why}.`, name);
const unknown = (name: string, known: readonly string[], what: string) =>
  new ParameterError(
    'unknown-parameter',
    `${what} '${name}', but the parameters are ${list(known)}.`,
    name,
  );
const nonFiniteError = (name: string) =>
  new NonFiniteError(
    'non-finite-gradient',
    `The gradient of '${name}' holds NaN or Infinity; the step was skipped. Lower the learning rate, scale the loss, or set nonFinite: 'skip'.`,
    name,
  );
