// Runs in a page: the conformance of trainers on the webgpu provider.
import { WebGpuAdan } from '@schedule-free-adan/webgpu';
import { serveSessions } from '../../../tools/conformance-in-page.mjs';
import { keepDevice, ort, sessionOptions } from './browser-runtime.mjs';
import { ortTarget } from './target.mjs';

serveSessions(async (form) => {
  await keepDevice();
  const webgpu = form === 'hybrid' ? WebGpuAdan : undefined;
  return ortTarget('webgpu', ort, form, { sessionOptions, webgpu });
});
