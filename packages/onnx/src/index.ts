export { type OnnxErrorCode, OnnxFormatError, OnnxModelError } from './errors.js';
export type { Feeds, OrtModule } from './runtime.js';
export {
  OrtTrainer,
  type OrtTrainerOptions,
  type StepOptions,
  type StepResult,
} from './trainer.js';
export type { GradientModel, ModelParameter } from './training-model.js';
