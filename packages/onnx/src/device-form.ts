import type { Hyperparameters, Metrics, OptimizerOptions } from '@schedule-free-adan/core';
import type { Tensor } from 'onnxruntime-common';
import { refuse } from './errors.js';
import { type Finish, type Gradients, openGradients, overBatches } from './gradients.js';
import { type Arena, type Place, unpacked } from './layout.js';
import { makeValueInfo } from './model/tensors.js';
import { type Feeds, tensorOf, webgpuProvider, withProvider } from './runtime.js';
import type { Context, Form } from './trainer.js';
import { checkSizes } from './training-model.js';

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
    const arenas = arenasOf(context, optimizer);
    const open = (finish?: Finish) => openGradients(context, arenas, true, finish);
    const first = await open().catch((error) => {
      optimizer.dispose();
      throw error;
    });
    /** For every batch but the first. */
    let further: Gradients | undefined;
    const share = `${prefix}share`;
    const sumOf = (name: string) => `${prefix}sum/${name}`;
    /** The gradient goes on top of the sum so far, and all is multiplied by the share. */
    const addUp: Finish = (after, gradient, name, shape, inputs) => {
      const sum = sumOf(name);
      inputs.push(makeValueInfo(sum, 'float32', shape), makeValueInfo(share, 'float32', []));
      return after.mul(after.add(sum, after.reshape(gradient, shape)), share);
    };

    /** Buffers with x or y as the arenas of a model, each by the view of one of its parameters. */
    const feedsOf = (which: 'x' | 'y'): Feeds => {
      const x = which === 'x' && optimizer.evaluate();
      return Object.fromEntries(
        arenas.map(({ name, places: [place], length }) => {
          const view = x ? x[place!.name]! : optimizer.parameter(place!.name);
          const options = { dataType: 'float32', dims: [length] } as const;
          return [name, ort.Tensor.fromGpuBuffer(view.buffer, options)];
        }),
      );
    };

    const submit = (record: (encoder: GPUCommandEncoder) => void) => {
      const encoder = device.createCommandEncoder();
      record(encoder);
      device.queue.submit([encoder.finish()]);
    };

    return {
      optimizer,
      arenas,
      get bytes() {
        return optimizer.gpuBytes;
      },

      async step(batches, frozen) {
        const points = feedsOf('y');
        /** By parameter: the sum so far, on the device. */
        let sums = new Map<string, Tensor>();
        const free = () => {
          for (const tensor of new Set(sums.values())) tensor.dispose();
        };
        try {
          const result = await overBatches(context, batches, async (feeds, i, factor) => {
            if (i > 0) further ??= await open(addUp);
            const { runner, gradients } = i > 0 ? further! : first;
            const own: Record<string, Tensor> = {
              ...points,
              [share]: tensorOf(context, Float32Array.of(factor), []),
            };
            for (const [name, sum] of sums) own[sumOf(name)] = sum;
            const results = await runner.run(feeds, own);
            free();
            sums = new Map([...gradients].map(([name, output]) => [name, results[output]!]));
            return results;
          });
          checkSizes(context, (name) => sums.get(name)?.dims);
          submit((encoder) => {
            for (const [name, gradient] of sums) {
              const { buffer, offset, size } = optimizer.gradient(name);
              encoder.copyBufferToBuffer(
                gradient.gpuBuffer as GPUBuffer,
                0,
                buffer as GPUBuffer,
                offset,
                size,
              );
            }
          });
          const names = parameters.flatMap(({ name }) => (frozen.has(name) ? [] : name));
          optimizer.step(undefined, names);
          // Under 'throw' this reads whether a gradient was bad, and says whose.
          if (optimizer.groups[0]!.hyperparameters.nonFinite === 'throw') await optimizer.metrics();
          return result;
        } finally {
          free();
        }
      },

      async points(which) {
        const feeds = feedsOf(which);
        // In the order in which the user named them.
        const all = Object.fromEntries(parameters.map((p) => [p.name, p.values]));
        for (const arena of arenas) {
          const buffer = feeds[arena.name]!.gpuBuffer;
          const size = 4 * arena.length;
          const staging = device.createBuffer({ size, usage: 0x1 | 0x8 });
          submit((encoder) => encoder.copyBufferToBuffer(buffer as GPUBuffer, 0, staging, 0, size));
          await staging.mapAsync(1);
          const data = new Float32Array(staging.getMappedRange());
          for (const [name, part] of unpacked(arena, data)) all[name] = part;
          staging.destroy();
        }
        return all;
      },

      evaluationFeeds: () => feedsOf('x'),
      save: () => optimizer.snapshot(),
      async dispose() {
        optimizer.dispose();
        await first.runner.release();
        await further?.runner.release();
      },
    };
  });
}

/** Where the optimizer keeps its parameters: an arena for each of its buffers. */
function arenasOf({ parameters, prefix }: Context, optimizer: DeviceOptimizer): Arena[] {
  const places = new Map<Tensor.GpuBufferType, Place[]>();
  for (const { name, shape } of parameters) {
    const { buffer, offset, size } = optimizer.parameter(name);
    const list = places.get(buffer) ?? [];
    places.set(buffer, list);
    list.push({ name, shape, start: offset / 4, end: (offset + size) / 4 });
  }
  return [...places].map(([{ size }, list], k) => ({
    name: `${prefix}${k}/parameters`,
    places: list,
    length: size / 4,
  }));
}
