import { ReferenceBackend } from '@schedule-free-adan/core/reference';
import { backendTarget } from './backend-target.js';

/** The core's float64 reference backend: the oracle of the suite, and a target like any other. */
export const referenceTarget = backendTarget({
  name: 'reference',
  dtype: 'float64',
  backend: () => new ReferenceBackend(),
});
