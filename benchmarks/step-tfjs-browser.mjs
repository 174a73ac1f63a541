// The page of step-tfjs.mjs.
import { useBackend } from '../packages/tfjs/conformance/browser.mjs';
import { measureSteps } from './step-tfjs-measure.mjs';

globalThis.measureIn = async (backend, settings) => {
  await useBackend(backend);
  return measureSteps(settings);
};
