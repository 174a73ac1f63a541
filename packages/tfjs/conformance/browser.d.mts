export function useBackend(
  name: 'cpu' | 'wasm' | 'wasm-threaded' | 'webgl' | 'webgpu',
): Promise<void>;
