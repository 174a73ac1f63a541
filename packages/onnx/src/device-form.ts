import type { Hyperparameters, Metrics, OptimizerOptions } from '@schedule-free-adan/core';
import type { Tensor } from 'onnxruntime-common';
import { OnnxModelError } from './errors.js';
import { type Gradients, openGradients, overBatches, shareName, sumName } from './gradients.js';
import type { Arena, ParameterShape, Place } from './layout.js';
import { openProvider } from './provider.js';
import { type Feeds, webgpuProvider } from './runtime.js';
import type { Context, Form, StepResult } from './trainer.js';
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
export class DeviceForm implements Form {
  #adding: Gradients | undefined;

  private constructor(
    readonly context: Context,
    private readonly optimizer: DeviceOptimizer,
    private readonly device: GPUDevice,
    readonly arenas: readonly Arena[],
    private readonly first: Gradients,
  ) {}

  static async create(context: Context, maker: DeviceOptimizerClass): Promise<DeviceForm> {
    const { ort, parameters, options, sessionOptions } = context;
    const provider = webgpuProvider(sessionOptions);
    if (!provider) {
      const message =
        "The option webgpu needs the provider: sessionOptions: { executionProviders: ['webgpu'] }.";
      throw new OnnxModelError('invalid-option', message, 'webgpu');
    }
    const first = await openProvider(ort, sessionOptions);
    let optimizer: DeviceOptimizer | undefined;
    try {
      const device = (provider.device ?? (await ort.env?.webgpu.device)) as GPUDevice;
      optimizer = await maker.create(
        device,
        parameters.map(({ name, shape, values }) => [name, { shape, values }]),
        options,
      );
      const arenas = arenasOf(parameters, optimizer);
      const gradients = await openGradients(context, arenas, { resident: true });
      return new DeviceForm(context, optimizer, device, arenas, gradients);
    } catch (error) {
      optimizer?.dispose();
      throw error;
    } finally {
      await first.release();
    }
  }

  get runner() {
    return this.first.runner;
  }
  get groups() {
    return this.optimizer.groups;
  }
  get bytes() {
    return this.optimizer.gpuBytes;
  }

  /** An arena's buffer as a tensor of the runtime; `view` is that of one of its parameters. */
  #tensor({ length }: Arena, { buffer }: View): Tensor {
    return this.context.ort.Tensor.fromGpuBuffer(buffer, { dataType: 'float32', dims: [length] });
  }

  #feeds(view: (name: string) => View): Feeds {
    const { arenas, context } = this;
    return Object.fromEntries(
      arenas.map((arena, k) => [
        arenaName(context.prefix, k),
        this.#tensor(arena, view(arena.places[0]!.name)),
      ]),
    );
  }

  async step(batches: readonly Feeds[], frozen: ReadonlySet<string>): Promise<StepResult> {
    const { optimizer } = this;
    const { parameters } = this.context;
    const result = await this.#gradients(batches);
    const names = parameters.map(({ name }) => name).filter((name) => !frozen.has(name));
    optimizer.step(undefined, names);
    // Under 'throw' this reads whether a gradient was bad, and says whose.
    if (optimizer.groups[0]!.hyperparameters.nonFinite === 'throw') await optimizer.metrics();
    return result;
  }

  /** The mean of the batches' gradients, copied to where the optimizer reads them. */
  async #gradients(batches: readonly Feeds[]): Promise<StepResult> {
    const { context, optimizer, device } = this;
    const { ort, prefix } = context;
    const parameters = this.#feeds((name) => optimizer.parameter(name));
    /** By parameter: the sum so far, on the device. */
    let sums = new Map<string, Tensor>();
    const free = () => {
      for (const tensor of new Set(sums.values())) tensor.dispose();
    };
    try {
      const result = await overBatches(context, batches, async (feeds, i) => {
        const { runner, gradients } = i === 0 ? this.first : await this.#further();
        const share = Float32Array.of(i === batches.length - 1 ? 1 / batches.length : 1);
        const own: Record<string, Tensor> = {
          ...parameters,
          [shareName(prefix)]: new ort.Tensor(share, []),
        };
        for (const [name, sum] of sums) own[sumName(prefix, name)] = sum;
        const results = await runner.run({ ...feeds, ...runner.pick(own) });
        free();
        sums = new Map([...gradients].map(([name, output]) => [name, results[output]!]));
        return results;
      });
      checkSizes(context, (name) => sums.get(name)?.dims);
      const encoder = device.createCommandEncoder();
      for (const [name, gradient] of sums) {
        const { buffer, offset, size } = optimizer.gradient(name);
        const from = gradient.gpuBuffer as unknown as GPUBuffer;
        encoder.copyBufferToBuffer(from, 0, buffer as unknown as GPUBuffer, offset, size);
      }
      device.queue.submit([encoder.finish()]);
      return result;
    } finally {
      free();
    }
  }

  /** For every batch but the first: gradients that are added to a sum. */
  async #further(): Promise<Gradients> {
    const { context, arenas } = this;
    this.#adding ??= await openGradients(context, arenas, {
      resident: true,
      adding: true,
    });
    return this.#adding;
  }

  async points(which: 'x' | 'y'): Promise<Record<string, Float32Array>> {
    const { optimizer, device, arenas } = this;
    const x = which === 'x' ? optimizer.evaluate() : undefined;
    const view = (name: string) => x?.[name] ?? optimizer.parameter(name);
    const values: Record<string, Float32Array> = {};
    for (const { length, places } of arenas) {
      const staging = device.createBuffer({ size: 4 * length, usage: 0x1 | 0x8 });
      const encoder = device.createCommandEncoder();
      const from = view(places[0]!.name).buffer as unknown as GPUBuffer;
      encoder.copyBufferToBuffer(from, 0, staging, 0, 4 * length);
      device.queue.submit([encoder.finish()]);
      await staging.mapAsync(1);
      const all = new Float32Array(staging.getMappedRange());
      for (const { name, start, end } of places) values[name] = all.slice(start, end);
      staging.destroy();
    }
    return Object.fromEntries(this.context.parameters.map(({ name }) => [name, values[name]!]));
  }

  async evaluationFeeds(): Promise<Feeds> {
    const x = this.optimizer.evaluate();
    return this.#feeds((name) => x[name]!);
  }

  async restart() {
    this.optimizer.restart();
  }
  metrics() {
    return this.optimizer.metrics();
  }
  save() {
    return this.optimizer.snapshot();
  }
  async load(checkpoint: Uint8Array) {
    this.optimizer.load(checkpoint);
  }
  async dispose() {
    this.optimizer.dispose();
    await this.runner.release();
    await this.#adding?.runner.release();
  }
}

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
