import { backendTarget } from '@schedule-free-adan/conformance';
import { PlainArrayBackend } from './backend.js';

/** What the conformance suite checks. */
export const plainArrays = backendTarget({
  name: 'plain-arrays',
  dtype: 'float64',
  backend: () => new PlainArrayBackend(),
});
