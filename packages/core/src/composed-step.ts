import type { Backend, StepGroup, StepMetrics, StepRequest } from './backend.js';
import { type CoefficientName, type Coefficients, coefficients } from './coefficients.js';
import { type Algebra, type ElementState, stateKeys, updateRule } from './update-rule.js';

/** A backend's primitives, with every tensor they make remembered, and disposed unless kept. */
export function temporaries<T>(backend: Backend<T>) {
  const made = new Set<T>();
  const note = (tensor: T): T => {
    made.add(tensor);
    return tensor;
  };
  const algebra: Algebra<T> = {
    add: (a, b) => note(backend.add(a, b)),
    sub: (a, b) => note(backend.sub(a, b)),
    mul: (a, b) => note(backend.mul(a, b)),
    div: (a, b) => note(backend.div(a, b)),
    sqrt: (a) => note(backend.sqrt(a)),
  };
  return {
    ...algebra,
    note,
    constant: (value: number) => note(backend.constant(value)),
    keep: (tensor: T): T => {
      made.delete(tensor);
      return tensor;
    },
    release: () => {
      for (const tensor of made) backend.dispose(tensor);
    },
  };
}

/** Coefficients as the scalars of a backend. */
const coefficientTensors = <T>(values: Coefficients, constant: (value: number) => T) =>
  Object.fromEntries(
    Object.entries(values).map(([name, value]) => [name, constant(value)]),
  ) as Record<CoefficientName, T>;

/** One step out of a backend's primitives: correct everywhere, and what a fused step must equal. */
export function composedStep<T>(backend: Backend<T>, request: StepRequest<T>): void {
  const { entries, metrics, maxGradNorm } = request;
  const scope = temporaries(backend);
  const { constant, note } = scope;
  const one = constant(1);
  const report = (key: keyof StepMetrics<T>, value: T) => {
    backend.dispose(metrics[key]);
    metrics[key] = scope.keep(value);
  };

  let clip: T | undefined;
  if (maxGradNorm > 0) {
    let sum = constant(0);
    for (const { gradient } of entries) sum = scope.add(sum, note(backend.sumOfSquares(gradient)));
    const norm = scope.sqrt(sum);
    const ratio = scope.div(constant(maxGradNorm), scope.add(norm, constant(request.epsilon)));
    clip = note(backend.minimum(one, ratio));
    report('gradientNorm', norm);
    report('clipFactor', note(backend.copy(clip)));
  }
  let finite: T | undefined;
  if (request.skipNonFinite) {
    finite = one;
    for (const { gradient } of entries) {
      finite = note(backend.minimum(finite, note(backend.allFinite(gradient))));
    }
    report('skippedSteps', scope.add(metrics.skippedSteps, scope.sub(one, finite)));
  }

  const constants = new Map<StepGroup, Coefficients<T>>();
  for (const { form, group, state, gradient } of entries) {
    const c = constants.get(group) ?? coefficientTensors(coefficients(group), constant);
    constants.set(group, c);
    const inner = temporaries(backend);
    const clipped = clip ? inner.mul(gradient, clip) : inner.note(backend.copy(gradient));
    const current: ElementState<T> = { ...state, parameter: state.parameter };
    if (form.gradientDifference) {
      current.g = inner.note(backend.select(state.seen!, state.g!, clipped));
      current.seen = inner.note(backend.copy(one));
    }
    const next = updateRule(inner, form, c, current, clipped);
    for (const key of stateKeys(form)) {
      const old = state[key]!;
      state[key] = finite ? backend.select(finite, next[key]!, old) : inner.keep(next[key]!);
      if (key !== 'parameter') backend.dispose(old);
    }
    inner.release();
  }
  scope.release();
}
