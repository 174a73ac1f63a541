import { wasmKernel, wasmRun } from '@schedule-free-adan/core/interpreters';
import type { KernelBackend, Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { has } from './has.js';
import { fusedOnHost } from './host.js';
import type { Fused } from './index.js';
import { adopt } from './private.js';

interface CpuBackend extends KernelBackend {
  readonly data: { get(dataId: object): { values: unknown } };
  makeTensorInfo(shape: number[], dtype: 'float32', values: Float32Array): tf.TensorInfo;
}

const isCpu = (backend: KernelBackend): backend is CpuBackend =>
  has(backend, 'makeTensorInfo') && has((backend as CpuBackend).data, 'get');

/** Numbers that are computed at a time: those of every tensor of a step together fit into a cache. */
const SLICE = 2048;
/** More than any kernel has inputs and outputs. */
const SLICES = 16;

/** The rule as WebAssembly, in a memory of its own through which the arrays pass slice by slice. */
export function cpu(backend: KernelBackend): Fused | undefined {
  if (!isCpu(backend)) return undefined;
  // Throws, before any step, where a page's security policy forbids WebAssembly.
  new WebAssembly.Module(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0));
  const values = ({ dataId }: Tensor) => backend.data.get(dataId).values as Float32Array;
  const memory = new WebAssembly.Memory({ initial: (4 * SLICE * SLICES) / 65536 });
  const slices = Array.from(
    { length: SLICES },
    (_, k) => new Float32Array(memory.buffer, 4 * SLICE * k, SLICE),
  );
  return fusedOnHost({
    // A tensor may share the memory of an array that its maker fills anew for the next step.
    copiesGradient: true,
    sumOfSquares(tensor) {
      let sum = 0;
      const array = values(tensor);
      for (let i = 0; i < array.length; i++) sum += array[i]! * array[i]!;
      return sum;
    },
    make: (shape) =>
      adopt(
        backend.makeTensorInfo(shape, 'float32', new Float32Array(tf.util.sizeFromShape(shape))),
      ),
    load(kernel) {
      const run = wasmRun(new WebAssembly.Module(wasmKernel(kernel)), memory);
      const { length } = kernel.inputs;
      const addresses = slices
        .slice(0, length + kernel.outputs.length)
        .map(({ byteOffset }) => byteOffset);
      return (inputs, outputs, numbers) => {
        const from = inputs.map(values);
        const to = outputs.map(values);
        const operands = kernel.numbers.map((name) => numbers[name]!);
        const { size } = inputs[0]!;
        for (let at = 0; at < size; at += SLICE) {
          const end = Math.min(size, at + SLICE);
          for (const [k, array] of from.entries()) slices[k]!.set(array.subarray(at, end));
          run(end - at, ...addresses, ...operands);
          for (const [k, array] of to.entries()) {
            array.set(slices[length + k]!.subarray(0, end - at), at);
          }
        }
      };
    },
  });
}
