export type {
  Backend,
  Dtype,
  FloatArray,
  StepEntry,
  StepGroup,
  StepMetrics,
  StepRequest,
  TensorInfo,
} from './backend.js';
export {
  CheckpointError,
  type ErrorCode,
  NonFiniteError,
  OptionError,
  ParameterError,
  ScheduleFreeAdanError,
  StateError,
} from './errors.js';
export type {
  Decay,
  GroupHyperparameters,
  HyperparameterOptions,
  Hyperparameters,
  NonFinitePolicy,
} from './hyperparameters.js';
export {
  type Group,
  type GroupOptions,
  type Metrics,
  type Mode,
  type OptimizerOptions,
  type ParameterCell,
  type ScheduleFreeAdan,
  scheduleFreeAdan,
} from './optimizer.js';
export type { Placement } from './update-rule.js';
