import type { Hyperparameters, Metrics, OptimizerOptions } from '@schedule-free-adan/core';
import type { Tensor } from 'onnxruntime-common';
import { refuse } from './errors.js';
import { type Gradients, openGradients, overBatches, shareName, sumName } from './gradients.js';
import type { Arena, ParameterShape, Place } from './layout.js';
import { withProvider } from './provider.js';
import { type Feeds, tensorOf, webgpuProvider } from './runtime.js';
import type { Context, Form } from './trainer.js';
import { arenaName, checkSizes } from './training-model.js';

/** A range of a buffer on the device, in bytes. */
interface View {
  readonly buffer: Tensor.GpuBufferType;
  readonly offset: number;
  readonly size: number;
}

/** An optimizer that steps parameters in buffers of its own, where their gradients are as well. */
interface DeviceOptimizer {
  readonly groups: readonly { learningRate: number; readonly hyperparameters: Hyperparameters }[];
  readonly gpuBytes: number;
  parameter(name: string): View;
  gradient(name: string): View;
  step(encoder: undefined, names: Iterable<string>): void;
  evaluate(): Record<string, View>;
  restart(): void;
  metrics(): Promise<Metrics>;
  snapshot(): Promise<Uint8Array>;
  load(snapshot: Uint8Array): void;
  dispose(): void;
}

/** What makes such an optimizer: the class `WebGpuAdan` of `@schedule-free-adan/webgpu`. */
export interface DeviceOptimizerClass {
  create(
    device: object,
    parameters: Iterable<readonly [string, { shape: readonly number[]; values: Float32Array }]>,
    options: Omit<OptimizerOptions, 'placement'>,
  ): Promise<DeviceOptimizer>;
}

/**
 * The runtime computes gradients on a WebGPU device, from where they are copied to the buffer in which
 * an optimizer on the same device expects them; that steps the parameters in place, where the runtime reads them.
 */
export async function deviceForm(context: Context, maker: DeviceOptimizerClass): Promise<Form> {
  const { ort, parameters, options, prefix } = context;
  const provider =
    webgpuProvider(context.sessionOptions) ??
    refuse(
      'invalid-option',
      "The option webgpu needs the provider: sessionOptions: { executionProviders: ['webgpu'] }.",
      'webgpu',
    );
  return withProvider(context, async () => {
    const device = (provider.device ?? (await ort.env?.webgpu.device)) as GPUDevice;
    const optimizer = await maker.create(
      device,
      parameters.map(({ name, shape, values }) => [name, { shape, values }]),
      options,
    );
    const arenas = arenasOf(parameters, optimizer);
    const open = (adding: boolean) => openGradients(context, arenas, { resident: true, adding });
    const first = await open(false).catch((error) => {
      optimizer.dispose();
      throw error;
    });
    /** For every batch but the first: gradients that are added to a sum. */
    let further: Gradients | undefined;

    /** Buffers as the arenas of a model, each by the view of one of its parameters. */
    const feedsOf = (view: (name: string) => View): Feeds =>
      Object.fromEntries(
        arenas.map(({ places, length }, k) => [
          arenaName(prefix, k),
          ort.Tensor.fromGpuBuffer(view(places[0]!.name).buffer, {
            dataType: 'float32',
            dims: [length],
          }),
        ]),
      );

    const submit = (record: (encoder: GPUCommandEncoder) => void) => {
      const encoder = device.createCommandEncoder();
      record(encoder);
      device.queue.submit([encoder.finish()]);
    };

    return {
      optimizer,
      runner: first.runner,
      arenas,
      get bytes() {
        return optimizer.gpuBytes;
      },

      async step(batches, frozen) {
        const points = feedsOf((name) => optimizer.parameter(name));
        /** By parameter: the sum so far, on the device. */
        let sums = new Map<string, Tensor>();
        const free = () => {
          for (const tensor of new Set(sums.values())) tensor.dispose();
        };
        try {
          const result = await overBatches(context, batches, async (feeds, i) => {
            if (i > 0) further ??= await open(true);
            const { runner, gradients } = i > 0 ? further! : first;
            const share = Float32Array.of(i === batches.length - 1 ? 1 / batches.length : 1);
            const own = { ...points, [shareName(prefix)]: tensorOf(context, share, []) };
            for (const [name, sum] of sums) own[sumName(prefix, name)] = sum;
            const results = await runner.run(feeds, own);
            free();
            sums = new Map([...gradients].map(([name, output]) => [name, results[output]!]));
            return results;
          });
          checkSizes(context, (name) => sums.get(name)?.dims);
          submit((encoder) => {
            for (const [name, gradient] of sums) {
              const { buffer, offset, size } = optimizer.gradient(name);
              encoder.copyBufferToBuffer(raw(gradient.gpuBuffer), 0, raw(buffer), offset, size);
            }
          });
          const names = parameters.map(({ name }) => name).filter((name) => !frozen.has(name));
          optimizer.step(undefined, names);
          // Under 'throw' this reads whether a gradient was bad, and says whose.
          if (optimizer.groups[0]!.hyperparameters.nonFinite === 'throw') await optimizer.metrics();
          return result;
        } finally {
          free();
        }
      },

      async points(which) {
        const x = which === 'x' ? optimizer.evaluate() : {};
        const values = new Map<string, Float32Array>();
        for (const { length, places } of arenas) {
          const { name } = places[0]!;
          const { buffer } = x[name] ?? optimizer.parameter(name);
          const size = 4 * length;
          const staging = device.createBuffer({ size, usage: 0x1 | 0x8 });
          submit((encoder) => encoder.copyBufferToBuffer(raw(buffer), 0, staging, 0, size));
          await staging.mapAsync(1);
          const all = new Float32Array(staging.getMappedRange());
          for (const { name, start, end } of places) values.set(name, all.slice(start, end));
          staging.destroy();
        }
        return Object.fromEntries(parameters.map(({ name }) => [name, values.get(name)!]));
      },

      evaluationFeeds() {
        const x = optimizer.evaluate();
        return feedsOf((name) => x[name]!);
      },
      save: () => optimizer.snapshot(),
      async dispose() {
        optimizer.dispose();
        await first.runner.release();
        await further?.runner.release();
      },
    };
  });
}

/** A buffer of the runtime's or the optimizer's types as one of the device. */
const raw = (buffer: unknown) => buffer as GPUBuffer;

/** Where the optimizer keeps its parameters: an arena for each of its buffers. */
function arenasOf(parameters: readonly ParameterShape[], optimizer: DeviceOptimizer): Arena[] {
  const places = new Map<unknown, Place[]>();
  const sizes = new Map<unknown, number>();
  for (const { name, shape } of parameters) {
    const { buffer, offset, size } = optimizer.parameter(name);
    const list = places.get(buffer) ?? [];
    places.set(buffer, list);
    sizes.set(buffer, buffer.size / 4);
    list.push({ name, shape, start: offset / 4, end: (offset + size) / 4 });
  }
  return [...places].map(([buffer, list]) => ({ places: list, length: sizes.get(buffer)! }));
}
