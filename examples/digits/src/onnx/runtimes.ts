import type { OrtModule } from '@schedule-free-adan/onnx';
import type { OnnxBackendName } from '../settings.js';

/** ONNX Runtime in Node, loaded when it is called for; as WebAssembly on one thread. */
export const runtimes: Readonly<Record<OnnxBackendName, () => Promise<OrtModule>>> = {
  onnx: () => import('onnxruntime-node'),
  'onnx-wasm': async () => {
    const ort = await import('onnxruntime-web');
    ort.env.wasm.numThreads = 1;
    return ort;
  },
};
