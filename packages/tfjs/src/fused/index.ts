import type { Backend } from '@schedule-free-adan/core';
import type { KernelBackend, Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { cpu } from './cpu.js';
import { wasm } from './wasm.js';

/** What a backend of tfjs does in one pass instead of many operations. */
export interface Fused {
  readonly step: Backend<Tensor>['step'];
  readonly point: NonNullable<Backend<Tensor>['point']>;
}

/** Undefined where a backend lacks what is needed: its insides are public, but not promised. */
type Maker = (backend: KernelBackend) => Fused | undefined;
const makers: Record<string, Maker> = { cpu, wasm };

let known = new WeakMap<KernelBackend, Fused | 'none'>();

/** Kernels that are imported apart, so that a page loads those of its own backend. */
export function register(name: string, maker: Maker): void {
  makers[name] = maker;
  known = new WeakMap();
}
const apart = ['webgl', 'webgpu'];

/** The fused steps of the backend that is active now. */
export function kernels(): Fused | undefined {
  const { backend } = tf.engine();
  let found = known.get(backend);
  if (!found) {
    const name = tf.getBackend();
    let reason =
      apart.includes(name) && !makers[name]
        ? `; there is one: import '@schedule-free-adan/tfjs/${name}'`
        : '';
    try {
      found = makers[name]?.(backend);
    } catch (error) {
      reason = `: ${error}`;
    }
    if (!found) {
      found = 'none';
      console.warn(
        `schedule-free-adan: no fused step for tfjs' backend '${name}'${reason}. Steps are plain tf operations, correct and slower.`,
      );
    }
    known.set(backend, found);
  }
  return found === 'none' ? undefined : found;
}
