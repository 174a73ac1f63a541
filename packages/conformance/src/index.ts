export { type BackendTargetOptions, backendTarget } from './backend-target.js';
export { type Check, type Tier, tiers } from './check.js';
export type {
  GoldenCase,
  GoldenExpectation,
  GoldenFile,
} from './golden/format.js';
export { asGoldenFile, golden } from './golden/index.js';
export { ownMethods } from './own-methods.js';
export { referenceTarget } from './reference-target.js';
export {
  checksFor,
  conformance,
  type Report,
  type Result,
  type RunOptions,
  report,
  runChecks,
  Session,
  type SessionElsewhere,
} from './run.js';
export type { ParameterSpec, Subject, SubjectSpec, Target, Values } from './target.js';
export { budget, ulp } from './ulps.js';
