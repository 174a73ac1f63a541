import { WebGpuAdan } from '@schedule-free-adan/webgpu';
import * as ort from 'onnxruntime-web/webgpu';
import { gpuAdapter } from '../page-parts.js';

ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = { wasm: '/ort.wasm' };

/**
 * ONNX Runtime in a page, on the execution provider that the address asks for: `?provider=webgpu`, or wasm.
 * @throws Error for another provider, or a GPU that is not there
 */
export async function ortInPage(query: URLSearchParams) {
  const provider = query.get('provider') ?? 'wasm';
  if (provider === 'webgpu') await gpuAdapter('or leave out ?provider=webgpu to train on wasm');
  else if (provider !== 'wasm') {
    throw new Error(`?provider= is '${provider}'; give wasm or webgpu.`);
  }
  return {
    ort,
    sessionOptions: { executionProviders: [provider] },
    ...(provider === 'webgpu' && { webgpu: WebGpuAdan }),
  };
}
