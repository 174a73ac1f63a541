import type { StepGroup, StepRequest } from '@schedule-free-adan/core';
import { type Kernel, pointKernel, stepKernel } from '@schedule-free-adan/core/interpreters';
import { coefficients, type RuleForm, type StateKey } from '@schedule-free-adan/core/rule';
import * as tf from '@tensorflow/tfjs-core';
import { formKey } from './form-key.js';
import type { Fused } from './index.js';
import { isPrivate, markPrivate, replace, share } from './private.js';

/** A backend whose memory this thread can read and write. */
export interface Memory {
  /** The gradient is written down as the next previous one even when no clipping changes it. */
  readonly copiesGradient: boolean;
  /** In float64: finite exactly when every element is. */
  sumOfSquares(tensor: tf.Tensor): number;
  /** A fresh tensor, kept, with whatever is in memory. */
  make(shape: number[]): tf.Tensor;
  /** Makes a kernel run. */
  load(kernel: Kernel): Run;
}

type Numbers = Readonly<Record<string, number>>;
/** The same object of numbers always holds the same ones. */
type Run = (inputs: readonly tf.Tensor[], outputs: readonly tf.Tensor[], numbers: Numbers) => void;

interface Program {
  readonly kernel: Kernel;
  readonly run: Run;
}

/** The fused step where the host can look at the gradients before it writes. */
export function fusedOnHost(memory: Memory): Fused {
  const programs = new Map<string, Program>();
  const program = (key: string, variant: boolean, describe: () => Kernel): Program => {
    const name = `${key} ${variant}`;
    let found = programs.get(name);
    if (!found) {
      const kernel = describe();
      found = { kernel, run: memory.load(kernel) };
      programs.set(name, found);
    }
    return found;
  };
  return {
    step: (request) =>
      step(memory, request, (form, clipping) =>
        program(formKey(form), clipping, () => stepKernel(form, { clipping, clipKnown: 'host' })),
      ),
    point(from, z, momentum, to) {
      const result = memory.make(from.shape);
      const numbers = { momentum, oneMinusMomentum: 1 - momentum };
      const { run } = program(to === 'x' ? 'toX' : 'toY', false, () => pointKernel(to));
      run([from, z], [result], numbers);
      return result;
    },
  };
}

const scalar = (value: number) => tf.keep(tf.scalar(value, 'float32'));

/** What the parameters of a group have in common in a step. */
interface Plan {
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly run: Run;
  /** For parameters that get their first gradient, and for the others. */
  readonly first: Numbers;
  readonly later: Numbers;
}

/** Scalars that are known to hold 1: reading one takes as long as a small step. */
const isSeen = new WeakSet<tf.Tensor>();

function step(
  memory: Memory,
  request: StepRequest<tf.Tensor>,
  program: (form: RuleForm, clipping: boolean) => Program,
): void {
  const { entries, metrics, maxGradNorm, epsilon, skipNonFinite } = request;
  let clip = 1;
  if (maxGradNorm > 0 || skipNonFinite) {
    let sum = 0;
    for (const { gradient } of entries) sum += memory.sumOfSquares(gradient);
    if (maxGradNorm > 0) {
      const norm = Math.sqrt(sum);
      clip = Math.min(1, maxGradNorm / (norm + epsilon));
      replace(metrics, 'gradientNorm', scalar(norm));
      replace(metrics, 'clipFactor', scalar(clip));
    }
    if (skipNonFinite && !Number.isFinite(sum)) {
      replace(metrics, 'skippedSteps', tf.keep(tf.add(metrics.skippedSteps, 1)));
      return;
    }
  }
  const clipping = clip !== 1 || memory.copiesGradient;
  const { backend } = tf.engine();
  const plans = new Map<StepGroup, Plan>();
  for (const { form, group, state, gradient } of entries) {
    let plan = plans.get(group);
    if (!plan) {
      const numbers = { ...coefficients(group), clip, clipPrevious: 1 };
      const { kernel, run } = program(form, clipping);
      plan = { ...kernel, run, later: numbers, first: { ...numbers, clipPrevious: clip } };
      plans.set(group, plan);
    }
    const { seen } = state;
    const first = seen !== undefined && !isSeen.has(seen) && seen.dataSync()[0] === 0;
    const inputs = plan.inputs.map((name) =>
      name === 'gradient' || (first && name === 'g') ? gradient : state[name as StateKey]!,
    );
    const outputs = plan.outputs.map((name) => {
      if (name === 'parameter') return memory.make(gradient.shape);
      const old = state[name as StateKey]!;
      return isPrivate(old, backend) ? old : markPrivate(memory.make(gradient.shape));
    });
    plan.run(inputs, outputs, first ? plan.first : plan.later);
    for (let k = 0; k < outputs.length; k++) {
      const key = plan.outputs[k] as StateKey;
      if (key === 'parameter') state.parameter = outputs[k]!;
      else if (state[key] !== outputs[k]) replace(state, key, outputs[k]!);
    }
    // The gradient's data stay alive as long as they are needed: nothing is written.
    if (form.gradientDifference && !clipping) replace(state, 'g', share(gradient));
    if (first) replace(state, 'seen', scalar(1));
    if (state.seen && !isSeen.has(state.seen)) isSeen.add(state.seen);
  }
}
