import {
  type ErrorCode,
  ParameterError,
  ScheduleFreeAdanError,
  StateError,
} from '@schedule-free-adan/core';

export type OnnxErrorCode =
  | 'invalid-onnx'
  | 'unsupported-model'
  | 'unsupported-operator'
  | 'unknown-value'
  | 'wrong-shape'
  | 'wrong-dtype'
  | 'missing-external-data'
  | 'missing-feed'
  | 'unknown-feed'
  | 'invalid-option';

/** A model that can't be used: `subject` names the value, node or option in it. */
export class OnnxModelError extends ScheduleFreeAdanError {
  override name = 'OnnxModelError';
  declare readonly code: OnnxErrorCode;
}

export function refuse(
  code: OnnxErrorCode,
  message: string,
  subject?: string,
  value?: unknown,
): never {
  throw new OnnxModelError(code, message, subject, value);
}

/** The same for what the other backends have as well: parameters, and tensors that are given. */
export function refuseParameter(
  code: ErrorCode,
  message: string,
  name: string,
  value?: unknown,
): never {
  throw new ParameterError(code, message, name, value);
}

/** For who uses what is gone. */
export function disposed(what: string, name?: string): never {
  throw new StateError('disposed', `${what} was disposed.`, name);
}

/** An error that says by itself what is wrong. */
export const isOwn = (error: unknown) => error instanceof ScheduleFreeAdanError;

/** Bytes that are no ONNX model, or a model that can't be written. */
export class OnnxFormatError extends ScheduleFreeAdanError {
  override name = 'OnnxFormatError';
  declare readonly code: 'invalid-onnx';
  constructor(
    why: string,
    /** Where in the file it shows; -1 when writing. */
    readonly offset: number,
    subject?: string,
    value?: unknown,
  ) {
    const where = offset < 0 ? '' : ` at byte ${offset}`;
    super('invalid-onnx', `Not an ONNX model: ${why}${where}.`, subject, value);
  }
}
