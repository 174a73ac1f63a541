export { type OnnxErrorCode, OnnxFormatError, OnnxModelError } from './errors.js';
export type { HostTensor } from './host.js';
export { HostBackend } from './host.js';
export type { ArenaGroup, Layout, ParameterShape, Place, StateTensor } from './layout.js';
export type { Feeds, OrtModule } from './runtime.js';
export {
  buildStepGraph,
  type Reports,
  type StepGraph,
  type StepGraphOptions,
} from './step-graph.js';
export {
  OrtTrainer,
  type OrtTrainerOptions,
  type StepOptions,
  type StepResult,
} from './trainer.js';
export {
  appendOptimizer,
  type GradientModel,
  type ModelParameter,
  type TrainingStep,
} from './training-model.js';
