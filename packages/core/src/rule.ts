/** The mathematics alone, for those who write an adapter: the rule, its coefficients, its forms. */

export {
  type CoefficientName,
  type Coefficients,
  coefficients,
  coefficientsOver,
} from './coefficients.js';
export { composedStep } from './composed-step.js';
export { adanDefaults, resolveHyperparameters, scheduleFreeDefaults } from './hyperparameters.js';
export { numbers, type ScalarAlgebra, scalarNumbers } from './interpreters/numbers.js';
export { advance, initialScalars, type Scalars } from './schedule.js';
export { advanceOver } from './schedule-over.js';
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
