import type { ParameterCell } from '@schedule-free-adan/core';
import type { Tensor, Variable } from '@tensorflow/tfjs-core';

/** Where a parameter is: in a variable, or in a tensor that the cell then owns. */
export type Place = { readonly variable: Variable } | { readonly held: Tensor };

/**
 * A parameter that lives in a tf.Variable; or, until the variable of a loaded state has been met, in a
 * tensor of its own.
 */
export class VariableCell implements ParameterCell<Tensor> {
  #variable: Variable | undefined;
  #held: Tensor | undefined;
  #dataId: object | undefined;

  constructor(place: Place) {
    if ('variable' in place) this.bind(place.variable);
    else this.#held = place.held;
  }

  get variable(): Variable | undefined {
    return this.#variable;
  }

  /** Whether somebody else has assigned to the variable. */
  get written(): boolean {
    return this.#variable !== undefined && this.#variable.dataId !== this.#dataId;
  }

  bind(variable: Variable): void {
    this.#held?.dispose();
    this.#held = undefined;
    this.#variable = variable;
    this.acknowledge();
  }

  /** Goes on in a variable, which gets the value that the cell holds. */
  moveTo(variable: Variable): void {
    variable.assign(this.get());
    this.bind(variable);
  }

  acknowledge(): void {
    this.#dataId = this.#variable?.dataId;
  }

  get(): Tensor {
    return this.#variable ?? this.#held!;
  }

  set(tensor: Tensor): void {
    if (this.#variable) {
      if (!this.#variable.isDisposed) this.#variable.assign(tensor);
      tensor.dispose();
      this.acknowledge();
    } else {
      this.#held?.dispose();
      this.#held = tensor;
    }
  }

  dispose(): void {
    this.#held?.dispose();
    this.#held = undefined;
  }
}
