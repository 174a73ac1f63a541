/** What went wrong, as a stable machine-readable string. An adapter may add its own. */
export type ErrorCode =
  | 'unknown-option'
  | 'invalid-option'
  | 'duplicate-parameter'
  | 'unknown-parameter'
  | 'missing-parameter'
  | 'wrong-shape'
  | 'wrong-dtype'
  | 'disposed'
  | 'wrong-mode'
  | 'non-finite-gradient'
  | 'invalid-checkpoint'
  | 'unsupported-checkpoint'
  | 'unsupported-backend';

/**
 * Base of every error that this library throws. The message says what was given and what to do
 * instead; `subject` is the name of the offending option, parameter or tensor, `value` what it was.
 */
export class ScheduleFreeAdanError extends Error {
  override name = 'ScheduleFreeAdanError';
  constructor(
    /** What went wrong, for programs. */
    readonly code: ErrorCode | (string & {}),
    message: string,
    /** The name of what is at fault: an option, a parameter, a tensor of a checkpoint. */
    readonly subject?: string,
    /** What its value was. */
    readonly value?: unknown,
  ) {
    super(message);
  }
}

/** An option that does not exist, or a value outside of its range. */
export class OptionError extends ScheduleFreeAdanError {
  override name = 'OptionError';
}

/** A parameter or gradient whose name, shape or dtype does not fit. */
export class ParameterError extends ScheduleFreeAdanError {
  override name = 'ParameterError';
}

/** A disposed optimizer or tensor, or a call that the present mode does not allow. */
export class StateError extends ScheduleFreeAdanError {
  override name = 'StateError';
}

/** A gradient with NaN or ±Infinity under `nonFinite: 'throw'`. Nothing was written. */
export class NonFiniteError extends ScheduleFreeAdanError {
  override name = 'NonFiniteError';
}

/** A checkpoint that is damaged, or belongs to something else. */
export class CheckpointError extends ScheduleFreeAdanError {
  override name = 'CheckpointError';
}
