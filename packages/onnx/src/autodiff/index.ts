/** Makes plain forward models trainable: appends a loss and gradients in ordinary operators. */
export { OnnxModelError } from '../errors.js';
export type { NodeChoice } from './choice.js';
export type { Emitter, Extent, RunExtent, Shape } from './emit.js';
export {
  binaryCrossEntropy,
  type Loss,
  meanSquaredError,
  softmaxCrossEntropy,
} from './losses.js';
export { type Gradient, type Rule, type RuleContext, rules } from './rules.js';
export { makeTrainable, type TrainableModel, type TrainableOptions } from './trainable.js';
