import { refuse } from './errors.js';
import { makeValueInfo } from './model/tensors.js';
import { withRunner } from './runtime.js';
import type { Context } from './trainer.js';

/**
 * Runs `use` with a session on webgpu open: the device lives as long as a session does.
 * @throws OnnxModelError `invalid-option` for a runtime that has the older provider
 */
export function withProvider<R>(context: Context, use: () => Promise<R>): Promise<R> {
  const value = makeValueInfo('a', 'float32', []);
  const graph = { name: 'a', input: [value], output: [value] };
  return withRunner(context, { irVersion: 8, opsetImport: [{ version: 17 }], graph }, async () => {
    // Only the provider of the entry 'onnxruntime-web' defines its device for good.
    const device = Object.getOwnPropertyDescriptor(context.ort.env?.webgpu ?? {}, 'device');
    if (device?.writable !== false) return use();
    const message =
      "This onnxruntime-web has the older webgpu provider, which gives wrong numbers; import * as ort from 'onnxruntime-web/webgpu'.";
    return refuse('invalid-option', message, 'ort');
  });
}
