// The targets on this machine's device, of Dawn for Node.
import { nodeDevice } from '../../../tools/webgpu-runtime.mjs';
import { webgpuTargets } from './targets.mjs';

let device;
const shared = () => {
  device ??= nodeDevice();
  return device;
};

export const targets = webgpuTargets(shared);
