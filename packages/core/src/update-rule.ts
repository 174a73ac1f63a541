import type { CoefficientName } from './coefficients.js';
import type { GroupHyperparameters } from './hyperparameters.js';

/**
 * The arithmetic that the rule is written in. With T = number it computes, with T = a tensor it
 * composes, with T = a string it prints a kernel.
 */
export interface Algebra<T> {
  /** a + b, as a new value; likewise the others. */
  add(a: T, b: T): T;
  sub(a: T, b: T): T;
  mul(a: T, b: T): T;
  div(a: T, b: T): T;
  sqrt(a: T): T;
  /** Told what the rule calls a value: a printer writes it down under that name. */
  name?(label: string, value: T): T;
}

/** Which of the two points a parameter holds between steps: see {@link updateRule}. */
export type Placement = 'x' | 'y';

/** The shape of the rule: what is known before any step, and decides which tensors exist. */
export interface RuleForm {
  /** Which of x and y the parameter holds. */
  readonly placement: Placement;
  /** `false`: plain Adan, without z. */
  readonly scheduleFree: boolean;
  /** β1 > 0: a first moment m is kept. */
  readonly firstMoment: boolean;
  /** β2 > 0: the moment v of gradient differences and the previous gradient are kept. */
  readonly gradientDifference: boolean;
  /** Where weight decay acts; `'none'` without any. */
  readonly decay: 'none' | 'y' | 'z' | 'prox';
}

/** The form that a group's hyperparameters ask for. */
export function ruleForm(
  h: GroupHyperparameters & { readonly scheduleFree: boolean },
  placement: Placement,
): RuleForm {
  return {
    placement,
    scheduleFree: h.scheduleFree,
    firstMoment: h.betas[0] > 0,
    gradientDifference: h.betas[1] > 0,
    decay: h.weightDecay > 0 ? h.decay : 'none',
  };
}

/**
 * Per-element state. `parameter` is x or y by placement (the only point for plain Adan), `z` the base
 * iterate, `m`, `v`, `n` Adan's moments, `g` the previous gradient, clipped.
 */
export interface ElementState<T> {
  parameter: T;
  z?: T;
  m?: T;
  v?: T;
  n: T;
  g?: T;
  /**
   * 1 once `g` holds a gradient, 0 before the first and after a restart: a scalar beside the tensors,
   * since a step may be skipped without the host's knowledge. The rule itself does not look at it.
   */
  seen?: T;
}

/** The name of a tensor of the state. */
export type StateKey = keyof ElementState<unknown>;

/** The tensors that a form keeps, in the order in which they are stored. */
export function stateKeys(form: RuleForm): StateKey[] {
  const keys: StateKey[] = ['parameter'];
  if (form.scheduleFree) keys.push('z');
  if (form.firstMoment) keys.push('m');
  if (form.gradientDifference) keys.push('v');
  keys.push('n');
  if (form.gradientDifference) keys.push('g', 'seen');
  return keys;
}

/**
 * Schedule-Free Adan for one element: Adan's direction (arXiv 2208.06677, algorithm 1) stepping
 * Schedule-Free's z, x and y (arXiv 2405.15682, eq. 1–3). The gradient is taken at y and clipped.
 *
 *     m = β1·m + (1−β1)·g    v = β2·v + (1−β2)·d    n = β3·n + (1−β3)·(g + β2·d)²    d = g − g₋₁
 *     u = (m/b1 + β2·v/b2) / (√(n/b3) + ε)          z' = z − γ·u, with decay
 *     x' = (1−c)·x + c·z'                            y' = β·x' + (1−β)·z'
 *
 * Two of x, y, z are stored: z, and the one that `form.placement` names. The first time that a
 * parameter has a gradient, and after a restart, the caller passes that gradient as `state.g`.
 * This is the only place where the formulas are written.
 */
export function updateRule<T>(
  { add, sub, mul, div, sqrt, name = (_, value) => value }: Algebra<T>,
  form: RuleForm,
  c: { readonly [K in CoefficientName]: T },
  state: ElementState<T>,
  gradient: T,
): ElementState<T> {
  const next: ElementState<T> = { ...state };
  let nesterov = gradient;
  let direction = gradient;
  if (form.firstMoment) {
    next.m = name('newM', add(mul(c.beta1, state.m!), mul(c.oneMinusBeta1, gradient)));
    direction = mul(c.scaleM, next.m);
  }
  if (form.gradientDifference) {
    const difference = name('difference', sub(gradient, state.g!));
    next.v = name('newV', add(mul(c.beta2, state.v!), mul(c.oneMinusBeta2, difference)));
    nesterov = name('nesterov', add(gradient, mul(c.beta2, difference)));
    direction = add(direction, mul(c.scaleV, next.v));
    next.g = gradient;
  }
  const square = mul(nesterov, nesterov);
  next.n = name('newN', add(mul(c.beta3, state.n), mul(c.oneMinusBeta3, square)));
  const scale = add(sqrt(mul(c.scaleN, next.n)), c.epsilon);
  direction = name('direction', div(direction, scale));

  const { parameter } = state;
  const z = form.scheduleFree ? state.z! : parameter;
  if (form.decay === 'y') {
    const y = form.placement === 'y' ? parameter : trainingPoint({ add, mul }, c, parameter, z);
    direction = add(direction, mul(c.decay, y));
  }
  const step = mul(c.stepSize, direction);
  let newZ = sub(form.decay === 'z' ? mul(c.decay, z) : z, step);
  if (form.decay === 'prox') newZ = mul(c.decay, newZ);
  newZ = name('newZ', newZ);

  if (!form.scheduleFree) return { ...next, parameter: newZ };
  next.z = newZ;
  next.parameter =
    form.placement === 'x'
      ? add(mul(c.keepAverage, parameter), mul(c.average, newZ))
      : add(add(mul(c.keepAverage, parameter), mul(c.average, z)), mul(c.follow, sub(newZ, z)));
  return next;
}

type Mix<T> = { readonly momentum: T; readonly oneMinusMomentum: T };

/** y = β·x + (1−β)·z, where gradients are taken. */
export function trainingPoint<T>(
  { add, mul }: Pick<Algebra<T>, 'add' | 'mul'>,
  c: Mix<T>,
  x: T,
  z: T,
): T {
  return add(mul(c.momentum, x), mul(c.oneMinusMomentum, z));
}

/** x = (y − (1−β)·z) / β, where the model is evaluated. */
export function evaluationPoint<T>(
  { sub, mul, div }: Pick<Algebra<T>, 'sub' | 'mul' | 'div'>,
  c: Mix<T>,
  y: T,
  z: T,
): T {
  return div(sub(y, mul(c.oneMinusMomentum, z)), c.momentum);
}
