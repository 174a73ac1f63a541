import type {
  Backend,
  Dtype,
  FloatArray,
  Metrics,
  OptimizerOptions,
} from '@schedule-free-adan/core';

/** A parameter as the suite asks for it. Values are exact in float32. */
export interface ParameterSpec {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: FloatArray;
}

/** What the suite asks a target to make. */
export interface SubjectSpec {
  readonly parameters: readonly ParameterSpec[];
  readonly options: Omit<OptimizerOptions, 'placement'>;
}

/** Values by parameter name. */
export type Values = Readonly<Record<string, FloatArray>>;

/**
 * The thing a user holds: an optimizer with its parameters, and a way to get numbers in and out of
 * its tensors. Everything the suite knows of x, y, z and the moments, it learns through this.
 */
export interface Subject<T = unknown> {
  /** A tensor of these values (row-major), for a gradient. */
  upload(values: FloatArray, shape: readonly number[]): T;
  /** The values of such a tensor. */
  download(tensor: T): Promise<FloatArray>;
  /** The suite is done with such a tensor. */
  free(tensor: T): void;
  /** A tensor of this shape whose dtype can't be a gradient's; left out where there is none. */
  foreign?(shape: readonly number[]): T;

  /** Gradients at y; the tensors stay the suite's. */
  step(gradients: Readonly<Record<string, T | null>>): void | Promise<void>;
  /** x of every parameter. */
  evalParameters(): Promise<Values>;
  /** y of every parameter. */
  trainParameters(): Promise<Values>;
  /** What the parameters hold just now. */
  parameters(): Promise<Values>;
  /** Parameters hold y from now on. */
  train(): void;
  /** Parameters hold x from now on. */
  eval(): void;
  /** Runs `fn` with x in the parameters, and restores them. */
  withEvalParameters<R>(fn: () => R): R;
  /** @param group 0 is the default group, the rest as the options list them */
  setLearningRate(value: number, group: number): void;
  /** Resets the moments. */
  restart(): void;
  metrics(): Promise<Metrics>;
  /** The training state as a checkpoint of the core's format. */
  save(): Promise<Uint8Array>;
  /** Goes on from a checkpoint, of whatever backend. */
  load(checkpoint: Uint8Array): void | Promise<void>;
  /** Frees everything. Again is harmless. */
  dispose(): void;
  /** Tensors (or bytes) alive now that this subject, or the suite through it, has made. */
  liveMemory(): number;
}

/** What is checked: how to make subjects, and what is known about them. */
export interface Target {
  readonly name: string;
  /** Of its tensors: decides how large an ulp is. */
  readonly dtype: Dtype;
  /** Makes a subject; called anew for every check. */
  create(spec: SubjectSpec): Subject | Promise<Subject>;
  /** The primitives, where there are any: they get a tier of their own. */
  readonly backend?: () => Backend<unknown> | Promise<Backend<unknown>>;
  /** The same subject with the fused step replaced by the composed one. */
  readonly composed?: (spec: SubjectSpec) => Subject | Promise<Subject>;
  /** Checks, by id, that this target can't take, with the reason. Reported as skipped. */
  readonly unsupported?: Readonly<Record<string, string>>;
  /**
   * Checks, by id, that are known to fail, with the reason. They run, are reported as skipped while
   * they fail, and fail the run once they pass.
   */
  readonly knownFailures?: Readonly<Record<string, string>>;
}
