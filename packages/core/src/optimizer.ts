import type { Backend, StepMetrics } from './backend.js';
import { decodeCheckpoint, encodeCheckpoint, type StoredParameter } from './checkpoint.js';
import { type ErrorCode, NonFiniteError, ParameterError, StateError } from './errors.js';
import {
  checkHyperparameter,
  type GroupHyperparameters,
  type HyperparameterOptions,
  type Hyperparameters,
  resolveHyperparameters,
} from './hyperparameters.js';
import { invalid, type StoredTensor, sizeOf } from './safetensors.js';
import { advance, initialScalars, type Scalars } from './schedule.js';
import {
  type ElementState,
  evaluationPoint,
  type Placement,
  ruleForm,
  type StateKey,
  stateKeys,
  trainingPoint,
} from './update-rule.js';

/** Where a parameter lives when the optimizer does not own it: a framework's variable, say. */
export interface ParameterCell<T> {
  /** The tensor that it holds now; it stays the cell's. */
  get(): T;
  /** Takes over `tensor`, and disposes what it replaces. */
  set(tensor: T): void;
}

/** A group of parameters with hyperparameters of its own; what it leaves out, the optimizer gives. */
export type GroupOptions = {
  /** Names, or a test of the name. A parameter belongs to the first group that claims it. */
  readonly parameters: readonly string[] | ((name: string) => boolean);
} & { readonly [K in keyof GroupHyperparameters]?: GroupHyperparameters[K] };

/** Hyperparameters, parameter groups, and where a parameter rests. */
export interface OptimizerOptions extends HyperparameterOptions {
  /** Groups with values of their own, in order; what none claims is in a group that has the optimizer's. */
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
  /** Steps, averaging weights, and the largest learning rate so far. */
  readonly scalars: Scalars;
  /** May be set before any step: a learning-rate schedule of your own. Finite, ≥ 0. */
  learningRate: number;
}

/** What the last steps reported, read back from the device. */
export interface Metrics {
  /** 2-norm of all gradients of the last step before clipping; null when not clipping. */
  readonly gradientNorm: number | null;
  /** The factor that clipping put on them; null when not clipping. */
  readonly clipFactor: number | null;
  /** Steps skipped so far for NaN or ±Infinity. */
  readonly skippedSteps: number;
}

/** `'train'`: parameters hold y, where gradients are taken. `'eval'`: they hold x, the average. */
export type Mode = 'train' | 'eval';

/**
 * Schedule-Free Adan over some backend, as {@link scheduleFreeAdan} makes it. Gradients are taken at y
 * (`mode` train), models are evaluated at x (`mode` eval). Tensors that are passed in stay the
 * caller's; tensors that {@link evalParameters} and {@link trainParameters} hand out become the
 * caller's. Every method but {@link dispose} throws a StateError `disposed` after it.
 */
export interface ScheduleFreeAdan<T> {
  /** Which point parameters hold just now. */
  readonly mode: Mode;
  /** Group 0 is the default one, the rest as given. */
  readonly groups: readonly Group[];
  /** In the order in which they were added. */
  readonly parameterNames: readonly string[];

  /**
   * The tensor that a parameter holds in the present mode. It stays the optimizer's.
   * @throws ParameterError `unknown-parameter`
   */
  parameter(name: string): T;

  /**
   * Adds a parameter with a copy of this tensor: x = y = z.
   * @throws ParameterError `duplicate-parameter`, `wrong-dtype`; StateError `disposed`
   */
  addParameter(name: string, tensor: T): void;

  /** Adds a parameter that lives in a cell, with its present value: x = y = z. */
  addCell(name: string, cell: ParameterCell<T>): void;

  /** Forgets a parameter and its state. A cell keeps the point of the placement. */
  removeParameter(name: string): void;

  /**
   * Tells that somebody else wrote to the cell of a parameter, which held `before`: x, y and z all move
   * by what the value moved. So z − x, which is how far the steps are ahead of their average, stays, and
   * so do moments and averaging weights; x = Σwz/Σw goes on to hold, for the moved path.
   */
  adoptParameter(name: string, before: T): void;

  /**
   * One step. Gradients are of the loss at y, by parameter name, of the parameter's shape; `null`, or
   * a name left out, is a parameter without a gradient: it keeps everything.
   * @throws ParameterError `unknown-parameter`, `wrong-shape`, `wrong-dtype`; StateError `disposed`,
   * `wrong-mode`; NonFiniteError (see `nonFinite`). Parameters and moments stay as they were.
   */
  step(gradients: Readonly<Record<string, T | null | undefined>>): void;

  /** Parameters hold y, where gradients are taken. The way back from {@link eval} is exact to the bit. */
  train(): void;

  /** Parameters hold x, where the model is evaluated. */
  eval(): void;

  /** Runs `fn`, which may be asynchronous, with x in the parameters, and restores them exactly. */
  withEvalParameters<R>(fn: () => R): R;

  /**
   * Runs `fn`, which may be asynchronous, with y in the parameters, or in those with these `names`, and
   * restores them exactly.
   */
  withTrainParameters<R>(fn: () => R, names?: Iterable<string>): R;

  /** x of every parameter, as new tensors. Changes nothing. */
  evalParameters(): Record<string, T>;

  /** y of every parameter, as new tensors. Changes nothing. */
  trainParameters(): Record<string, T>;

  /** Resets the moments, and keeps x, y, z and the averaging weights (Adan's restart). */
  restart(): void;

  /** Reads back what the last steps reported. @throws NonFiniteError, see `nonFinite: 'throw'`. */
  metrics(): Promise<Metrics>;

  /**
   * The training state as a safetensors file, the same in either mode. State is as of the call, also
   * when steps follow before the promise resolves.
   */
  save(): Promise<Uint8Array>;

  /**
   * Goes on from a checkpoint, of whatever backend: state, counters and hyperparameters become those
   * of the file. The mode stays as it is.
   * @throws CheckpointError, ParameterError `missing-parameter`, `unknown-parameter`, `wrong-shape`.
   * Nothing has changed then.
   */
  load(checkpoint: Uint8Array): void;

  /** Frees every tensor that the optimizer owns. Again is harmless. */
  dispose(): void;
}

interface RunningGroup extends Group {
  hyperparameters: Hyperparameters;
  scalars: Scalars;
  readonly claims: (name: string) => boolean;
}

/** A parameter's state. `parameter` reads and writes the cell; `saved` is what train/eval put aside. */
interface RunningParameter<T> extends Partial<Record<PrivateKey | 'saved', T>> {
  parameter: T;
  readonly name: string;
  readonly shape: readonly number[];
  readonly group: RunningGroup;
  /** The cell is the optimizer's own. */
  owned: boolean;
}

const privateKeys = ['z', 'm', 'v', 'n', 'g', 'seen'] as const;
type PrivateKey = (typeof privateKeys)[number];

const list = (names: Iterable<string>) => [...names].map((name) => `'${name}'`).join(', ');

function wrong(code: ErrorCode, name: string, why: string, value?: unknown): never {
  throw new ParameterError(code, `'${name}' ${why}.`, name, value);
}

function checkShape(name: string, shape: readonly number[], expected: readonly number[]): void {
  if (String(shape) !== String(expected)) {
    wrong('wrong-shape', name, `has shape [${shape}], not [${expected}]`, shape);
  }
}

function makeGroup(
  hyperparameters: Hyperparameters,
  claims: (name: string) => boolean,
): RunningGroup {
  return {
    hyperparameters,
    claims,
    scalars: initialScalars,
    get learningRate() {
      return this.hyperparameters.learningRate;
    },
    set learningRate(learningRate) {
      checkHyperparameter('learningRate', learningRate);
      this.hyperparameters = { ...this.hyperparameters, learningRate };
    },
  };
}

/**
 * Makes a Schedule-Free Adan optimizer.
 * @param parameters named tensors, copied. More can be added later.
 * @throws OptionError; ParameterError `duplicate-parameter`, `unknown-parameter` (a group names one
 * that is not there), `wrong-dtype`; StateError `disposed`.
 */
export function scheduleFreeAdan<T>(
  backend: Backend<T>,
  parameters: Readonly<Record<string, T>> | Iterable<readonly [string, T]> = {},
  { groups: groupOptions = [], placement = 'y', ...options }: OptimizerOptions = {},
): ScheduleFreeAdan<T> {
  const base = resolveHyperparameters(options);
  /** The mode in which parameters hold the point of the placement. */
  const home: Mode = placement === 'y' ? 'train' : 'eval';
  const claimed = new Set<string>();
  const groups = groupOptions.map(({ parameters: names, ...own }, i) => {
    const hyperparameters = resolveHyperparameters(own, base, ` of group ${i + 1}`);
    if (typeof names === 'function') return makeGroup(hyperparameters, names);
    for (const name of names) {
      if (claimed.has(name)) wrong('duplicate-parameter', name, 'is given twice');
      claimed.add(name);
    }
    return makeGroup(hyperparameters, (name) => names.includes(name));
  });
  groups.unshift(makeGroup(base, () => true));
  const all = new Map<string, RunningParameter<T>>();
  const reports: StepMetrics<T> = {
    gradientNorm: backend.constant(0),
    clipFactor: backend.constant(1),
    skippedSteps: backend.constant(0),
  };
  let mode = home;
  let disposed = false;
  /** Under 'throw': the first parameter with a bad gradient, and whether all have been looked at. */
  let offender: string | undefined;
  let watched: Promise<unknown> | undefined;

  const alive = () => {
    if (disposed) throw new StateError('disposed', 'This optimizer was disposed.');
  };
  const get = (name: string): RunningParameter<T> => {
    alive();
    return (
      all.get(name) ??
      wrong('unknown-parameter', name, `is no parameter; there is ${list(all.keys())}`)
    );
  };
  const formOf = ({ group }: RunningParameter<T>) => ruleForm(group.hyperparameters, placement);

  const check = (name: string, tensor: T) => {
    const { dtype, shape, disposed: gone } = backend.inspect(tensor);
    if (gone) throw new StateError('disposed', `The tensor for '${name}' was disposed.`, name);
    if (dtype !== backend.dtype) {
      wrong('wrong-dtype', name, `has dtype ${dtype}, not ${backend.dtype}`, dtype);
    }
    return shape;
  };

  const replace = <K extends string>(owner: { [key in K]?: T }, key: K, tensor?: T) => {
    const old = owner[key];
    // A cell disposes what it held by itself.
    if (old !== undefined && key !== 'parameter') backend.dispose(old);
    if (tensor === undefined) delete owner[key];
    else owner[key] = tensor;
  };

  /** The state that a parameter begins with, or all but its z. */
  const reset = (parameter: RunningParameter<T>, keepZ?: boolean) => {
    const { shape } = parameter;
    const keys = stateKeys(formOf(parameter));
    for (const key of privateKeys) {
      if (key === 'z' && keepZ) continue;
      let tensor: T | undefined;
      if (keys.includes(key)) {
        if (key === 'seen') tensor = backend.constant(0);
        else if (key === 'z') tensor = backend.copy(parameter.parameter);
        else tensor = backend.upload(new Float32Array(sizeOf(shape)), shape);
      }
      replace(parameter, key, tensor);
    }
  };

  const free = (parameter: RunningParameter<T>) => {
    if (parameter.saved !== undefined) parameter.parameter = parameter.saved;
    if (parameter.owned) backend.dispose(parameter.parameter);
    for (const key of privateKeys) replace(parameter, key);
  };

  /** One of x and y out of the other and z, as a new tensor. */
  const across = (from: T, z: T, group: RunningGroup, to: Placement): T => {
    const { momentum } = group.hyperparameters;
    if (backend.point) return backend.point(from, z, momentum, to);
    const made: T[] = [];
    const note = (tensor: T) => {
      made.push(tensor);
      return tensor;
    };
    const noted = (op: 'add' | 'sub' | 'mul' | 'div') => (a: T, b: T) => note(backend[op](a, b));
    const algebra = { add: noted('add'), sub: noted('sub'), mul: noted('mul'), div: noted('div') };
    const c = {
      momentum: note(backend.constant(momentum)),
      oneMinusMomentum: note(backend.constant(1 - momentum)),
    };
    (to === 'x' ? evaluationPoint : trainingPoint)(algebra, c, from, z);
    const result = made.pop()!;
    made.forEach(backend.dispose, backend);
    return result;
  };
  /** x or y of a parameter, as a new tensor. */
  const pointOf = ({ saved, parameter, z, group }: RunningParameter<T>, to: Placement): T => {
    const resident = saved ?? parameter;
    if (z === undefined || to === placement) return backend.copy(resident);
    return across(resident, z, group, to);
  };
  const points = (point: Placement) => {
    alive();
    return Object.fromEntries([...all].map(([name, p]) => [name, pointOf(p, point)]));
  };

  const setMode = (next: Mode, names: Iterable<string> = all.keys()) => {
    alive();
    if (next === mode) return;
    for (const parameter of [...names].map(get)) {
      const { saved, z } = parameter;
      if (saved !== undefined) {
        parameter.parameter = saved;
        delete parameter.saved;
      } else if (next !== home && z !== undefined) {
        const other = pointOf(parameter, next === 'eval' ? 'x' : 'y');
        parameter.saved = backend.copy(parameter.parameter);
        parameter.parameter = other;
      }
    }
    mode = next;
  };
  const within = <R>(inner: Mode, fn: () => R, names?: Iterable<string>): R => {
    const before = mode;
    setMode(inner, names);
    const restore = () => {
      if (!disposed) setMode(before);
    };
    let result: R | undefined;
    try {
      result = fn();
    } finally {
      if (result instanceof Promise) result = result.finally(restore) as R;
      else restore();
    }
    return result;
  };

  const raise = () => {
    const name = offender;
    offender = undefined;
    if (name === undefined) return;
    const message = `The gradient of '${name}' holds NaN or Infinity; lower learningRate.`;
    throw new NonFiniteError('non-finite-gradient', message, name);
  };

  const optimizer: ScheduleFreeAdan<T> = {
    groups,
    get mode() {
      return mode;
    },
    get parameterNames() {
      return [...all.keys()];
    },
    parameter: (name) => get(name).parameter,

    addParameter(name, tensor) {
      check(name, tensor);
      let held: T | undefined;
      optimizer.addCell(name, {
        get: () => held ?? tensor,
        set: (value) => {
          if (held !== undefined) backend.dispose(held);
          held = value;
        },
      });
      held = backend.copy(tensor);
      get(name).owned = true;
    },
    addCell(name, cell) {
      alive();
      if (all.has(name)) wrong('duplicate-parameter', name, 'is given twice');
      const parameter: RunningParameter<T> = {
        name,
        shape: [...check(name, cell.get())],
        group: groups.slice(1).find(({ claims }) => claims(name)) ?? groups[0]!,
        owned: false,
        get parameter() {
          return cell.get();
        },
        set parameter(tensor) {
          cell.set(tensor);
        },
      };
      all.set(name, parameter);
      reset(parameter);
    },
    removeParameter(name) {
      free(get(name));
      all.delete(name);
    },
    adoptParameter(name, before) {
      const parameter = get(name);
      const shift = backend.sub(parameter.parameter, before);
      for (const key of ['z', 'saved'] as const) {
        const old = parameter[key];
        if (old !== undefined) replace(parameter, key, backend.add(old, shift));
      }
      backend.dispose(shift);
    },

    step(gradients) {
      alive();
      if (home === 'train' && mode === 'eval') {
        const message = `Mode is 'eval'; call train() first.`;
        throw new StateError('wrong-mode', message, mode);
      }
      const present: [RunningParameter<T>, T][] = [];
      for (const [name, gradient] of Object.entries(gradients)) {
        const parameter = get(name);
        if (gradient === null || gradient === undefined) continue;
        checkShape(name, check(name, gradient), parameter.shape);
        present.push([parameter, gradient]);
      }

      const { maxGradNorm, epsilon, nonFinite } = groups[0]!.hyperparameters;
      if (nonFinite === 'throw') {
        for (const [{ name }, gradient] of present) {
          const flag = backend.allFinite(gradient);
          const note = ([finite]: Iterable<number>) => {
            if (finite === 0) offender ??= name;
          };
          if (backend.downloadSync) note(backend.downloadSync(flag));
          else watched = Promise.all([watched, backend.download(flag).then(note)]);
          backend.dispose(flag);
        }
      }
      for (const group of groups) group.scalars = advance(group.scalars, group.hyperparameters);
      if (backend.downloadSync) raise();

      within(home, () =>
        backend.step({
          entries: present.map(([parameter, gradient]) => ({
            name: parameter.name,
            form: formOf(parameter),
            group: parameter.group,
            state: parameter as ElementState<T>,
            gradient,
          })),
          maxGradNorm,
          epsilon,
          skipNonFinite: nonFinite !== 'ignore',
          metrics: reports,
        }),
      );
    },

    train: () => setMode('train'),
    eval: () => setMode('eval'),
    withEvalParameters: (fn) => within('eval', fn),
    withTrainParameters: (fn, names) => within('train', fn, names),
    evalParameters: () => points('x'),
    trainParameters: () => points('y'),

    restart() {
      alive();
      for (const parameter of all.values()) reset(parameter, true);
      for (const group of groups) group.scalars = { ...group.scalars, momentStep: 0 };
    },

    async metrics() {
      alive();
      const clipping = groups[0]!.hyperparameters.maxGradNorm > 0;
      const read = async (key: keyof Metrics) => (await backend.download(reports[key]))[0]!;
      const [gradientNorm, clipFactor, skippedSteps] = await Promise.all([
        clipping ? read('gradientNorm') : null,
        clipping ? read('clipFactor') : null,
        read('skippedSteps'),
        watched,
      ]);
      raise();
      return { gradientNorm, clipFactor, skippedSteps };
    },

    async save() {
      alive();
      const stored = groups.map((group) => ({
        hyperparameters: group.hyperparameters,
        scalars: group.scalars,
        parameters: [...all.keys()].filter((name) => get(name).group === group),
      }));
      const reads = [...all].map(async ([name, parameter]) => {
        const tensors = stateKeys(formOf(parameter)).map(async (key) => {
          const tensor =
            key === 'parameter' ? (parameter.saved ?? parameter[key]) : parameter[key]!;
          const point = parameter.z === undefined ? 'x' : placement;
          const { shape } = backend.inspect(tensor);
          const data = await backend.download(tensor);
          return [key === 'parameter' ? point : key, { shape, data }];
        });
        return [name, Object.fromEntries(await Promise.all(tensors)) as StoredParameter] as const;
      });
      const [tensors, [skippedSteps]] = await Promise.all([
        Promise.all(reads),
        backend.download(reports.skippedSteps),
        watched,
      ]);
      raise();
      return encodeCheckpoint({
        groups: stored,
        skippedSteps: skippedSteps!,
        tensors: new Map(tensors),
      });
    },

    load(checkpoint) {
      alive();
      const { groups: stored, skippedSteps, tensors } = decodeCheckpoint(checkpoint);
      for (const name of tensors.keys()) get(name);
      if (stored.length !== groups.length) {
        throw invalid(`it has ${stored.length} groups, not ${groups.length}`);
      }
      const found: [RunningParameter<T>, StateKey, StoredTensor][] = [];
      for (const [name, parameter] of all) {
        const held = tensors.get(name) ?? wrong('missing-parameter', name, 'is missing');
        const group = stored[groups.indexOf(parameter.group)]!;
        if (!group.parameters.includes(name)) throw invalid(`'${name}' is in another group`, name);
        const { hyperparameters } = group;
        for (const key of stateKeys(ruleForm(hyperparameters, placement))) {
          const tensor = key === 'parameter' ? (held[placement] ?? held.x ?? held.y) : held[key];
          if (!tensor) throw invalid(`'${name}.${key}' is missing`, name);
          checkShape(name, tensor.shape, key === 'seen' ? [] : parameter.shape);
          found.push([parameter, key, tensor]);
        }
      }
      within(home, () => {
        stored.forEach(({ hyperparameters, scalars }, i) => {
          Object.assign(groups[i]!, { hyperparameters, scalars });
        });
        for (const parameter of all.values()) reset(parameter);
        for (const [parameter, key, { data, shape }] of found) {
          replace(parameter, key, backend.upload(data, shape));
        }
        for (const parameter of all.values()) {
          const { name, group, z } = parameter;
          if (z === undefined || tensors.get(name)![placement]) continue;
          // The file has the other one of x and y.
          parameter.parameter = across(parameter.parameter, z, group, placement);
        }
        replace(reports, 'skippedSteps', backend.constant(skippedSteps));
      });
    },

    dispose() {
      if (disposed) return;
      for (const parameter of all.values()) free(parameter);
      for (const tensor of Object.values(reports)) backend.dispose(tensor);
      disposed = true;
    },
  };

  try {
    const entries = Symbol.iterator in parameters ? parameters : Object.entries(parameters);
    for (const [name, tensor] of entries) optimizer.addParameter(name, tensor);
    if (all.size > 0) [...claimed].map(get);
  } catch (error) {
    optimizer.dispose();
    throw error;
  }
  return optimizer;
}
