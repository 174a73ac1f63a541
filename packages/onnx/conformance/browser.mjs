// Runs in a page: the conformance of trainers on the webgpu provider.
import { Session } from '@schedule-free-adan/conformance';
import { WebGpuAdan } from '@schedule-free-adan/webgpu';
import { keepDevice, ort, sessionOptions } from './browser-runtime.mjs';
import { ortTarget } from './target.mjs';

let session;

/** What the session is, as far as it can leave the page. */
globalThis.openSession = async (form, options) => {
  await keepDevice();
  const webgpu = form === 'hybrid' ? WebGpuAdan : undefined;
  session = new Session(ortTarget('webgpu', ort, form, { sessionOptions, webgpu }), options);
  return { seed: session.seed, checks: session.checks.map(({ id, tier }) => ({ id, tier })) };
};

globalThis.runCheck = (id) => session.run(session.checks.find((check) => check.id === id));
