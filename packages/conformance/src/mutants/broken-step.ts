import type { StepEntry, StepRequest } from '@schedule-free-adan/core';
import { ReferenceBackend, type ReferenceTensor } from '@schedule-free-adan/core/reference';

export type Request = StepRequest<ReferenceTensor>;
export type Entry = StepEntry<ReferenceTensor>;
export type Step = (request: Request) => void;

/** The reference backend with its step replaced by one that is built on it, and wrong. */
export class BrokenBackend extends ReferenceBackend {
  readonly #broken: (correct: Step) => Step;
  constructor(broken: (correct: Step) => Step) {
    super();
    this.#broken = broken;
  }
  override step(request: Request): void {
    this.#broken((correct) => super.step(correct))(request);
  }
}

/** Changes the coefficients of every entry. */
export const withCoefficients =
  (change: (c: Entry['coefficients'], entry: Entry) => Partial<Entry['coefficients']>) =>
  (correct: Step): Step =>
  (request) =>
    correct({
      ...request,
      entries: request.entries.map((entry) => ({
        ...entry,
        coefficients: { ...entry.coefficients, ...change(entry.coefficients, entry) },
      })),
    });

/** Runs something around the correct step for every entry. */
export const around =
  (wrap: (entry: Entry, request: Request) => (() => void) | undefined) =>
  (correct: Step): Step =>
  (request) => {
    const afterwards = request.entries.map((entry) => wrap(entry, request));
    correct(request);
    for (const after of afterwards) after?.();
  };
