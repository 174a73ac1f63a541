import { nodeDevice } from '../../../../tools/webgpu-runtime.mjs';

/** A device of Dawn in this process; on a machine without a GPU driver, of SwiftShader. */
export const startDevice = (): Promise<GPUDevice> => nodeDevice();
