/** Steps as ONNX graphs, for whoever runs them without a trainer. */
export { OnnxModelError } from './errors.js';
export type { ParameterShape, Place } from './layout.js';
export type { ArenaGroup, Layout, StateTensor } from './state-layout.js';
export {
  buildStepGraph,
  type Reports,
  type StepGraph,
  type StepGraphOptions,
} from './step-graph.js';
export type { GradientModel, ModelParameter } from './training-model.js';
export { appendOptimizer, type TrainingStep } from './training-step.js';
