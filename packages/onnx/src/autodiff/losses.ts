import type { Value } from '../graph.js';
import type { ValueInfo } from '../model/schema.js';
import { makeValueInfo } from '../model/tensors.js';
import { type Emitter, range } from './emit.js';

/** Appends a loss to a forward graph. */
export interface Loss {
  /** The output that it is taken of; default: the model's only one. */
  readonly output?: string | undefined;
  /** Returns the loss, one number; further inputs go into `inputs`. `shape` is that of the output. */
  append(
    b: Emitter,
    output: Value,
    inputs: ValueInfo[],
    shape: readonly (number | string)[],
  ): Value;
}

const mean = (b: Emitter, value: Value) => b.node('ReduceMean', [value], { keepdims: 0 });

/**
 * Mean of −log softmax(logits)[label]; logits [N, …, C], labels int32 [N, …] in the input `labels`.
 * A label outside of 0 … C − 1 picks nothing, and adds 0.
 */
export const softmaxCrossEntropy = ({
  output,
  labels = 'labels',
}: {
  output?: string;
  labels?: string;
} = {}): Loss => ({
  output,
  append(b, logits, inputs, shape) {
    inputs.push(makeValueInfo(labels, 'int32', shape.slice(0, -1)));
    const classes = shape.at(-1) as number;
    const column = b.node('Unsqueeze', [b.cast(labels, 'float32'), b.integers(-1)]);
    const hot = b.equal(column, b.floats([classes], range(classes)));
    const logs = b.node('LogSoftmax', [logits], { axis: -1 });
    return b.neg(mean(b, b.sum(b.mul(logs, hot), [-1], 0)));
  },
});

/** What an output costs against a target of its shape. */
const against = (
  output: string | undefined,
  target: string,
  cost: (b: Emitter, value: Value) => Value,
): Loss => ({
  output,
  append(b, value, inputs, shape) {
    inputs.push(makeValueInfo(target, 'float32', shape));
    return cost(b, value);
  },
});

/** Mean of (output − target)²; `target` is an input of the output's shape. */
export const meanSquaredError = ({
  output,
  target = 'target',
}: {
  output?: string;
  target?: string;
} = {}): Loss =>
  against(output, target, (b, value) => {
    const difference = b.sub(value, target);
    return mean(b, b.mul(difference, difference));
  });

/**
 * Mean binary cross-entropy against targets in [0, 1], an input of the output's shape. The output holds
 * logits; with `logits: false` probabilities, which are kept 1e-7 away from 0 and 1.
 */
export const binaryCrossEntropy = ({
  output,
  target = 'target',
  logits = true,
}: {
  output?: string;
  target?: string;
  logits?: boolean;
} = {}): Loss =>
  against(output, target, (b, value) => {
    const { add, sub, mul } = b;
    const log = (v: Value) => b.node('Log', [v]);
    if (logits) {
      // max(x, 0) − x·t + log(1 + exp(−|x|)) overflows nowhere.
      const tail = log(add(1, b.exp(b.neg(b.node('Abs', [value])))));
      return mean(b, add(sub(b.node('Relu', [value]), mul(value, target)), tail));
    }
    const p = b.node('Clip', [value, 1e-7, 1 - 1e-7]);
    return b.neg(mean(b, add(mul(target, log(p)), mul(sub(1, target), log(sub(1, p))))));
  });
