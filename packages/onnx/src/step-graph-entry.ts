/** Steps as ONNX graphs, for whoever runs them without a trainer. */
export { OnnxModelError } from './errors.js';
export type { ParameterShape, Place } from './layout.js';
export {
  appendOptimizer,
  buildStepGraph,
  type StepGraphOptions,
  type TrainingStep,
} from './standalone.js';
export type { ArenaGroup, Layout, StateTensor } from './state-layout.js';
export type { Reports, StepGraph } from './step-graph.js';
export type { GradientModel, ModelParameter } from './training-model.js';
