import { OptionError } from './errors.js';

/** Where decoupled weight decay acts; see {@link GroupHyperparameters.decay}. */
export type Decay = 'y' | 'z' | 'prox';
/** What a step does whose gradients hold NaN or ±Infinity. */
export type NonFinitePolicy = 'skip' | 'throw' | 'ignore';

/** Hyperparameters that each parameter group may set for itself. */
export interface GroupHyperparameters {
  /** Step size γ, in units of the parameters. Default 0.01. May change from step to step. */
  readonly learningRate: number;
  /**
   * β of Schedule-Free: gradients are taken at y = βx + (1−β)z. 0 < β ≤ 1, default 0.9.
   * Not Adan's β1. (arXiv 2405.15682, eq. 1)
   */
  readonly momentum: number;
  /**
   * Decay rates of Adan's three moments, as in code (0.92 keeps 92 % of the old value): gradient,
   * gradient difference, squared Nesterov gradient. Each in [0, 1). Default [0, 0.92, 0.99] under
   * Schedule-Free, whose averaging takes the first moment's place; [0.98, 0.92, 0.99] for plain
   * Adan. (arXiv 2208.06677, algorithm 1)
   */
  readonly betas: readonly [number, number, number];
  /** Added to the root of the second moment, in units of the gradient. > 0, default 1e-8. */
  readonly epsilon: number;
  /** Decoupled weight decay λ, per unit of learning rate. ≥ 0, default 0. */
  readonly weightDecay: number;
  /**
   * `'y'`: z − γλy, Schedule-Free's own form and the default. `'z'`: (1−γλ)z, AdamW's form.
   * `'prox'`: divided by 1 + γλ, Adan's own form and the default of plain Adan.
   */
  readonly decay: Decay;
  /** Steps in which the learning rate grows linearly from 0. Integer ≥ 0, default 0. */
  readonly warmupSteps: number;
  /** Power of the step number in the averaging weight t^r · γmax^p. ≥ 0, default 0. */
  readonly r: number;
  /** Power p of the largest learning rate so far in the averaging weight. ≥ 0, default 2. */
  readonly weightLrPower: number;
}

/** Hyperparameters of the whole optimizer, with the defaults of its groups. */
export interface Hyperparameters extends GroupHyperparameters {
  /** Clip all gradients together to this global 2-norm. ≥ 0, default 0: no clipping. */
  readonly maxGradNorm: number;
  /**
   * A step with NaN or ±Infinity in a gradient: `'skip'` (default) changes no parameter, `'throw'`
   * skips and throws, `'ignore'` does not look.
   */
  readonly nonFinite: NonFinitePolicy;
  /** `false`: plain Adan, no averaging. Default `true`. */
  readonly scheduleFree: boolean;
}

/** What a user writes: any subset; the rest takes its default. */
export type HyperparameterOptions = { readonly [K in keyof Hyperparameters]?: Hyperparameters[K] };

export const scheduleFreeDefaults: Hyperparameters = {
  learningRate: 0.01,
  momentum: 0.9,
  betas: [0, 0.92, 0.99],
  epsilon: 1e-8,
  weightDecay: 0,
  decay: 'y',
  warmupSteps: 0,
  r: 0,
  weightLrPower: 2,
  maxGradNorm: 0,
  nonFinite: 'skip',
  scheduleFree: true,
};

export const adanDefaults: Hyperparameters = {
  ...scheduleFreeDefaults,
  momentum: 1,
  betas: [0.98, 0.92, 0.99],
  decay: 'prox',
  scheduleFree: false,
};

export const optimizerWide = ['maxGradNorm', 'nonFinite', 'scheduleFree'] as const;

const number = (test: (v: number) => boolean) => (v: unknown) =>
  typeof v === 'number' && Number.isFinite(v) && test(v);
const nonNegative = [number((v) => v >= 0), 'a finite number ≥ 0'] as const;
const oneOf = (...values: unknown[]) =>
  [(v: unknown) => values.includes(v), values.map((v) => JSON.stringify(v)).join(' or ')] as const;

const rules: Record<keyof Hyperparameters, readonly [(v: unknown) => boolean, string]> = {
  learningRate: nonNegative,
  momentum: [
    number((v) => v > 0 && v <= 1),
    'a number with 0 < momentum ≤ 1 (at 0 the training point y is z and holds no trace of the average x)',
  ],
  betas: [
    (v) => Array.isArray(v) && v.length === 3 && v.every(number((b) => b >= 0 && b < 1)),
    'three numbers in [0, 1)',
  ],
  epsilon: [number((v) => v > 0), 'a finite number > 0'],
  weightDecay: nonNegative,
  decay: oneOf('y', 'z', 'prox'),
  warmupSteps: [number((v) => v >= 0 && Number.isInteger(v)), 'an integer ≥ 0'],
  r: nonNegative,
  weightLrPower: nonNegative,
  maxGradNorm: nonNegative,
  nonFinite: oneOf('skip', 'throw', 'ignore'),
  scheduleFree: oneOf(true, false),
};

const show = (value: unknown) =>
  Object.is(value, -0) ? '-0' : (JSON.stringify(value) ?? String(value));

/** Throws an {@link OptionError} unless `value` is allowed for the hyperparameter `name`. */
export function checkHyperparameter(name: string, value: unknown, where = ''): void {
  const rule = Object.hasOwn(rules, name) ? rules[name as keyof Hyperparameters] : undefined;
  if (!rule) {
    throw new OptionError(
      'unknown-option',
      `Unknown option '${name}'${where}. Options are ${Object.keys(rules).join(', ')}.`,
      name,
      value,
    );
  }
  if (!rule[0](value)) {
    const given = typeof value === 'number' ? String(value) : show(value);
    throw new OptionError(
      'invalid-option',
      `${name}${where} is ${given}; give ${rule[1]}.`,
      name,
      value,
    );
  }
}

/**
 * Fills in defaults and validates.
 * @throws OptionError `unknown-option` or `invalid-option`, naming the option and its value.
 */
export function resolveHyperparameters(options: HyperparameterOptions = {}): Hyperparameters {
  const given: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue;
    checkHyperparameter(name, value);
    given[name] = name === 'betas' ? [...(value as readonly number[])] : value;
  }
  const resolved = {
    ...(options.scheduleFree === false ? adanDefaults : scheduleFreeDefaults),
    ...given,
  };
  checkCombination(resolved);
  return resolved;
}

/**
 * The hyperparameters of a group: those of the optimizer, with the group's own on top.
 * @throws OptionError also for an option that only the whole optimizer can have.
 */
export function resolveGroup(
  base: Hyperparameters,
  options: object,
  where: string,
): Hyperparameters {
  const group: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue;
    if ((optimizerWide as readonly string[]).includes(name)) {
      throw new OptionError(
        'invalid-option',
        `${name}${where} belongs to the whole optimizer; set it beside the groups.`,
        name,
        value,
      );
    }
    checkHyperparameter(name, value, where);
    group[name] = value;
  }
  const resolved = { ...base, ...group };
  checkCombination(resolved, where);
  return resolved;
}

function checkCombination(h: Hyperparameters, where = ''): void {
  if (!h.scheduleFree && h.decay === 'y') {
    throw new OptionError(
      'invalid-option',
      `decay${where} is "y", but plain Adan (scheduleFree: false) has no y; give "z" or "prox".`,
      'decay',
      h.decay,
    );
  }
  if (!h.scheduleFree && h.momentum !== 1) {
    throw new OptionError(
      'invalid-option',
      `momentum${where} is ${h.momentum}, but plain Adan (scheduleFree: false) does not average; leave it out.`,
      'momentum',
      h.momentum,
    );
  }
}
