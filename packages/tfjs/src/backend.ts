import type { Backend, FloatArray, StepRequest, TensorInfo } from '@schedule-free-adan/core';
import { composedStep } from '@schedule-free-adan/core/rule';
import * as tf from '@tensorflow/tfjs-core';
import { kernels } from './fused/index.js';

/** Backends of tfjs whose memory the host can read without waiting. */
const readable = new Set(['cpu', 'wasm', 'tensorflow']);

const float32 = (values: FloatArray) =>
  values instanceof Float32Array ? values.slice() : Float32Array.from(values);

/**
 * The core's tensor interface as plain tf operations, on whatever backend tfjs runs, with a fused step
 * where there is one. Every tensor is kept, also inside a `tf.tidy` of the caller: the core disposes
 * what it no longer needs.
 */
export class TfjsBackend implements Backend<tf.Tensor> {
  readonly dtype = 'float32';
  /** Whether a fused step is taken where there is one. */
  readonly fused: boolean;

  /** `fused: false` composes every step of tf operations, also where there is something faster. */
  constructor({ fused = true }: { readonly fused?: boolean } = {}) {
    this.fused = fused;
  }

  upload(values: FloatArray, shape: readonly number[]): tf.Tensor {
    return tf.keep(tf.tensor(float32(values), [...shape], 'float32'));
  }
  async download(a: tf.Tensor): Promise<FloatArray> {
    // The clone outlives `a`, should the caller dispose it before the data have arrived.
    const held = this.copy(a);
    try {
      return float32((await held.data()) as Float32Array);
    } finally {
      held.dispose();
    }
  }
  get downloadSync() {
    return readable.has(tf.getBackend()) ? downloadSync : undefined;
  }
  copy(a: tf.Tensor): tf.Tensor {
    return tf.keep(tf.clone(a));
  }
  dispose(a: tf.Tensor): void {
    a.dispose();
  }
  inspect(a: tf.Tensor): TensorInfo {
    return { shape: a.shape, dtype: a.dtype, disposed: a.isDisposed };
  }

  constant(value: number): tf.Tensor {
    return tf.keep(tf.scalar(value, 'float32'));
  }
  add(a: tf.Tensor, b: tf.Tensor): tf.Tensor {
    return tf.keep(tf.add(a, b));
  }
  sub(a: tf.Tensor, b: tf.Tensor): tf.Tensor {
    return tf.keep(tf.sub(a, b));
  }
  mul(a: tf.Tensor, b: tf.Tensor): tf.Tensor {
    return tf.keep(tf.mul(a, b));
  }
  div(a: tf.Tensor, b: tf.Tensor): tf.Tensor {
    return tf.keep(tf.div(a, b));
  }
  sqrt(a: tf.Tensor): tf.Tensor {
    return tf.keep(tf.sqrt(a));
  }
  minimum(a: tf.Tensor, b: tf.Tensor): tf.Tensor {
    return tf.keep(tf.minimum(a, b));
  }
  sumOfSquares(a: tf.Tensor): tf.Tensor {
    // The wasm backend's reduction of nothing is whatever was in memory.
    if (a.size === 0) return this.constant(0);
    return tf.keep(
      tf.tidy(() => {
        // By rows, then over rows: the wasm backend adds up in float32, one after the other.
        const width = Math.ceil(Math.sqrt(a.size));
        const flat = tf.reshape(tf.square(a), [a.size]);
        const rows = tf.reshape(tf.pad(flat, [[0, width * width - a.size]]), [width, width]);
        return tf.sum(tf.sum(rows, 1));
      }),
    );
  }
  allFinite(a: tf.Tensor): tf.Tensor {
    if (a.size === 0) return this.constant(1);
    return tf.keep(
      tf.tidy(() => {
        // A finite sum has finite terms; only an infinite one needs a closer look.
        if (this.downloadSync && Number.isFinite(tf.sum(a).dataSync()[0])) return tf.scalar(1);
        return tf.cast(tf.all(tf.isFinite(a)), 'float32');
      }),
    );
  }
  select(condition: tf.Tensor, a: tf.Tensor, b: tf.Tensor): tf.Tensor {
    const read = this.downloadSync;
    if (read) return this.copy(read(condition)[0] === 0 ? b : a);
    return tf.keep(tf.tidy(() => tf.where(tf.notEqual(condition, 0), a, b)));
  }

  get point() {
    return this.fused ? kernels()?.point : undefined;
  }
  step(request: StepRequest<tf.Tensor>): void {
    const step = this.fused ? kernels()?.step : undefined;
    if (step) step(request);
    else composedStep(this, request);
  }
}

const downloadSync = (a: tf.Tensor): FloatArray => float32(a.dataSync() as Float32Array);
