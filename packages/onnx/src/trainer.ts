import {
  type Hyperparameters,
  type Metrics,
  type OptimizerOptions,
  ParameterError,
  ScheduleFreeAdanError,
  StateError,
} from '@schedule-free-adan/core';
import type { InferenceSession, Tensor } from 'onnxruntime-common';
import { type Carrying, carry } from './carried.js';
import type { DeviceOptimizerClass } from './device-form.js';
import { refuse } from './errors.js';
import { hostFeeds } from './gradients.js';
import { hybridForm } from './hybrid-form.js';
import { type Arena, arenaGroups } from './layout.js';
import { decodeModel, encodeModel } from './model/codec.js';
import type { Model } from './model/schema.js';
import { list, withFloatValues } from './model/tensors.js';
import {
  checkFeeds,
  type Feeds,
  type OrtModule,
  openRunner,
  type Runner,
  webgpuProvider,
} from './runtime.js';
import {
  arenaName,
  checkPrefix,
  diagnose,
  evaluationModelOf,
  forwardModelOf,
  type GradientModel,
  graphOf,
  type ModelParameter,
  plainOutputs,
  readParameters,
} from './training-model.js';

export interface OrtTrainerOptions extends GradientModel, Omit<OptimizerOptions, 'placement'> {
  /** The runtime: `import * as ort from 'onnxruntime-web'`, or from `'onnxruntime-node'`. */
  readonly ort: OrtModule;
  /** A model that computes loss and gradients, as a file or as {@link decodeModel} reads it. */
  readonly model: Uint8Array | Model;
  /**
   * The model that is evaluated and exported; its initializers have the parameters' names. Default:
   * `model` without its gradients.
   */
  readonly forward?: Uint8Array | Model;
  /**
   * `'hybrid'` (default): the runtime computes gradients, and a loop on the host takes the step.
   * `'graph'`: both are one model and one run.
   */
  readonly form?: 'hybrid' | 'graph';
  /** For the runtime's sessions: `executionProviders`, `graphOptimizationLevel` and so on. */
  readonly sessionOptions?: InferenceSession.SessionOptions;
  /** Begins every name that is added to a model. Default `adan/`. */
  readonly prefix?: string;
  /** Lets `step` freeze parameters in the form `graph`, whose graph grows by it. Hybrid always can. */
  readonly freezable?: boolean;
  /**
   * For the form hybrid with onnxruntime-web's webgpu provider: `WebGpuAdan` of
   * `@schedule-free-adan/webgpu`, which then steps the parameters where they are. Nothing of them
   * crosses to the host.
   */
  readonly webgpu?: DeviceOptimizerClass | undefined;
}

export interface StepOptions {
  /** Parameters that keep everything in this step, as if they had no gradient. */
  readonly frozen?: Iterable<string>;
}

export interface StepResult {
  readonly loss: number;
  /** The model's outputs but the gradients; of the last batch. */
  readonly outputs: Readonly<Record<string, Tensor>>;
}

/** What the forms share: everything that a step needs and a trainer has. */
export interface Context extends Required<GradientModel> {
  readonly ort: OrtModule;
  readonly source: Model;
  readonly parameters: readonly ModelParameter[];
  /** What a step tells: the outputs of the model but the gradients. */
  readonly outputs: readonly string[];
  readonly options: Omit<OptimizerOptions, 'placement'>;
  readonly sessionOptions: InferenceSession.SessionOptions;
  readonly prefix: string;
  readonly freezable: boolean;
  readonly carrying?: Carrying;
}

/** One of the ways to take a step. Calls come one after the other. */
export interface Form {
  /** What the trainer passes on. */
  readonly optimizer: {
    readonly groups: readonly { learningRate: number; readonly hyperparameters: Hyperparameters }[];
    restart(): void | Promise<void>;
    metrics(): Promise<Metrics>;
    load(checkpoint: Uint8Array): void | Promise<void>;
  };
  /** Session whose inputs are the user's feeds. */
  readonly runner: Runner;
  step(batches: readonly Feeds[], frozen: ReadonlySet<string>): Promise<StepResult>;
  /** Where parameters lie, in the model that is evaluated. */
  readonly arenas: readonly Arena[];
  points(which: 'x' | 'y'): Promise<Record<string, Float32Array>>;
  /** x, as the inputs of the model that is evaluated, where that is not on the host. */
  evaluationFeeds?(): Feeds;
  save(): Promise<Uint8Array>;
  /** Bytes of state. */
  readonly bytes: number;
  dispose(): Promise<void>;
}

const read = (model: Uint8Array | Model) =>
  model instanceof Uint8Array ? decodeModel(model) : model;

/**
 * Trains a model that computes its own gradients, in ONNX Runtime. Calls may overlap: each waits for
 * those before it.
 */
export class OrtTrainer {
  #queue: Promise<unknown> = Promise.resolve();
  #disposed = false;
  #evaluation: Runner | undefined;

  readonly #context: Context;
  readonly #form: Form;
  readonly #forward: Model;

  private constructor(context: Context, form: Form, forward: Model) {
    this.#context = context;
    this.#form = form;
    this.#forward = forward;
  }

  /**
   * @throws OnnxFormatError, OnnxModelError for a model that does not fit; OptionError, ParameterError
   * as from the optimizer of the core.
   */
  static async create({
    ort,
    model,
    loss,
    gradients,
    carried = {},
    averaged = {},
    forward,
    form = 'hybrid',
    sessionOptions = {},
    prefix = 'adan/',
    freezable = false,
    webgpu,
    ...options
  }: OrtTrainerOptions): Promise<OrtTrainer> {
    if (form !== 'hybrid' && form !== 'graph') {
      const message = `form is ${JSON.stringify(form)}; give "hybrid" or "graph".`;
      refuse('invalid-option', message, 'form', form);
    }
    const given = read(model);
    const of = { loss, gradients, carried, averaged };
    const parameters = readParameters(given, of);
    checkPrefix(given, prefix);
    let context: Context = {
      ...of,
      ort,
      source: given,
      parameters,
      outputs: plainOutputs(graphOf(given), of).map(({ name = '' }) => name),
      options,
      sessionOptions,
      prefix,
      freezable,
    };
    if (form === 'hybrid' && !webgpu && webgpuProvider(sessionOptions)) {
      const message =
        "A hybrid on webgpu steps on the device; give webgpu: WebGpuAdan of '@schedule-free-adan/webgpu', or form: 'graph'.";
      refuse('invalid-option', message, 'webgpu');
    }
    const arenas = arenaGroups(parameters, options);
    const forwardModel = forward ? read(forward) : forwardModelOf(given, of);
    if (Object.keys(carried).length > 0) {
      const carrying = carry(context);
      context = { ...context, carrying, source: carrying.model };
    }
    let started: Form;
    // Bundlers put the other forms into files of their own: whoever has none never loads it.
    if (form === 'graph') {
      const { GraphForm } = await import('./graph-form.js');
      started = await GraphForm.create(context, arenas);
    } else if (webgpu) {
      const { deviceForm } = await import('./device-form.js');
      started = await deviceForm(context, webgpu);
    } else {
      started = await hybridForm(context, arenas);
    }
    return new OrtTrainer(context, started, forwardModel);
  }

  #alive(): void {
    if (this.#disposed) throw new StateError('disposed', 'This trainer was disposed.');
  }

  /** Runs when everything before has come to an end, well or not. What fails carries nothing on. */
  #next<R>(run: () => Promise<R> | R): Promise<R> {
    const result = this.#queue.then(async () => {
      this.#alive();
      const restore = this.#context.carrying?.mark();
      try {
        return await run();
      } catch (error) {
        restore?.();
        throw error;
      }
    });
    this.#queue = result.catch(() => {});
    return result;
  }

  get parameterNames(): readonly string[] {
    return this.#context.parameters.map(({ name }) => name);
  }

  /** The parameter groups; the learning rate of each may be set before any step. */
  get groups(): Form['optimizer']['groups'] {
    this.#alive();
    return this.#form.optimizer.groups;
  }

  /** Bytes that the training state takes. 0 after {@link dispose}. */
  get stateBytes(): number {
    const { carrying } = this.#context;
    return this.#disposed ? 0 : this.#form.bytes + 4 * (carrying?.arena.length ?? 0);
  }

  /**
   * One step on a batch; or on several, whose gradients are averaged. Gradients are taken at y.
   * @throws OnnxModelError `missing-feed`, `unknown-feed`, or `wrong-shape` for a gradient of another
   * size than its parameter's; ParameterError `wrong-shape`, `wrong-dtype`,
   * `unknown-parameter`; StateError `disposed`; NonFiniteError, see `nonFinite`
   */
  step(feeds: Feeds | readonly Feeds[], { frozen = [] }: StepOptions = {}): Promise<StepResult> {
    const batches = Array.isArray(feeds) ? (feeds as readonly Feeds[]) : [feeds as Feeds];
    const names = new Set(frozen);
    return this.#next(async () => {
      const { parameterNames } = this;
      for (const name of names) {
        if (parameterNames.includes(name)) continue;
        const message = `'${name}' is no parameter; there is ${list(parameterNames)}.`;
        throw new ParameterError('unknown-parameter', message, name);
      }
      if (batches.length === 0) {
        refuse('missing-feed', 'No batch was given; pass at least one.', 'feeds');
      }
      for (const batch of batches) this.#check(batch, this.#form.runner);
      try {
        return await this.#form.step(batches, names);
      } catch (error) {
        if (!(error instanceof ScheduleFreeAdanError)) await diagnose(this.#context, batches);
        throw error;
      }
    });
  }

  #check(feeds: Feeds, runner: Runner): void {
    checkFeeds(feeds, runner, this.#context.prefix);
  }

  /** What an evaluation reads from: parameters, and what is carried. */
  get #arenas(): readonly Arena[] {
    return [this.#form.arenas, this.#context.carrying?.arena ?? []].flat();
  }

  /** x and what is carried, as inputs of a model with these arenas. */
  async #x(): Promise<Feeds> {
    const context = this.#context;
    const { arenas } = this.#form;
    const x =
      this.#form.evaluationFeeds?.() ?? hostFeeds(context, arenas, await this.#form.points('x'));
    return { ...x, ...context.carrying?.feeds(arenaName(context.prefix, arenas.length)) };
  }

  /** Runs the forward model at x. Changes nothing. */
  evaluate(feeds: Feeds): Promise<Readonly<Record<string, Tensor>>> {
    return this.#next(async () => {
      const context = this.#context;
      this.#evaluation ??= await openRunner(
        context,
        evaluationModelOf(this.#forward, this.#arenas, context.prefix),
      );
      this.#check(feeds, this.#evaluation);
      return this.#evaluation.run(feeds, await this.#x());
    });
  }

  /**
   * Sets running statistics to their mean over these batches, with the model in training form at x. Those
   * of the steps are of y, while a model is evaluated at x: call this before you evaluate, export or save.
   * Inputs that only the loss reads may be left out.
   * @returns how many batches there were; without any, nothing changes
   * @throws OnnxModelError, ParameterError as from {@link evaluate}
   */
  recalibrate(batches: Iterable<Feeds> | AsyncIterable<Feeds>): Promise<number> {
    return this.#next(
      async () => this.#context.carrying?.recalibrate(batches, this.#arenas, await this.#x()) ?? 0,
    );
  }

  /** x of every parameter, as copies. */
  evalParameters(): Promise<Record<string, Float32Array>> {
    return this.#next(() => this.#form.points('x'));
  }

  /** y of every parameter, as copies. */
  trainParameters(): Promise<Record<string, Float32Array>> {
    return this.#next(() => this.#form.points('y'));
  }

  /** The forward model with x and running statistics in its initializers; all else as it was, to the byte. */
  exportModel(): Promise<Uint8Array> {
    return this.#next(async () => {
      const x = { ...(await this.#form.points('x')), ...this.#context.carrying?.named() };
      const { graph } = this.#forward;
      const initializer = (graph?.initializer ?? []).map((tensor) => {
        const values = x[tensor.name ?? ''];
        return values ? withFloatValues(tensor, values) : tensor;
      });
      return encodeModel({ ...this.#forward, graph: { ...graph, initializer } });
    });
  }

  /** Resets the moments, and keeps x, y, z and the averaging weights (Adan's restart). */
  restart(): Promise<void> {
    return this.#next(() => this.#form.optimizer.restart());
  }

  metrics(): Promise<Metrics> {
    return this.#next(() => this.#form.optimizer.metrics());
  }

  /**
   * The training state as a safetensors file, the same for every backend; what the model carries is in it
   * as tensors that the others pass by.
   */
  save(): Promise<Uint8Array> {
    return this.#next(async () => {
      const checkpoint = await this.#form.save();
      return this.#context.carrying?.save(checkpoint) ?? checkpoint;
    });
  }

  /**
   * Goes on from a checkpoint, of whatever backend and form. Running statistics that it lacks stay.
   * @throws CheckpointError, ParameterError. Nothing has changed then.
   */
  load(checkpoint: Uint8Array): Promise<void> {
    return this.#next(() => {
      this.#context.carrying?.load(checkpoint);
      return this.#form.optimizer.load(checkpoint);
    });
  }

  /** Frees state and sessions once what runs has ended. Again is harmless. */
  async dispose(): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    await this.#queue;
    await this.#form.dispose();
    await this.#evaluation?.release();
  }
}
