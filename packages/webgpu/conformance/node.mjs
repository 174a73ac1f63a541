// The targets on this machine's device, of Dawn for Node.
import { nodeDevice } from '../../../tools/webgpu-runtime.mjs';
import { webgpuTargets } from './targets.mjs';

let device;
/** One device for all targets of a process. */
export const sharedDevice = () => {
  device ??= nodeDevice();
  return device;
};

const targets = webgpuTargets(sharedDevice);
export const webgpu = async () => targets.webgpu;
export const webgpuArena = async () => targets['webgpu-arena'];
export const webgpuOwnBuffers = async () => targets['webgpu-own-buffers'];
