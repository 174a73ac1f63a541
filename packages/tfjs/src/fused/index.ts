import type { Backend } from '@schedule-free-adan/core';
import type { KernelBackend, Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { cpu } from './cpu.js';
import { wasm } from './wasm.js';
import { webgl } from './webgl.js';
import { webgpu } from './webgpu.js';

/** What a backend of tfjs does in one pass instead of many operations. */
export interface Fused {
  readonly step: Backend<Tensor>['step'];
  readonly point: NonNullable<Backend<Tensor>['point']>;
}

/** Undefined where a backend lacks what is needed: its insides are public, but not promised. */
type Maker = (backend: KernelBackend) => Fused | undefined;
const makers: Readonly<Record<string, Maker>> = { cpu, wasm, webgl, webgpu };

const known = new WeakMap<KernelBackend, Fused | 'none'>();

/** The fused steps of the backend that is active now. */
export function kernels(): Fused | undefined {
  const { backend } = tf.engine();
  let found = known.get(backend);
  if (!found) {
    const name = tf.getBackend();
    let reason = '';
    try {
      found = makers[name]?.(backend);
    } catch (error) {
      reason = ` (${error})`;
    }
    if (!found) {
      found = 'none';
      console.warn(
        `schedule-free-adan: no fused step for tfjs' backend '${name}'${reason}; it takes plain tf operations, which is correct, and slower.`,
      );
    }
    known.set(backend, found);
  }
  return found === 'none' ? undefined : found;
}
