import type { GroupHyperparameters } from './hyperparameters.js';
import type { Scalars } from './schedule.js';
import type { Algebra, ElementState, Placement, RuleForm } from './update-rule.js';

/** Values on their way in and out of tensors, row-major. */
export type FloatArray = Float32Array | Float64Array;
/** A precision that parameters may have. */
export type Dtype = 'float32' | 'float64';

/** What a backend tells of a tensor. `dtype` may be one that the backend can't train. */
export interface TensorInfo {
  /** Extents; `[]` is a scalar. */
  readonly shape: readonly number[];
  /** `'float32'` or `'float64'` where it can be trained. */
  readonly dtype: string;
  readonly disposed: boolean;
}

/**
 * The abstract tensor interface: all that an adapter must implement for a correct optimizer.
 *
 * Ownership, in one sentence: every method returns a new tensor that the caller disposes, and leaves
 * its arguments as they are. Shapes are arrays of extents; `[]` is a scalar. The arithmetic of
 * {@link Algebra} works element by element; one operand may be a scalar, which then meets every
 * element of the other.
 */
export interface Backend<T> extends Algebra<T> {
  /** Precision of every tensor that this backend makes. */
  readonly dtype: Dtype;
  /** A tensor of `shape` with `values` (row-major), rounded to {@link dtype}. Does not keep `values`. */
  upload(values: FloatArray, shape: readonly number[]): T;
  /** The values, row-major, as they are at the time of the call; the caller may write to them. */
  download(tensor: T): Promise<FloatArray>;
  /** The same at once, where the device can be read synchronously. Left out elsewhere. */
  readonly downloadSync?: ((tensor: T) => FloatArray) | undefined;
  /** A tensor of its own with the same values. */
  copy(tensor: T): T;
  /** Frees a tensor. {@link inspect} tells so afterwards. */
  dispose(tensor: T): void;
  /** What there is to know of a tensor without its values; works for disposed ones too. */
  inspect(tensor: T): TensorInfo;
  /** A scalar tensor. */
  constant(value: number): T;
  /** The smaller of two scalars. */
  minimum(a: T, b: T): T;
  /** Σ a², a scalar. */
  sumOfSquares(a: T): T;
  /** A scalar: 1 when no element is NaN or ±Infinity, else 0. */
  allFinite(a: T): T;
  /** A copy of `a` where the scalar `condition` is not 0, else a copy of `b`. */
  select(condition: T, a: T, b: T): T;
  /**
   * One of x and y, `to`, out of the other, `from`, and z: fused, for speed. Left out, the core
   * composes it.
   */
  readonly point?: ((from: T, z: T, momentum: number, to: Placement) => T) | undefined;
  /**
   * Takes one step over all entries: out of the primitives, `composedStep(this, request)` of
   * `@schedule-free-adan/core/rule`, or fused, for speed. Writes or replaces the tensors of each
   * entry's `state` and of `metrics`; disposes what it replaces, except the parameter.
   */
  step(request: StepRequest<T>): void;
}

/** A parameter group, as a step sees it. */
export interface StepGroup {
  readonly hyperparameters: GroupHyperparameters;
  /** Counters and averaging weights, this step counted in. */
  readonly scalars: Scalars;
}

/** A parameter that has a gradient in a step. */
export interface StepEntry<T> {
  readonly name: string;
  /** Which tensors `state` has, and the variant of the rule. */
  readonly form: RuleForm;
  /**
   * The parameter's group, this step counted in; the same object for every parameter of the group.
   * `coefficients(group)` of the rule makes numbers of it.
   */
  readonly group: StepGroup;
  /**
   * Assigning `state.parameter` hands the tensor over: whoever owns the parameter disposes the old
   * one.
   */
  readonly state: ElementState<T>;
  /** Raw gradient at y. Must not be written to. */
  readonly gradient: T;
}

/** All that a backend is asked for in one step. */
export interface StepRequest<T> {
  /** The parameters that have a gradient in this step. Others keep everything. */
  readonly entries: readonly StepEntry<T>[];
  /** Clip the gradients of all entries together to this 2-norm; 0 = do not clip. */
  readonly maxGradNorm: number;
  /** Guards the division by the norm: s = min(1, maxGradNorm / (norm + epsilon)). */
  readonly epsilon: number;
  /** Leave every state as it is when a gradient holds NaN or ±Infinity. */
  readonly skipNonFinite: boolean;
  /** Where the step reports; scalars to be written or replaced. */
  readonly metrics: StepMetrics<T>;
}

/** Scalars that a step updates and nobody waits for. */
export interface StepMetrics<T> {
  /** 2-norm of all gradients before clipping. Left as it is when not clipping. */
  gradientNorm: T;
  /** The factor s on every gradient. Left as it is when not clipping. */
  clipFactor: T;
  /** How many steps were skipped so far. Left as it is unless `skipNonFinite`. */
  skippedSteps: T;
}
