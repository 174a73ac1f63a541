import type { StepEntry, StepRequest } from '@schedule-free-adan/core';
import { ReferenceBackend, type ReferenceTensor } from '@schedule-free-adan/core/reference';
import type { Coefficients } from '@schedule-free-adan/core/rule';

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

/** The reference backend with its coefficients changed. */
export class MisweighingBackend extends ReferenceBackend {
  readonly #change: Change;
  constructor(change: Change) {
    super();
    this.#change = change;
  }
  override coefficients(entry: Entry): Coefficients {
    const c = super.coefficients(entry);
    return { ...c, ...this.#change(c, entry) };
  }
}

export type Change = (c: Coefficients, entry: Entry) => Partial<Coefficients>;

/** Runs something around the correct step for every entry. */
export const around =
  (wrap: (entry: Entry, request: Request) => (() => void) | undefined) =>
  (correct: Step): Step =>
  (request) => {
    const afterwards = request.entries.map((entry) => wrap(entry, request));
    correct(request);
    for (const after of afterwards) after?.();
  };
