import type { Backend, ParameterState, StepMetrics, StepRequest } from './backend.js';
import type { CoefficientName, Coefficients } from './schedule.js';
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
    algebra,
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
export function coefficientTensors<T>(
  coefficients: Coefficients,
  constant: (value: number) => T,
): Coefficients<T> {
  const entries = Object.entries(coefficients).map(([name, value]) => [name, constant(value)]);
  return Object.fromEntries(entries) as Record<CoefficientName, T>;
}

/** One step out of a backend's primitives: correct everywhere, and what a fused step must equal. */
export function composedStep<T>(backend: Backend<T>, request: StepRequest<T>): void {
  const { entries, metrics } = request;
  const scope = temporaries(backend);
  const { add, sub, div, sqrt } = scope.algebra;
  const one = scope.constant(1);
  const report = (key: keyof StepMetrics<T>, value: T) => {
    backend.dispose(metrics[key]);
    metrics[key] = scope.keep(value);
  };

  let clip: T | undefined;
  if (request.maxGradNorm > 0) {
    let sum = scope.constant(0);
    for (const { gradient } of entries) sum = add(sum, scope.note(backend.sumOfSquares(gradient)));
    const norm = sqrt(sum);
    const limit = scope.constant(request.maxGradNorm);
    const ratio = div(limit, add(norm, scope.constant(request.epsilon)));
    clip = scope.note(backend.minimum(one, ratio));
    report('gradientNorm', norm);
    report('clipFactor', scope.note(backend.copy(clip)));
  }
  let finite: T | undefined;
  if (request.skipNonFinite) {
    finite = one;
    for (const { gradient } of entries) {
      finite = scope.note(backend.minimum(finite, scope.note(backend.allFinite(gradient))));
    }
    report('skippedSteps', add(metrics.skippedSteps, sub(one, finite)));
  }

  const constants = new Map<Coefficients, Coefficients<T>>();
  for (const { form, coefficients, state, gradient } of entries) {
    const c = constants.get(coefficients) ?? coefficientTensors(coefficients, scope.constant);
    constants.set(coefficients, c);
    const inner = temporaries(backend);
    const clipped = clip ? inner.algebra.mul(gradient, clip) : inner.note(backend.copy(gradient));
    const current: ElementState<T> = { ...state, parameter: state.parameter };
    if (form.gradientDifference) {
      current.g = inner.note(backend.select(state.seen!, state.g!, clipped));
    }
    const next: ParameterState<T> = updateRule(inner.algebra, form, c, current, clipped);
    const keys: (keyof ParameterState<T>)[] = stateKeys(form);
    if (form.gradientDifference) {
      next.seen = inner.note(backend.copy(one));
      keys.push('seen');
    }
    for (const key of keys) {
      const old = state[key]!;
      state[key] = finite ? backend.select(finite, next[key]!, old) : inner.keep(next[key]!);
      if (key !== 'parameter') backend.dispose(old);
    }
    inner.release();
  }
  scope.release();
}
