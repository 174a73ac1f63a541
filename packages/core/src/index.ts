export type {
  Backend,
  Dtype,
  FloatArray,
  ParameterState,
  StepEntry,
  StepMetrics,
  StepRequest,
  TensorInfo,
} from './backend.js';
export {
  decodeCheckpoint,
  encodeCheckpoint,
  type StoredGroup,
  type StoredKey,
  type TrainingState,
} from './checkpoint.js';
export { composedStep } from './composed-step.js';
export {
  CheckpointError,
  type ErrorCode,
  NonFiniteError,
  OptionError,
  ParameterError,
  ScheduleFreeAdanError,
  StateError,
} from './errors.js';
export {
  adanDefaults,
  type Decay,
  type GroupHyperparameters,
  type HyperparameterOptions,
  type Hyperparameters,
  type NonFinitePolicy,
  resolveHyperparameters,
  scheduleFreeDefaults,
} from './hyperparameters.js';
export {
  type Group,
  type GroupOptions,
  type Metrics,
  type Mode,
  type OptimizerOptions,
  type ParameterCell,
  ScheduleFreeAdan,
} from './optimizer.js';
export {
  decodeSafetensors,
  encodeSafetensors,
  type SafetensorsFile,
  type StoredTensor,
} from './safetensors.js';
export {
  advance,
  type CoefficientName,
  type Coefficients,
  initialScalars,
  type Scalars,
} from './schedule.js';
export {
  type Algebra,
  type ElementState,
  evaluationPoint,
  type Placement,
  type RuleForm,
  ruleForm,
  type StateKey,
  stateKeys,
  trainingPoint,
  updateRule,
} from './update-rule.js';
