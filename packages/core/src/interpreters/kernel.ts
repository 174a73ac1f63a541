import type { StepEntry, StepGroup } from '../backend.js';
import type { CoefficientName } from '../coefficients.js';
import {
  type Algebra,
  type ElementState,
  evaluationPoint,
  type Placement,
  type RuleForm,
  stateKeys,
  trainingPoint,
  updateRule,
} from '../update-rule.js';

/**
 * A program for one element of some arrays, which an interpreter makes a loop or a shader of. Its
 * formulas are those of the rule; this only says what is read and written.
 */
export interface Kernel {
  /** Arrays that are read. */
  readonly inputs: readonly string[];
  /** Numbers, the same for every element. */
  readonly numbers: readonly string[];
  /** Arrays that are written. */
  readonly outputs: readonly string[];
  run<T>(algebra: Algebra<T>, value: (name: string) => T): Record<string, T>;
}

export interface StepKernelOptions {
  /** Multiply the gradient by the number `clip`. */
  readonly clipping: boolean;
  /**
   * Where the clip factor is known. On the `'host'`, a gradient that is not clipped need not be written
   * as the next previous one, and the first gradient is its own previous one, whose factor is
   * `clipPrevious`. On the `'device'`, the interpreter finds out what the previous gradient is.
   */
  readonly clipKnown: 'host' | 'device';
  /** Put out x as well, of a parameter that holds y. */
  readonly averages?: boolean;
}

/** The rule for one element: in, the gradient and the state by key; out, the state. */
export function stepKernel(
  form: RuleForm,
  { clipping, clipKnown, averages = false }: StepKernelOptions,
): Kernel {
  const keys = stateKeys(form).filter((key) => key !== 'seen');
  const host = clipKnown === 'host';
  return describe(['gradient', ...keys], (algebra, value) => {
    const { mul, name = (_, result) => result } = algebra;
    const raw = value('gradient');
    const gradient = clipping ? name('clipped', mul(value('clip'), raw)) : raw;
    const state = Object.fromEntries(keys.map((key) => [key, value(key)]));
    if (clipping && host && state.g !== undefined) {
      state.g = name('previous', mul(value('clipPrevious'), state.g));
    }
    const c = coefficientsOf(value);
    const { g, ...next } = updateRule(
      algebra,
      form,
      c,
      state as unknown as ElementState<typeof raw>,
      gradient,
    );
    if (averages) next.parameter = name('newParameter', next.parameter);
    return {
      ...next,
      ...(g !== undefined && (clipping || !host) && { g }),
      ...(averages && {
        x: form.scheduleFree
          ? evaluationPoint(algebra, c, next.parameter, next.z!)
          : next.parameter,
      }),
    };
  });
}

/**
 * The form that each group of a step may be stepped in, so that few kernels step all: no decay is the same
 * as a decay of zero, so that groups without it join the others, if these decay in one way.
 */
export function jointForms(
  entries: readonly Pick<StepEntry<unknown>, 'group' | 'form'>[],
): Map<StepGroup, RuleForm> {
  const forms = new Map(entries.map(({ group, form }) => [group, form]));
  const decays = [...forms.values()].flatMap(({ decay }) => (decay === 'none' ? [] : decay));
  const joint = new Set(decays).size === 1 && { decay: decays[0]! };
  return new Map([...forms].map(([group, form]) => [group, { ...form, ...joint }]));
}

/** One of x and y, `to`, out of the other, `from`, and z. */
export const pointKernel = (to: Placement): Kernel =>
  describe(['from', 'z'], (algebra, value) => ({
    to: (to === 'y' ? trainingPoint : evaluationPoint)(
      algebra,
      coefficientsOf(value),
      value('from'),
      value('z'),
    ),
  }));

/** Coefficients that exist once the rule asks for them. */
const coefficientsOf = <T>(value: (name: string) => T) =>
  new Proxy({} as Record<CoefficientName, T>, { get: (_, name) => value(String(name)) });

function describe(inputs: readonly string[], run: Kernel['run']): Kernel {
  const asked = new Set<string>();
  const nothing = () => '';
  const silent = { add: nothing, sub: nothing, mul: nothing, div: nothing, sqrt: nothing };
  const ask = (name: string) => {
    asked.add(name);
    return name;
  };
  const outputs = Object.keys(run(silent, ask));
  return { inputs, outputs, numbers: [...asked].filter((name) => !inputs.includes(name)), run };
}
