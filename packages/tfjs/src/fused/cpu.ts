import type { KernelBackend, Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { fusedOnHost } from './host.js';
import type { Fused } from './index.js';
import { type LoopNumbers, loops } from './loops.js';
import { adopt } from './private.js';

interface CpuBackend extends KernelBackend {
  readonly data: { get(dataId: object): { values: unknown } };
  makeTensorInfo(shape: number[], dtype: 'float32', values: Float32Array): tf.TensorInfo;
}

const isCpu = (backend: KernelBackend): backend is CpuBackend => {
  const { data, makeTensorInfo } = backend as Partial<CpuBackend>;
  return typeof data?.get === 'function' && typeof makeTensorInfo === 'function';
};

/** Typed-array loops, printed from the rule when this package is built. */
export function cpu(backend: KernelBackend): Fused | undefined {
  if (!isCpu(backend)) return undefined;
  const values = ({ dataId }: Tensor) => backend.data.get(dataId).values as Float32Array;
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
    load(_, key) {
      const loop = loops[key.replace('none', 'z')]!;
      const more = key.endsWith('none') ? { decay: 1 } : undefined;
      return (inputs, outputs, numbers) => {
        const known = { ...numbers, ...more } as unknown as LoopNumbers;
        loop(inputs.map(values), outputs.map(values), known);
      };
    },
  });
}
