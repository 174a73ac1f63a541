import { OptionError } from './errors.js';

/** Where decoupled weight decay acts; see {@link GroupHyperparameters.decay}. */
export type Decay = 'y' | 'z' | 'prox';
/** What a step does whose gradients hold NaN or ±Infinity. */
export type NonFinitePolicy = 'skip' | 'throw' | 'ignore';

/** Hyperparameters that each parameter group may set for itself. */
export interface GroupHyperparameters {
  /** Step size γ, in units of the parameters. Default 0.03. May change from step to step. */
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

/** The defaults of Schedule-Free Adan. */
export const scheduleFreeDefaults: Hyperparameters = {
  learningRate: 0.03,
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

/** The defaults of plain Adan, `scheduleFree: false`. (arXiv 2208.06677) */
export const adanDefaults: Hyperparameters = {
  ...scheduleFreeDefaults,
  momentum: 1,
  betas: [0.98, 0.92, 0.99],
  decay: 'prox',
  scheduleFree: false,
};

type Range = readonly [test: (value: never) => boolean, allowed: string];

const isNumber = (value: unknown): value is number => Number.isFinite(value);
const isBeta = (value: unknown) => isNumber(value) && value >= 0 && value < 1;
const nonNegative: Range = [(v: unknown) => isNumber(v) && v >= 0, 'a finite number ≥ 0'];
const oneOf = (...values: unknown[]): Range => [
  (v: unknown) => values.includes(v),
  values.map((v) => JSON.stringify(v)).join(' or '),
];

const ranges: Readonly<Record<string, Range>> = {
  learningRate: nonNegative,
  momentum: [
    (v: unknown) => isNumber(v) && v > 0 && v <= 1,
    'a number in (0, 1]: at 0, y is z, and x is lost',
  ],
  betas: [
    (v: unknown) => Array.isArray(v) && v.length === 3 && v.every(isBeta),
    'three numbers in [0, 1)',
  ],
  epsilon: [(v: unknown) => isNumber(v) && v > 0, 'a finite number > 0'],
  weightDecay: nonNegative,
  decay: oneOf('y', 'z', 'prox'),
  warmupSteps: [(v: unknown) => Number.isInteger(v) && (v as number) >= 0, 'an integer ≥ 0'],
  r: nonNegative,
  weightLrPower: nonNegative,
  maxGradNorm: nonNegative,
  nonFinite: oneOf('skip', 'throw', 'ignore'),
  scheduleFree: oneOf(true, false),
};

function refuse(name: string, where: string, value: unknown, remedy: string): never {
  const shown = typeof value === 'number' ? value : JSON.stringify(value);
  const message = `${name}${where} is ${shown}; give ${remedy}.`;
  throw new OptionError('invalid-option', message, name, value);
}

/** Throws an {@link OptionError} unless `value` is allowed for the hyperparameter `name`. */
export function checkHyperparameter(name: string, value: unknown, where = ''): void {
  if (!Object.hasOwn(ranges, name)) {
    const known = Object.keys(ranges).join(', ');
    const message = `'${name}'${where} is no option; options are ${known}.`;
    throw new OptionError('unknown-option', message, name, value);
  }
  const [test, allowed] = ranges[name]!;
  if (!test(value as never)) refuse(name, where, value, allowed);
}

/**
 * Fills in defaults, or for a group the values of the optimizer, `base`; and validates.
 * @throws OptionError `unknown-option` or `invalid-option`, naming the option and its value.
 */
export function resolveHyperparameters(
  options: HyperparameterOptions,
  base?: Hyperparameters,
  where = '',
): Hyperparameters {
  const plain = options.scheduleFree === false;
  const resolved = { ...(base ?? (plain ? adanDefaults : scheduleFreeDefaults)) };
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue;
    checkHyperparameter(name, value, where);
    if (base && /maxGradNorm|nonFinite|scheduleFree/.test(name)) {
      refuse(name, where, value, 'it beside the groups');
    }
    (resolved as Record<string, unknown>)[name] = structuredClone(value);
  }
  if (!resolved.scheduleFree) {
    if (resolved.decay === 'y') refuse('decay', where, 'y', '"z" or "prox" to plain Adan');
    if (resolved.momentum !== 1) {
      refuse('momentum', where, resolved.momentum, '1 to plain Adan');
    }
  }
  return resolved;
}
