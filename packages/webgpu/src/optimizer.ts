import {
  type Group,
  type Metrics,
  type Mode,
  type OptimizerOptions,
  type ParameterCell,
  type ScheduleFreeAdan,
  scheduleFreeAdan,
} from '@schedule-free-adan/core';
import { ruleForm, stateKeys } from '@schedule-free-adan/core/rule';
import { WebGpuBackend, type WebGpuBackendOptions } from './backend.js';
import {
  arena,
  type BufferView,
  type Definitions,
  type Named,
  named,
  type Place,
} from './buffers.js';
import { WebGpuError, type WebGpuErrorCode } from './errors.js';
import { requestBytes } from './kernels.js';
import { ownPlaces } from './own-buffers.js';
import { type GpuTensor, placeIn } from './tensor.js';

export interface WebGpuOptions extends Omit<OptimizerOptions, 'placement'>, WebGpuBackendOptions {
  /**
   * Every step writes x as well, in its own dispatch, to where {@link WebGpuAdan.evaluate} says: then
   * x is always there. Default false.
   */
  readonly averages?: boolean;
}

const view = ({ buffer, offset, size }: GpuTensor): BufferView => ({ buffer, offset, size });

/**
 * Schedule-Free Adan on a WebGPU device that you own. Parameters hold y between steps, so that a
 * forward pass trains at no cost; {@link evaluate} writes x elsewhere.
 */
export class WebGpuAdan {
  readonly #backend: WebGpuBackend;
  readonly #core: ScheduleFreeAdan<GpuTensor>;
  readonly #places: ReadonlyMap<string, Place>;
  readonly #definitions: Named;
  readonly #options: WebGpuOptions;
  /** The first error that the GPU reported since the last reading. */
  #fault: Promise<GPUError | null> = Promise.resolve(null);

  private constructor(
    backend: WebGpuBackend,
    places: ReadonlyMap<string, Place>,
    definitions: Named,
    options: WebGpuOptions,
  ) {
    this.#backend = backend;
    this.#places = places;
    this.#definitions = definitions;
    this.#options = options;
    const { workgroupSize, state, normThreads, chunkBytes, averages, ...rest } = options;
    this.#core = scheduleFreeAdan<GpuTensor>(backend, {}, rest);
    this.#checkLimits(averages);
    for (const [name, { parameter }] of places) this.#core.addCell(name, cell(backend, parameter));
    for (const { parameters } of options.groups ?? []) {
      // Throws for a name that no parameter has.
      if (typeof parameters !== 'function') for (const name of parameters) this.parameter(name);
    }
    if (averages) {
      this.evaluate();
      backend.averages = true;
    }
    backend.flush();
  }

  /** @throws WebGpuError `too-many-groups`, `too-many-buffers` */
  #checkLimits(averages = false): void {
    const { groups, device } = this;
    const check = (
      code: WebGpuErrorCode,
      limit: 'maxUniformBufferBindingSize' | 'maxStorageBuffersPerShaderStage',
      needed: number,
      remedy: string,
    ) => {
      const most = device.limits[limit];
      if (needed <= most) return;
      this.#core.dispose();
      const message = `A step needs ${limit} ${needed}, and the device has ${most}; ${remedy}.`;
      throw new WebGpuError(code, message, limit, needed);
    };
    const sets = requestBytes(groups.length);
    check('too-many-groups', 'maxUniformBufferBindingSize', sets, 'give fewer groups');
    const arrays = groups.map(
      ({ hyperparameters }) => stateKeys(ruleForm(hyperparameters, 'y')).length,
    );
    check(
      'too-many-buffers',
      'maxStorageBuffersPerShaderStage',
      // The state without `seen`, the control buffer, gradients, and averages.
      averages ? Math.max(...arrays) + 2 : 0,
      'ask for that, or leave out averages and call evaluate()',
    );
  }

  /**
   * @param parameters by name: `{ shape, values? }`, which get a place in the optimizer's arena, or
   * `{ shape, parameter, gradient }` in buffers of your own.
   * @throws WebGpuError for a buffer that can't serve, OptionError, ParameterError. Nothing of the
   * optimizer was submitted then.
   */
  static async create(
    device: GPUDevice,
    parameters: Definitions,
    options: WebGpuOptions = {},
  ): Promise<WebGpuAdan> {
    const definitions = named(parameters);
    const backend = new WebGpuBackend(device, options);
    const found = new Map([
      ...(await ownPlaces(backend, definitions)),
      ...arena(backend, definitions),
    ]);
    const places = new Map([...definitions.keys()].map((name) => [name, found.get(name)!]));
    try {
      return new WebGpuAdan(backend, places, definitions, options);
    } catch (error) {
      free(places);
      throw error;
    }
  }

  get device(): GPUDevice {
    return this.#backend.device;
  }
  get mode(): Mode {
    return this.#core.mode;
  }
  /** Group 0 holds what no other claims. `learningRate` may be set before any step. */
  get groups(): readonly Group[] {
    return this.#core.groups;
  }
  get parameterNames(): readonly string[] {
    return this.#core.parameterNames;
  }
  /** Bytes of GPU memory that the optimizer holds, with its arenas. */
  get gpuBytes(): number {
    return this.#backend.bytes;
  }

  /** Where a parameter is: bind it in a forward pass. The same for the optimizer's whole life. */
  parameter(name: string): BufferView {
    return view(this.#core.parameter(name));
  }

  /** Where a parameter's gradient is expected: bind it in a backward pass. */
  gradient(name: string): BufferView {
    this.#core.parameter(name);
    return view(this.#places.get(name)!.gradient);
  }

  /**
   * One step with the gradients of `names` (all, when left out); the others keep everything. Encoded
   * into `encoder`, or submitted. Submit the encoder before any other call than `step` and `evaluate`.
   * @throws ParameterError `unknown-parameter`; StateError `disposed`, `wrong-mode`; WebGpuError
   * `device-lost`, once the device has told.
   */
  step(encoder?: GPUCommandEncoder, names: Iterable<string> = this.#places.keys()): void {
    const gradients = Object.fromEntries(
      [...names].map((name) => [name, this.#places.get(name)?.gradient]),
    );
    this.#record(() => this.#core.step(gradients), encoder);
  }

  /**
   * Writes x of every parameter to buffers of the optimizer's own, and says where. The views stay the
   * same from call to call. Changes nothing of the training state.
   */
  evaluate(encoder?: GPUCommandEncoder): Record<string, BufferView> {
    return this.#record(() => this.#average(!this.#backend.averages), encoder);
  }

  #average(write: boolean): Record<string, BufferView> {
    const averages = write ? this.#core.evalParameters() : {};
    return Object.fromEntries(
      this.parameterNames.map((name) => {
        const parameter = this.#core.parameter(name);
        const plane = this.#backend.plane(parameter.chunk!, 'x');
        const offset = placeIn(parameter.chunk!, parameter);
        const x = averages[name];
        if (x) {
          this.#backend.transfer(x, plane, offset);
          x.dispose();
        }
        return [name, { buffer: plane.buffer, offset, size: parameter.size }];
      }),
    );
  }

  /** The parameters' own buffers hold y, where gradients are taken. Exact to the bit. */
  train(): void {
    this.#record(() => this.#core.train());
  }

  /** The parameters' own buffers hold x, where the model is evaluated; {@link step} is refused. */
  eval(): void {
    this.#record(() => this.#core.eval());
  }

  /** Runs `fn`, which may be asynchronous, with x in the parameters, and restores y exactly. */
  withEvalParameters<R>(fn: () => R): R {
    const run = () => {
      this.#backend.flush();
      return fn();
    };
    return this.#record(() => this.#core.withEvalParameters(run));
  }

  /** Resets the moments, and keeps x, y, z and the averaging weights. */
  restart(): void {
    this.#record(() => {
      this.#core.restart();
      this.#backend.lastPlan?.settle();
    });
  }

  /** Reads the norm before clipping, the clip factor, and how many steps were skipped. */
  async metrics(): Promise<Metrics> {
    return this.#read(() => this.#core.metrics());
  }

  /**
   * The training state as of the call, as a safetensors file that every backend reads. Training may go
   * on at once: the state is copied aside on the device, and read when that is done.
   */
  async snapshot(): Promise<Uint8Array> {
    return this.#read(() => this.#core.save());
  }

  /** Goes on from a snapshot, of whatever backend. */
  load(snapshot: Uint8Array): void {
    this.#record(() => {
      this.#core.load(snapshot);
      this.#backend.lastPlan?.settle();
      if (this.#backend.averages) this.#average(true);
    });
  }

  /**
   * The same optimizer on another device, going on from a snapshot: after the loss of the first.
   * @param buffers new buffers for the parameters that have buffers of their own.
   */
  async resume(
    device: GPUDevice,
    snapshot: Uint8Array,
    buffers: Definitions = {},
  ): Promise<WebGpuAdan> {
    const own = named(buffers);
    const definitions = [...this.#definitions].map(([name, old]) => {
      return [name, own.get(name) ?? old] as const;
    });
    const next = await WebGpuAdan.create(device, definitions, this.#options);
    try {
      next.load(snapshot);
    } catch (error) {
      next.dispose();
      throw error;
    }
    return next;
  }

  /** Frees every buffer that the optimizer made, arenas included. Again is harmless. */
  dispose(): void {
    this.#core.dispose();
    free(this.#places);
    this.#backend.flush();
  }

  /** Runs `fn` with its commands in the encoder, or submitted under a watch for validation errors. */
  #record<R>(fn: () => R, encoder?: GPUCommandEncoder): R {
    const backend = this.#backend;
    backend.alive();
    if (encoder) return backend.within(encoder, fn);
    backend.device.pushErrorScope('validation');
    try {
      const result = fn();
      backend.flush();
      return result;
    } finally {
      const now = backend.device.popErrorScope().catch(() => null);
      this.#fault = this.#fault.then((before) => before ?? now);
    }
  }

  async #read<R>(fn: () => Promise<R>): Promise<R> {
    this.#backend.alive();
    const promise = fn();
    this.#backend.flush();
    this.#backend.readPostponed();
    const before = this.#fault;
    this.#fault = Promise.resolve(null);
    const [result, fault] = await Promise.all([promise, before]);
    this.#backend.alive();
    if (!fault) return result;
    const code = /destroyed/i.test(fault.message) ? 'destroyed-buffer' : 'gpu-validation';
    throw new WebGpuError(
      code,
      `The GPU refused a command since the last reading: ${fault.message} Steps since then may not have run; go on from a snapshot.`,
      'device',
      fault,
    );
  }
}

/** The core replaces tensors; a parameter's buffer stays, and takes the values. */
function cell(backend: WebGpuBackend, parameter: GpuTensor): ParameterCell<GpuTensor> {
  return {
    get: () => parameter,
    set: (tensor) => {
      if (tensor === parameter) return;
      backend.transfer(tensor, parameter.storage, parameter.offset);
      tensor.dispose();
    },
  };
}

function free(places: ReadonlyMap<string, Place>): void {
  for (const { parameter, gradient } of places.values()) {
    parameter.chunk!.planes.get('x')?.drop();
    parameter.dispose();
    gradient.dispose();
  }
}
