import {
  CheckpointError,
  type Group,
  type Metrics,
  type Mode,
  type OptimizerOptions,
  OptionError,
  type ScheduleFreeAdan,
  StateError,
  scheduleFreeAdan,
} from '@schedule-free-adan/core';
import { decodeCheckpoint, type TrainingState } from '@schedule-free-adan/core/checkpoints';
import * as tf from '@tensorflow/tfjs-core';
import { TfjsBackend } from './backend.js';
import { type Place, VariableCell } from './cell.js';

/** Hyperparameters, and groups by variable name. See the core for units, defaults and sources. */
export type TfjsOptions = Omit<OptimizerOptions, 'placement'> & {
  /** `false`: compose every step of plain tf operations, also where a fused one is faster. */
  readonly fused?: boolean;
};

type NamedGradients = Parameters<tf.Optimizer['applyGradients']>[0];
type NamedTensors = Awaited<ReturnType<tf.Optimizer['getWeights']>>;

/** A loader renames variables that would clash: `dense/kernel` becomes `dense/kernel_1`. */
const withoutSuffix = (name: string) => name.replace(/_\d+$/, '');

/**
 * Schedule-Free Adan as a `tf.Optimizer`, for `model.compile`, `minimize` and loops of your own.
 *
 * Between steps every variable holds x, so that validation, `predict`, `save` and callbacks evaluate
 * the average without knowing. `minimize` and `computeGradients` move the variables to y while they
 * take a gradient. A loop with `tf.variableGrads` calls {@link train} first, and {@link eval} before
 * it evaluates.
 *
 * Who assigns to a variable (`setWeights`, an average of several clients) sets x, or y in mode `'train'`;
 * the other two of x, y, z move by as much, so that z − x stays, and so do moments and counters.
 */
export class ScheduleFreeAdanOptimizer extends tf.Optimizer {
  /** @nocollapse */
  static get className(): string {
    return 'ScheduleFreeAdan';
  }

  /** @nocollapse */
  static override fromConfig<T extends tf.serialization.Serializable>(
    cls: tf.serialization.SerializableConstructor<T>,
    config: tf.serialization.ConfigDict,
  ): T {
    // The loader adds an entry of its own to what getConfig() gave.
    const { customObjects: _, ...options } = config;
    return new cls(options);
  }

  readonly #backend: TfjsBackend;
  #core: ScheduleFreeAdan<tf.Tensor>;
  /** By parameter name: that of the variable when it was first met, also after loading. */
  readonly #cells = new Map<string, VariableCell>();
  /** The backend of tfjs that was active when the state was last used. */
  #home = '';

  /** @throws OptionError that names the option, its value and what is allowed */
  constructor(given: TfjsOptions = {}) {
    super();
    // tf.train.adam(0.001) takes a number, which would be lost here without a word.
    if (Object(given) !== given) {
      const message = `The options are ${given}; give an object, as in { learningRate: 0.03 }.`;
      throw new OptionError('invalid-option', message, 'options', given);
    }
    const { fused = true, ...options } = given;
    this.#backend = new TfjsBackend({ fused });
    this.#core = this.#make(new Map(), options);
  }

  #make(
    cells: ReadonlyMap<string, VariableCell>,
    options: TfjsOptions,
  ): ScheduleFreeAdan<tf.Tensor> {
    const core = scheduleFreeAdan<tf.Tensor>(this.#backend, {}, { ...options, placement: 'x' });
    for (const [name, cell] of cells) core.addCell(name, cell);
    return core;
  }

  /** Of the default group; set it before any step for a schedule of your own. Finite, ≥ 0. */
  get learningRate(): number {
    return this.#core.groups[0]!.learningRate;
  }
  set learningRate(value: number) {
    this.#core.groups[0]!.learningRate = value;
  }

  /** Group 0 is the default one, the rest as given to the constructor. */
  get groups(): readonly Group[] {
    return this.#core.groups;
  }

  /** `'eval'`, the resting state: variables hold x. `'train'`: they hold y. */
  get mode(): Mode {
    return this.#core.mode;
  }

  override computeGradients(
    f: () => tf.Scalar,
    varList?: tf.Variable[],
  ): ReturnType<tf.Optimizer['computeGradients']> {
    const variables = varList ?? Object.values(tf.engine().registeredVariables);
    const names = this.#meet(variables.filter((variable) => variable.trainable));
    return this.#core.withTrainParameters(() => super.computeGradients(f, varList), names);
  }

  /**
   * One step with gradients taken at y, by variable name. Variables that are not named, or whose
   * gradient is null, keep everything.
   * @throws ParameterError `unknown-parameter`, `wrong-shape`, `wrong-dtype`; NonFiniteError; StateError,
   * `wrong-backend` where the state was left behind on webgpu when another backend became active
   */
  override applyGradients(variableGradients: NamedGradients): void {
    const entries = Array.isArray(variableGradients)
      ? variableGradients.map(({ name, tensor }) => [name, tensor] as const)
      : Object.entries(variableGradients);
    const registered = tf.engine().registeredVariables;
    const variables: tf.Variable[] = [];
    const found: tf.Tensor[] = [];
    const gradients: Record<string, tf.Tensor> = {};
    for (const [name, gradient] of entries) {
      if (gradient == null) continue;
      const variable = registered[name];
      // A name without a variable goes on as it is: the core's error tells the names that there are.
      if (!variable) gradients[name] = gradient;
      else found[variables.push(variable) - 1] = gradient;
    }
    this.#meet(variables).forEach((name, i) => {
      gradients[name] = found[i]!;
    });
    this.#core.step(gradients);
    this.incrementIterations();
  }

  /**
   * Gives these variables a state before their first gradient. Optional: a checkpoint made before any
   * step then holds them.
   */
  addVariables(variables: readonly tf.Variable[]): void {
    this.#meet(variables);
  }

  /** Moves the variables to y, for a loop that takes gradients by itself. */
  train(): void {
    this.#noticeWrites();
    this.#core.train();
  }

  /** Moves the variables back to x. */
  eval(): void {
    this.#core.eval();
  }

  /** Runs `fn`, which may be asynchronous, with x in the variables, and puts back what was there. */
  withEvalParameters<R>(fn: () => R): R {
    return this.#core.withEvalParameters(fn);
  }

  /** Runs `fn`, which may be asynchronous, with y in the variables, and puts back what was there. */
  withTrainParameters<R>(fn: () => R): R {
    this.#noticeWrites();
    return this.#core.withTrainParameters(fn);
  }

  /** x of every variable met so far, as new tensors. */
  evalParameters(): Record<string, tf.Tensor> {
    this.#checkBackend();
    return this.#core.evalParameters();
  }

  /** y of every variable met so far, as new tensors. */
  trainParameters(): Record<string, tf.Tensor> {
    this.#checkBackend();
    return this.#core.trainParameters();
  }

  /** Resets the moments, and keeps x, y, z and the averaging weights. */
  restart(): void {
    this.#core.restart();
  }

  /** Gradient norm and clip factor of the last step, and the number of skipped steps. */
  metrics(): Promise<Metrics> {
    return this.#core.metrics();
  }

  /** The whole training state, x included, in the format that every backend reads (safetensors). */
  saveCheckpoint(): Promise<Uint8Array> {
    this.#noticeWrites();
    return this.#core.save();
  }

  /**
   * Goes on from a checkpoint: writes x to `variables`, and takes over the rest. Variables are found
   * by name; they must be those of the checkpoint, no more and no fewer.
   * @throws CheckpointError, ParameterError `missing-parameter`, `unknown-parameter`, `wrong-shape`.
   * Nothing has changed then.
   */
  loadCheckpoint(checkpoint: Uint8Array, variables: readonly tf.Variable[]): void {
    if (!ArrayBuffer.isView(checkpoint)) {
      const message = `The checkpoint is ${checkpoint}; give a Uint8Array, such as saveCheckpoint() resolves to.`;
      throw new CheckpointError('invalid-checkpoint', message, 'checkpoint', checkpoint);
    }
    const state = decodeCheckpoint(checkpoint);
    const names = new Map(
      [...matchVariables([...state.tensors.keys()], variables)].map(([name, v]) => [v, name]),
    );
    const homes = variables.map((v) => [names.get(v) ?? v.name, v] as const);
    this.#restore(checkpoint, state, placesOf(homes));
    // Nothing was read of what the variables held: it may lie on a backend that is no longer active.
    for (const [name, variable] of homes) this.#cells.get(name)!.moveTo(variable);
  }

  override async getWeights(): Promise<NamedTensors> {
    const bytes = await this.saveCheckpoint();
    // int32 is what tfjs stores bit by bit; a checkpoint's length is a multiple of four.
    const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    const state = tf.tensor1d(words.slice(), 'int32');
    return [await this.saveIterations(), { name: 'schedule-free-adan', tensor: state }];
  }

  /**
   * Takes over a state from {@link getWeights}. Its variables are met in the next `minimize` or
   * `computeGradients`, and hold x already: a loader has put it there.
   */
  override async setWeights(weightValues: NamedTensors): Promise<void> {
    const [state] = await this.extractIterations(weightValues);
    if (!state) return;
    const words = (await state.tensor.data()) as Int32Array;
    const bytes = new Uint8Array(words.buffer, words.byteOffset, words.byteLength).slice();
    const stored = decodeCheckpoint(bytes);
    this.#restore(
      bytes,
      stored,
      placesOf([...stored.tensors].map(([k, { x, y }]) => [k, (x ?? y)!])),
    );
  }

  override getConfig(): tf.serialization.ConfigDict {
    const { hyperparameters } = this.#core.groups[0]!;
    const { fused } = this.#backend;
    return { ...hyperparameters, betas: [...hyperparameters.betas], ...(!fused && { fused }) };
  }

  /** Frees the state. The variables, which are yours, hold x. */
  override dispose(): void {
    this.#core.dispose();
    for (const cell of this.#cells.values()) cell.dispose();
  }

  /** A new core with the groups of a stored state, for parameters that live in these places. */
  #restore(bytes: Uint8Array, { groups }: TrainingState, places: ReadonlyMap<string, Place>): void {
    // x goes back into the variables first, or leaving the old state would put it there afterwards.
    this.#core.eval();
    const [base, ...rest] = groups.map(({ hyperparameters, parameters }) => {
      const { maxGradNorm, nonFinite, scheduleFree, ...own } = hyperparameters;
      return { wide: { maxGradNorm, nonFinite, scheduleFree }, own, parameters };
    });
    const cells = new Map([...places].map(([name, place]) => [name, new VariableCell(place)]));
    const core = this.#make(cells, {
      ...base?.wide,
      ...base?.own,
      groups: rest.map(({ own, parameters }) => ({
        ...own,
        parameters: (n) => parameters.includes(n),
      })),
    });
    try {
      core.load(bytes);
    } catch (error) {
      core.dispose();
      for (const cell of cells.values()) cell.dispose();
      throw error;
    }
    this.dispose();
    this.#core = core;
    this.#home = tf.getBackend();
    this.#cells.clear();
    for (const [name, cell] of cells) this.#cells.set(name, cell);
  }

  /** What lies on tfjs' webgpu backend can't be trusted to come over when another one becomes active. */
  #checkBackend(): void {
    const now = tf.getBackend();
    if (this.#home === 'webgpu' && now !== this.#home && this.#cells.size > 0) {
      throw new StateError(
        'wrong-backend',
        `The backend is '${now}', and the state lies on '${this.#home}', which can't be read at once; call saveCheckpoint() before tf.setBackend, and loadCheckpoint() after it.`,
        'backend',
        now,
      );
    }
    this.#home = now;
  }

  /** The parameter names of these variables, which get a state when they are met for the first time. */
  #meet(variables: readonly tf.Variable[]): string[] {
    this.#checkBackend();
    const known = new Map<tf.Variable, string>();
    const waiting: string[] = [];
    for (const [name, { variable }] of this.#cells) {
      if (!variable) waiting.push(name);
      else if (!variable.isDisposed) known.set(variable, name);
    }
    const strangers = variables.filter((variable) => !known.has(variable));
    const matches = matchVariables(waiting, strangers);
    for (const [name, variable] of matches) {
      const cell = this.#cells.get(name)!;
      if (String(cell.get().shape) !== String(variable.shape)) continue;
      const same = tf.tidy(() => tf.all(tf.equal(cell.get(), variable)).dataSync()[0] === 1);
      const before = same ? undefined : tf.keep(tf.clone(cell.get()));
      cell.bind(variable);
      if (before) {
        this.#core.adoptParameter(name, before);
        before.dispose();
      }
      known.set(variable, name);
    }
    for (const variable of strangers) {
      if (known.has(variable)) continue;
      const { name } = variable;
      // The name may be that of a variable that is gone, with a state that no longer belongs to any.
      if (this.#cells.has(name)) {
        this.#core.removeParameter(name);
        this.#cells.get(name)!.dispose();
      }
      const cell = new VariableCell({ variable });
      this.#core.addCell(name, cell);
      this.#cells.set(name, cell);
      known.set(variable, name);
    }
    this.#noticeWrites();
    return variables.map((variable) => known.get(variable)!);
  }

  /** Where somebody assigned to a variable, x, y and z all move by what the value moved. */
  #noticeWrites(): void {
    this.#checkBackend();
    for (const [name, cell] of this.#cells) {
      const before = cell.overwritten;
      if (!before || cell.variable!.isDisposed) continue;
      this.#core.adoptParameter(name, before);
      cell.bind(cell.variable!);
    }
  }
}

/** Room for parameters of these shapes, until they are in variables. */
const placesOf = (shapes: Iterable<readonly [string, { readonly shape: readonly number[] }]>) =>
  new Map<string, Place>(
    Array.from(shapes, ([name, { shape }]) => [name, { held: tf.keep(tf.zeros([...shape])) }]),
  );

/** Pairs stored names with variables: by name, or by name but for a loader's suffix if that is unique. */
function matchVariables(
  names: readonly string[],
  variables: readonly tf.Variable[],
): Map<string, tf.Variable> {
  const matches = new Map<string, tf.Variable>();
  const exact = new Map(variables.map((variable) => [variable.name, variable]));
  for (const name of names) {
    const stem = withoutSuffix(name);
    const candidates = variables.filter((variable) => withoutSuffix(variable.name) === stem);
    const found = exact.get(name) ?? (candidates.length === 1 ? candidates[0] : undefined);
    if (found) matches.set(name, found);
  }
  return matches;
}

tf.serialization.registerClass(ScheduleFreeAdanOptimizer);
