import { wasmKernel, wasmRun, wasmSumOfSquares } from '@schedule-free-adan/core/interpreters';
import type { KernelBackend, Tensor, TensorInfo } from '@tensorflow/tfjs-core';
import { has } from './has.js';
import { fusedOnHost } from './host.js';
import type { Fused } from './index.js';
import { adopt } from './private.js';

interface WasmBackend extends KernelBackend {
  readonly wasm: object;
  getMemoryOffset(dataId: object): number;
  makeOutput(shape: number[], dtype: 'float32'): TensorInfo;
}

const isWasm = (backend: KernelBackend): backend is WasmBackend =>
  has(backend, 'getMemoryOffset', 'makeOutput') && 'wasm' in backend;

/** The memory of the module: the threaded build makes its own, the other one exports it. */
function memoryOf({ wasm }: WasmBackend): WebAssembly.Memory | undefined {
  const { asm } = wasm as { asm?: object };
  return [wasm, asm ?? {}]
    .flatMap((owner) => Object.values(owner))
    .find((value): value is WebAssembly.Memory => value instanceof WebAssembly.Memory);
}

/** The rule as a WebAssembly module on the backend's own memory. Addresses only: views would go stale. */
export function wasm(backend: KernelBackend): Fused | undefined {
  if (!isWasm(backend)) return undefined;
  const memory = memoryOf(backend);
  if (!memory) return undefined;
  const shared =
    typeof SharedArrayBuffer !== 'undefined' && memory.buffer instanceof SharedArrayBuffer;
  const address = ({ dataId }: Tensor) => backend.getMemoryOffset(dataId);

  const sumOfSquares = wasmRun(new WebAssembly.Module(wasmSumOfSquares(shared)), memory);
  return fusedOnHost({
    copiesGradient: false,
    sumOfSquares: (tensor) => sumOfSquares(tensor.size, address(tensor)),
    make: (shape) => adopt(backend.makeOutput(shape, 'float32')),
    load(kernel) {
      const run = wasmRun(new WebAssembly.Module(wasmKernel(kernel, shared)), memory);
      let known: object | undefined;
      const operands: number[] = [];
      return (inputs, outputs, numbers) => {
        let k = 0;
        operands[k++] = inputs[0]!.size;
        for (const tensor of inputs) operands[k++] = address(tensor);
        for (const tensor of outputs) operands[k++] = address(tensor);
        if (numbers !== known) for (const name of kernel.numbers) operands[k++] = numbers[name]!;
        known = numbers;
        run(...operands);
      };
    },
  });
}
