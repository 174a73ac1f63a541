import type { Placement, StepGroup, StepRequest } from '@schedule-free-adan/core';
import { type Kernel, pointKernel, stepKernel } from '@schedule-free-adan/core/interpreters';
import { coefficients, type StateKey } from '@schedule-free-adan/core/rule';
import {
  expression,
  forEach,
  grid,
  numberSets,
  shader,
  statements,
  storage,
  sumOfSquares,
  total,
  uniform,
  verdict,
} from '@schedule-free-adan/core/wgsl';
import type { KernelBackend, Tensor, TensorInfo } from '@tensorflow/tfjs-core';
import { formKey } from './form-key.js';
import { has } from './has.js';
import type { Fused } from './index.js';
import { adopt, isPrivate, markPrivate, replace, share } from './private.js';

interface Program {
  readonly variableNames: string[];
  readonly outputShape: number[];
  readonly workgroupSize: [number, number, number];
  readonly dispatchLayout: { x: number[]; y: number[]; z: number[] };
  readonly dispatch: [number, number, number];
  readonly outputComponent: number;
  readonly variableComponents: number[];
  readonly size: true;
  readonly uniforms: string;
  readonly shaderKey: string;
  getUserCode(): string;
}

interface WebGpuBackend extends KernelBackend {
  readonly device: GPUDevice;
  readonly tensorMap: { get(dataId: object): { resource?: unknown; values: unknown } };
  uploadToGPU(dataId: object): void;
  ensureCommandEncoderReady(): void;
  endComputePassEncoder(): void;
  submitQueue(): void;
  makeTensorInfo(shape: number[], dtype: 'float32'): TensorInfo;
  runWebGPUProgram(
    program: Program,
    inputs: Tensor[],
    dtype: 'float32',
    uniforms: { type: 'float32'; data: number[] }[],
  ): TensorInfo;
}

const methods = [
  'uploadToGPU',
  'ensureCommandEncoderReady',
  'endComputePassEncoder',
  'submitQueue',
  'makeTensorInfo',
  'runWebGPUProgram',
];
const isWebGpu = (backend: KernelBackend): backend is WebGpuBackend => {
  const { device, tensorMap } = backend as WebGpuBackend;
  return has(backend, ...methods) && has(tensorMap, 'get') && has(device, 'createComputePipeline');
};

/** Gradients that one dispatch looks at: with the partial sums, as many buffers as WebGPU promises. */
const BATCH = 7;
/** Numbers that one thread adds up, unless a tensor has more than enough of them. */
const SHARE = 256;
/** Threads of a step's workgroup. */
const STEP = 256;
/** Workgroups of 64 threads that share a tensor at most. */
const MOST = 32;

/** A step, element by element: the state is written in place, but not the parameter. */
function stepCode(kernel: Kernel, type: string): string {
  const { inputs, outputs, numbers } = kernel;
  const kept = (name: string) => name !== 'parameter' && outputs.includes(name);
  const gradient = numbers.includes('clip') ? 'clip * gradient' : 'gradient';
  const c = numberSets(
    'c',
    numbers.filter((name) => name !== 'clip'),
    1,
  );
  const count = inputs.length;
  return shader(
    ...inputs.map((name, k) => storage(k, kept(name) ? 'read_write' : 'read', `old_${name}`, type)),
    storage(count, 'read_write', 'new_parameter', type),
    c.struct,
    uniform(count + 1, 'c', 'array<Numbers, 1>'),
    uniform(count + 2, 'control', 'vec4f'),
    forEach('i', STEP),
    '  if (i >= arrayLength(&old_gradient)) { return; }',
    statements(
      kernel,
      (name) => {
        if (name === 'clip') return 'control.y';
        // A first gradient is its own previous one.
        if (name === 'g') return `select(${gradient}, old_g[i], control.z == 1)`;
        return inputs.includes(name) ? `old_${name}[i]` : c.read(name);
      },
      // Nothing new after a gradient that is not finite. A branch would cost more.
      (name, value) => {
        const old = name === 'g' ? 'old_g[i]' : name;
        return `${kept(name) ? 'old' : 'new'}_${name}[i] = select(${old}, ${value}, control.x == 1);`;
      },
    ),
    '}',
  );
}

const points = { x: pointKernel('x'), y: pointKernel('y') };

/** One of x and y out of the other and z, as one of tfjs' own programs, which it submits with others. */
function pointProgram(to: Placement, shape: number[], vector: number): Program {
  const kernel = points[to];
  const inputs: Record<string, string> = { from: 'A', z: 'B' };
  return {
    variableNames: ['A', 'B'],
    outputShape: shape,
    workgroupSize: [64, 1, 1],
    dispatchLayout: { x: shape.map((_, axis) => axis), y: [], z: [] },
    dispatch: [Math.ceil(shape.reduce((a, b) => a * b, 1) / vector / 64), 1, 1],
    outputComponent: vector,
    variableComponents: [vector, vector],
    size: true,
    uniforms: kernel.numbers.map((name) => `${name} : f32, `).join(''),
    shaderKey: `schedule-free-adan ${to} ${vector}`,
    getUserCode() {
      const value = expression(kernel, (name) =>
        inputs[name] ? `${inputs[name]}[index]` : `uniforms.${name}`,
      );
      return `fn main(index : i32) {
  if (index < uniforms.size) { setOutputAtIndex(index, ${value}); }
}`;
    },
  };
}

/**
 * Sums of squares of up to {@link BATCH} gradients, a share for each thread, and whether any element is not
 * finite. A row of `table` is a gradient's: its first thread, how many it has, and its length.
 */
const partialSums = (whole: boolean, checking: boolean, count: number) => {
  const all = Array.from({ length: count }, (_, k) => k);
  return shader(
    ...all.map((k) => storage(k, 'read', `gradient${k}`, whole ? 'mat4x4f' : 'f32')),
    storage(count, 'read_write', 'partials', 'vec2f'),
    `struct Table { rows: array<vec4u, ${count}>, first: u32 }`,
    uniform(count + 1, 'table', 'Table'),
    ...all.map((k) => sumOfSquares(`gradient${k}`, whole, checking)),
    forEach('i', 64),
    ...all.map(
      (k) => `  let row${k} = table.rows[${k}];
  if (i >= row${k}.x && i < row${k}.x + row${k}.y) {
    partials[table.first + i] = squares_gradient${k}(0, row${k}.z, i - row${k}.x, row${k}.y);
  }`,
    ),
    '}',
  );
};

/** What all gradients together mean: the clip factor, and whether the step is skipped. */
const verdictOf = (clipping: boolean, checking: boolean) =>
  total({
    declarations: [
      'struct Request { maxGradNorm: f32, epsilon: f32, shares: f32 }',
      storage(0, 'read', 'partials', 'vec2f'),
      storage(1, 'read_write', 'verdict', 'vec4f'),
      uniform(2, 'request', 'Request'),
      checking && storage(3, 'read', 'skipped', 'f32'),
      checking && storage(4, 'read_write', 'skippedNext', 'f32'),
      clipping && storage(5, 'read_write', 'gradientNorm', 'f32'),
      clipping && storage(6, 'read_write', 'clipFactor', 'f32'),
    ],
    count: 'u32(request.shares)',
    share: 'partials[k]',
    after: shader(
      verdict,
      '  if (lane > 0) { return; }',
      clipping && '  gradientNorm[0] = norm;\n  clipFactor[0] = clip;',
      checking && '  skippedNext[0] = skipped[0] + 1 - f32(finite);',
      '  verdict[0] = vec4f(f32(finite), clip, 0, 0);',
    ),
  });

/** The verdict, and whether there was a gradient before: for all tensors that share this answer. */
const sight = shader(
  storage(0, 'read', 'verdict', 'vec4f'),
  storage(1, 'read', 'seen', 'f32'),
  storage(2, 'read_write', 'control', 'vec4f'),
  storage(3, 'read_write', 'seenNext', 'f32'),
  `@compute @workgroup_size(1) fn main() {
  control[0] = vec4f(verdict[0].xy, seen[0], 0);
  seenNext[0] = max(seen[0], verdict[0].x);
}`,
);

/** One compute pass with this package's own kernels, on the backend's device and buffers. */
export function webgpu(backend: KernelBackend): Fused | undefined {
  if (!isWebGpu(backend)) return undefined;
  const { device, tensorMap } = backend;
  const { STORAGE, UNIFORM, COPY_DST } = GPUBufferUsage;

  interface Compiled {
    readonly kernel: GPUComputePipeline;
    readonly layout: GPUBindGroupLayout;
  }
  const pipelines = new Map<string, Compiled>();
  const pipeline = (key: string, code: () => string): Compiled => {
    let found = pipelines.get(key);
    if (!found) {
      const module = device.createShaderModule({ code: code() });
      const kernel = device.createComputePipeline({ layout: 'auto', compute: { module } });
      found = { kernel, layout: kernel.getBindGroupLayout(0) };
      pipelines.set(key, found);
    }
    return found;
  };
  /** Scratch buffers by purpose. The queue keeps the order, so every step may use the same ones. */
  const scratch = new Map<string, GPUBuffer>();
  const buffer = (key: string, size: number, usage: number): GPUBuffer => {
    let found = scratch.get(key);
    if (!found || found.size < size) {
      found?.destroy();
      found = device.createBuffer({ size, usage: usage | COPY_DST });
      scratch.set(key, found);
    }
    return found;
  };
  const numbersOf = (key: string, values: readonly number[]) => {
    const data = new Float32Array(Math.ceil(values.length / 4) * 4);
    data.set(values);
    const target = buffer(key, data.byteLength, UNIFORM);
    device.queue.writeBuffer(target, 0, data);
    return target;
  };
  const tables = new Map<string, GPUBuffer>();
  const tableOf = (numbers: readonly number[]) => {
    const key = String(numbers);
    let found = tables.get(key);
    if (!found) {
      found = device.createBuffer({ size: 4 * numbers.length, usage: UNIFORM | COPY_DST });
      device.queue.writeBuffer(found, 0, Uint32Array.from(numbers));
      tables.set(key, found);
    }
    return found;
  };

  const gpu = ({ dataId }: Tensor): GPUBuffer => {
    backend.uploadToGPU(dataId);
    return tensorMap.get(dataId).resource as GPUBuffer;
  };
  const make = (shape: number[]) => adopt(backend.makeTensorInfo(shape, 'float32'));

  /** How many threads, in workgroups of what size. */
  type Dispatch = readonly [Compiled, readonly (GPUBuffer | undefined)[], number, number];
  const submit = (copies: readonly [GPUBuffer, GPUBuffer][], dispatches: readonly Dispatch[]) => {
    // What tfjs has recorded comes first.
    backend.ensureCommandEncoderReady();
    backend.endComputePassEncoder();
    backend.submitQueue();
    const encoder = device.createCommandEncoder();
    for (const [from, to] of copies) encoder.copyBufferToBuffer(from, 0, to, 0, to.size);
    const pass = encoder.beginComputePass();
    for (const [{ kernel, layout }, buffers, threads, size] of dispatches) {
      const entries = buffers.flatMap((buffer, binding) =>
        buffer ? [{ binding, resource: { buffer } }] : [],
      );
      pass.setPipeline(kernel);
      pass.setBindGroup(0, device.createBindGroup({ layout, entries }));
      pass.dispatchWorkgroups(...grid(threads, size));
    }
    pass.end();
    device.queue.submit([encoder.finish()]);
  };
  const kernels = new Map<string, Kernel>();
  const width = (size: number) => (size % 4 === 0 ? 4 : 1);
  const isWhole = (size: number) => size % 16 === 0;
  const typeOf = (size: number) => (width(size) === 4 ? 'vec4f' : 'f32');

  function step(request: StepRequest<Tensor>): void {
    const { metrics, maxGradNorm, epsilon, skipNonFinite } = request;
    const entries = request.entries.filter(({ gradient }) => gradient.size > 0);
    const clipping = maxGradNorm > 0;
    const copies: [GPUBuffer, GPUBuffer][] = [];
    const dispatches: Dispatch[] = [];
    const after: (() => void)[] = [];

    /** Threads that sum gradients so far. */
    let total = 0;
    const sums: [Tensor[], number[], number][] = [];
    if (clipping || skipNonFinite) {
      for (const whole of [true, false]) {
        const gradients = entries
          .map(({ gradient }) => gradient)
          .filter(({ size }) => isWhole(size) === whole);
        for (let at = 0; at < gradients.length; at += BATCH) {
          const batch = gradients.slice(at, at + BATCH);
          const first = total;
          const rows = batch.flatMap(({ size }) => {
            const threads = 64 * Math.min(MOST, Math.ceil(size / (64 * SHARE)));
            const row = [total - first, threads, size, 0];
            total += threads;
            return row;
          });
          sums.push([batch, [...rows, first, 0, 0, 0], total - first]);
        }
      }
    }
    const partials = buffer('partials', 8 * Math.max(1, total), STORAGE);
    for (const [batch, table, threads] of sums) {
      const whole = isWhole(batch[0]!.size);
      dispatches.push([
        pipeline(`partials${whole}${skipNonFinite}${batch.length}`, () =>
          partialSums(whole, skipNonFinite, batch.length),
        ),
        [...batch.map(gpu), partials, tableOf(table)],
        threads,
        64,
      ]);
    }
    const verdict = buffer('verdict', 16, STORAGE);
    const report = (key: keyof typeof metrics, wanted: boolean) => {
      if (!wanted) return undefined;
      const tensor = make([]);
      after.push(() => replace(metrics, key, tensor));
      return gpu(tensor);
    };
    dispatches.push([
      pipeline(`verdict${clipping}${skipNonFinite}`, () => verdictOf(clipping, skipNonFinite)),
      [
        partials,
        verdict,
        numbersOf('request', [maxGradNorm, epsilon, total]),
        skipNonFinite ? gpu(metrics.skippedSteps) : undefined,
        report('skippedSteps', skipNonFinite),
        report('gradientNorm', clipping),
        report('clipFactor', clipping),
      ],
      64,
      64,
    ]);

    // Parameters that were met together share one answer, whether they have had a gradient.
    const sights = new Map<unknown, { control: GPUBuffer; next: Tensor }>();
    const sightOf = (seen: Tensor | undefined) => {
      const values = seen && tensorMap.get(seen.dataId).values;
      const key = values instanceof Float32Array ? values[0] : seen?.dataId;
      let found = sights.get(key);
      if (!found) {
        const control = buffer(`control${sights.size}`, 16, STORAGE | UNIFORM);
        const next = make([]);
        const none = () => buffer('unseen', 4, STORAGE);
        dispatches.push([
          pipeline('sight', () => sight),
          [verdict, seen ? gpu(seen) : none(), control, gpu(next)],
          1,
          1,
        ]);
        found = { control, next };
        sights.set(key, found);
      }
      return found;
    };
    for (const { state } of request.entries) sightOf(state.seen);

    const written = new Map<string, GPUBuffer>();
    const groups = new Map<StepGroup, Record<string, number>>();
    for (const { form, group, state, gradient } of entries) {
      const key = `${formKey(form)} ${clipping}`;
      let kernel = kernels.get(key);
      if (!kernel) {
        kernel = stepKernel(form, { clipping, clipKnown: 'device' });
        kernels.set(key, kernel);
      }
      const program = kernel;
      const c = groups.get(group) ?? { ...coefficients(group), nr: groups.size };
      groups.set(group, c);
      const { control } = sightOf(state.seen);
      const buffers = kernel.inputs.map((name) => {
        if (name === 'gradient') return gpu(gradient);
        const old = state[name as StateKey]!;
        if (name === 'parameter') return gpu(old);
        if (isPrivate(old)) {
          tensorMap.get(old.dataId).values = null;
          return gpu(old);
        }
        const mine = markPrivate(make(old.shape));
        copies.push([gpu(old), gpu(mine)]);
        after.push(() => replace(state, name as StateKey, mine));
        return gpu(mine);
      });
      const parameter = make(gradient.shape);
      after.push(() => {
        state.parameter = parameter;
      });
      const own = `${key} ${c.nr}`;
      let numbers = written.get(own);
      if (!numbers) {
        const names = kernel.numbers.filter((name) => name !== 'clip');
        numbers = numbersOf(
          own,
          names.map((name) => c[name]!),
        );
        written.set(own, numbers);
      }
      const { size } = gradient;
      dispatches.push([
        pipeline(`${key} ${width(size)}`, () => stepCode(program, typeOf(size))),
        [...buffers, gpu(parameter), numbers, control],
        size / width(size),
        STEP,
      ]);
    }
    for (const { state } of request.entries) {
      if (!state.seen) continue;
      const { next } = sightOf(state.seen);
      after.push(() => replace(state, 'seen', share(next)));
    }
    submit(copies, dispatches);
    for (const act of after) act();
    for (const { next } of sights.values()) next.dispose();
  }

  return {
    step,
    point(from, z, momentum, to) {
      if (from.size === 0) return share(from);
      const numbers: Record<string, number> = { momentum, oneMinusMomentum: 1 - momentum };
      const uniforms = points[to].numbers.map((name) => ({
        type: 'float32' as const,
        data: [numbers[name]!],
      }));
      const program = pointProgram(to, from.shape, width(from.size));
      return adopt(backend.runWebGPUProgram(program, [from, z], 'float32', uniforms));
    },
  };
}
