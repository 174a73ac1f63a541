import type { Hyperparameters, Metrics, OptimizerOptions } from '@schedule-free-adan/core';
import type { InferenceSession, Tensor } from 'onnxruntime-common';
import { type Carrying, carry } from './carried.js';
import type { DeviceOptimizerClass } from './device-form.js';
import { disposed, isOwn, refuse, refuseParameter } from './errors.js';
import { hybridForm } from './hybrid-form.js';
import { type Arena, packed } from './layout.js';
import { decodeModel, encodeModel } from './model/codec.js';
import type { Model } from './model/schema.js';
import { list, withFloatValues } from './model/tensors.js';
import {
  type Feeds,
  type OrtModule,
  openRunner,
  type Runner,
  tensorOf,
  webgpuProvider,
} from './runtime.js';
import {
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

/**
 * What {@link OrtTrainer.create} takes: a model, how to train it, and the options of the optimizer
 * (`learningRate` and so on; one that is unknown or out of range is an OptionError).
 */
export interface OrtTrainerOptions extends GradientModel, Omit<OptimizerOptions, 'placement'> {
  /** The runtime: `import * as ort from 'onnxruntime-web'`, or from `'onnxruntime-node'`. */
  readonly ort: OrtModule;
  /**
   * A model that computes loss and gradients, as the bytes of an .onnx file (OnnxFormatError if they are
   * none) or as {@link decodeModel} reads it; of operator set 13 or later, or OnnxModelError
   * `unsupported-model`.
   */
  readonly model: Uint8Array | Model;
  /**
   * The model that is evaluated and exported; its initializers have the parameters' names and shapes, or
   * `evaluate` ends with OnnxModelError `wrong-shape`. Default: `model` without its gradients.
   */
  readonly forward?: Uint8Array | Model;
  /**
   * `'hybrid'` (default): the runtime computes gradients, and a loop on the host takes the step.
   * `'graph'`: both are one model and one run. Anything else is an OnnxModelError `invalid-option`.
   */
  readonly form?: 'hybrid' | 'graph';
  /**
   * For the runtime's sessions: `executionProviders`, `graphOptimizationLevel` and so on. Default: what the
   * runtime has.
   */
  readonly sessionOptions?: InferenceSession.SessionOptions;
  /**
   * Begins every name that is added to a model. Default `adan/`. If a value of the model begins so already,
   * or this is empty: OnnxModelError `invalid-option`.
   */
  readonly prefix?: string;
  /**
   * Lets `step` freeze parameters in the form `graph`, whose graph grows by it. Hybrid always can. Default
   * `false`.
   */
  readonly freezable?: boolean;
  /**
   * For the form hybrid with onnxruntime-web's webgpu provider: `WebGpuAdan` of
   * `@schedule-free-adan/webgpu`, which then steps the parameters where they are. Nothing of them
   * crosses to the host. One without the other is an OnnxModelError `invalid-option`.
   */
  readonly webgpu?: DeviceOptimizerClass | undefined;
}

/** Of one {@link OrtTrainer.step}. */
export interface StepOptions {
  /**
   * Names of parameters that keep everything in this step, as if they had no gradient. Default: none. In the
   * form `graph` only if the trainer was created `freezable`, or ParameterError `invalid-option`; for a name
   * that is none of them, ParameterError `unknown-parameter`.
   */
  readonly frozen?: Iterable<string>;
}

/** What one {@link OrtTrainer.step} tells. All of it is of the parameters before the step, at y. */
export interface StepResult {
  /** The loss in the model's own unit, as a number; of several batches the mean. */
  readonly loss: number;
  /**
   * The model's outputs but the gradients, by name and the loss among them, with the dtypes and shapes that the
   * model gives; of the last batch. They are yours.
   */
  readonly outputs: Readonly<Record<string, Tensor>>;
}

/** What the forms share: everything that a step needs and a trainer has. */
export interface Context extends Required<GradientModel> {
  readonly ort: OrtModule;
  /** The model that is trained. */
  readonly source: Model;
  /** The model that is evaluated and exported. */
  readonly forward: Model;
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

  private constructor(context: Context, form: Form) {
    this.#context = context;
    this.#form = form;
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
      forward: forward ? read(forward) : forwardModelOf(given, of),
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
    if (Object.keys(carried).length > 0) {
      const carrying = carry(context);
      context = { ...context, carrying, source: carrying.model };
    }
    let started: Form;
    // Bundlers put the other forms into files of their own: whoever has none never loads it.
    if (form === 'graph') {
      const { graphForm } = await import('./graph-form.js');
      started = await graphForm(context);
    } else if (webgpu) {
      const { deviceForm } = await import('./device-form.js');
      started = await deviceForm(context, webgpu);
    } else {
      started = await hybridForm(context);
    }
    return new OrtTrainer(context, started);
  }

  #alive(): void {
    if (this.#disposed) disposed('This trainer');
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
    const batches = [feeds].flat() as Feeds[];
    const names = new Set(frozen);
    return this.#next(async () => {
      const { parameterNames } = this;
      for (const name of names) {
        if (!parameterNames.includes(name)) {
          const message = `'${name}' is no parameter; there is ${list(parameterNames)}.`;
          refuseParameter('unknown-parameter', message, name);
        }
      }
      if (batches.length === 0) {
        refuse('missing-feed', 'No batch was given; pass at least one.', 'feeds');
      }
      try {
        return await this.#form.step(batches, names);
      } catch (error) {
        if (!isOwn(error)) await diagnose(this.#context, batches);
        throw error;
      }
    });
  }

  /** What an evaluation reads from: parameters, and what is carried. */
  get #arenas(): readonly Arena[] {
    return [this.#form.arenas, this.#context.carrying?.arena ?? []].flat();
  }

  /** x, as inputs of a model with these arenas. */
  async #x(): Promise<Feeds> {
    const form = this.#form;
    const feeds = form.evaluationFeeds?.();
    if (feeds) return feeds;
    const x = await form.points('x');
    return Object.fromEntries(
      form.arenas.map((arena) => {
        const values = arena.places.map(({ name }) => x[name]!);
        return [arena.name, tensorOf(this.#context, packed(arena, values))];
      }),
    );
  }

  /** Runs the forward model at x. Changes nothing. */
  evaluate(feeds: Feeds): Promise<Readonly<Record<string, Tensor>>> {
    return this.#next(async () => {
      const context = this.#context;
      this.#evaluation ??= await openRunner(
        context,
        evaluationModelOf(context.forward, this.#arenas, context.prefix),
      );
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
      const { carrying, forward } = this.#context;
      const x = { ...(await this.#form.points('x')), ...carrying?.named() };
      const { graph } = forward;
      const initializer = (graph?.initializer ?? []).map((tensor) => {
        const values = x[tensor.name ?? ''];
        return values ? withFloatValues(tensor, values) : tensor;
      });
      return encodeModel({ ...forward, graph: { ...graph, initializer } });
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
