import type { StepEntry, StepGroup, StepMetrics, StepRequest } from '@schedule-free-adan/core';
import {
  type Coefficients,
  coefficients,
  type ElementState,
  type RuleForm,
} from '@schedule-free-adan/core/rule';
import { jointForms } from '@schedule-free-adan/core/wgsl';
import type { Prepared, WebGpuBackend } from './backend.js';
import {
  firstKernel,
  fusedStep,
  HEADER,
  INACTIVE,
  METRICS,
  normKernel,
  REQUEST,
  ROW,
  requestBytes,
  verdictKernel,
} from './kernels.js';
import {
  type Chunk,
  chunkOf,
  type GpuTensor,
  placeIn,
  type Range,
  type Storage,
  vectorsIn,
} from './tensor.js';

interface Slot {
  readonly index: number;
  readonly chunk: Chunk;
}

/** A dispatch of the step: the parameters of a chunk that are stepped in one form of the rule. */
interface Job {
  readonly chunk: Chunk;
  readonly form: RuleForm;
  readonly groups: StepGroup[];
  /** It spans a single tensor. */
  readonly alone: boolean;
  /** Shares of the norm, counted at the first job of a chunk. */
  readonly itemCount: number;
  /**
   * Words of its request: where its table of blocks begins, and the chunk's table of shares; how many of
   * these; vectors; the tensor that it spans alone.
   */
  readonly numbers: readonly number[];
  /** What the kernels are told of a step: a part of the buffer of requests. */
  request?: Required<GPUBufferBinding>;
  readonly ready: Map<string, Ready>;
}

/** A dispatch, kept as long as the same buffers take part. */
interface Ready extends Prepared {
  readonly ranges: readonly Range[];
}

type Entry = StepEntry<GpuTensor>;

/** Threads that look for tensors with a first gradient. One row of workgroups, whatever their size. */
const FIRST_THREADS = 2048;
/** A share of the norm has that many vectors at least. */
const LEAST_SHARE = 8;
const UNIFORM_COPY_DST = 0x40 | 0x8;
const PLANES = ['z', 'm', 'v', 'n', 'g'] as const;
/** Coefficients that stay as they are from step to step. */
const STEADY = /^(momentum|oneMinus|beta|epsilon)/;

/** The fused step of one optimizer. */
export interface Plan {
  step(request: StepRequest<GpuTensor>): void;
  /** Moves what others made, scalars and state, to where the kernels expect it. */
  settle(): void;
}

/**
 * Where the tensors of one optimizer are, and the commands that step them. The control buffer is all that
 * the device knows: norm, clip factor and skipped steps, which parameters have seen a gradient, and the
 * tables that lead from a block of elements to its coefficients.
 */
export function makePlan(backend: WebGpuBackend, metrics: StepMetrics<GpuTensor>): Plan {
  const slots = new WeakMap<ElementState<GpuTensor>, Slot>();
  let tensors = 0;
  let jobs: Job[] = [];
  let control: Storage | undefined;
  let requests: Storage;
  let partials = 0;
  /** Where in the control buffer the partial sums are. */
  let sums = 0;
  /** Whom the tables are about, and in which forms they are stepped. */
  let entries: readonly Entry[] = [];
  let formsText = '';
  /** A parameter may meet its first gradient in the next step, as far as the host knows. */
  let unsettled = true;

  /** Says which tensor has which coefficients, who sums what, and which block belongs to which tensor. */
  function arrange(entries: readonly Entry[], forms: ReadonlyMap<StepGroup, string>): void {
    unsettled = true;
    for (const { state } of entries) {
      if (slots.has(state)) continue;
      const { chunk, storage, length } = state.parameter;
      slots.set(state, {
        index: tensors++,
        chunk: chunk ?? chunkOf(storage, storage, vectorsIn(length), true),
      });
    }
    const total = entries.reduce((sum, { gradient }) => sum + vectorsIn(gradient.length), 0);
    // Every share of the norm is that long, whatever the layout.
    const share = Math.max(LEAST_SHARE, Math.ceil(total / backend.normThreads));
    const rows = new Uint32Array(ROW * tensors).fill(INACTIVE);
    const tables: number[] = [];
    const here = () => tensors + rows.length + tables.length;
    partials = 0;
    const members = entries.map(({ state, group }) => {
      const { chunk, index } = slots.get(state)!;
      const { length } = state.parameter;
      const start = placeIn(chunk, state.parameter) / 64;
      const shares = Math.ceil(vectorsIn(length) / share);
      rows.set([0, length, start, partials, shares], ROW * index);
      partials += shares;
      return { chunk, index, group, form: forms.get(group)!, length, start, shares };
    });
    jobs = [];
    for (const chunk of new Set(members.map((member) => member.chunk))) {
      const inside = members.filter((member) => member.chunk === chunk);
      const items = here();
      for (const { index, shares } of inside) {
        for (let k = 0; k < shares; k++) tables.push(index, k);
      }
      let itemCount = (here() - items) / 2;
      for (const text of new Set(inside.map(({ form }) => form))) {
        const stepped = inside.filter(({ form }) => form === text);
        const groups = [...new Set(stepped.map(({ group }) => group))];
        const owners = new Array(Math.ceil(chunk.vectors / 16)).fill(INACTIVE);
        for (const { index, group, length, start } of stepped) {
          rows[ROW * index] = groups.indexOf(group);
          owners.fill(index, start / 4, start / 4 + Math.ceil(length / 64));
        }
        const blocks = here();
        // Of a chunk with one tensor, no table is read.
        const alone = new Set(owners).size === 1;
        if (!alone) for (const index of owners) tables.push(index);
        const numbers = [blocks, items, itemCount, chunk.vectors, owners[0]];
        const form = JSON.parse(text);
        jobs.push({ chunk, form, groups, alone, itemCount, numbers, ready: new Map() });
        itemCount = 0;
      }
    }
    sums = here();
    allocate(HEADER + sums + 2 * partials);
    const words = Uint32Array.from([...rows, ...tables]);
    backend.write(control!, 4 * (HEADER + tensors), words);
  }

  /** Makes buffers that are large enough, unless they are there. */
  function allocate(words: number): void {
    const size = requestBytes(Math.max(...jobs.map(({ groups }) => groups.length)));
    const room = size * jobs.length;
    if (!control || control.size < 4 * words || requests.size < room) {
      const beside = backend.allocate(room, UNIFORM_COPY_DST);
      requests = beside;
      // Lives as long as the scalars in it.
      control = backend.allocate(4 * words, undefined, undefined, () => beside.drop());
    }
    jobs.forEach((job, k) => {
      job.request = { buffer: requests.buffer, offset: size * k, size };
    });
  }

  function settle(): void {
    if (!control) return;
    METRICS.forEach((key, word) => {
      move(metrics[key], control!, 4 * word);
    });
    for (const { state } of entries) {
      if (state.n.disposed) continue;
      const { index, chunk } = slots.get(state)!;
      if (state.seen) move(state.seen, control, 4 * (HEADER + index));
      for (const key of PLANES) {
        const tensor = state[key];
        if (tensor) move(tensor, backend.plane(chunk, key), placeIn(chunk, state.parameter));
      }
    }
  }

  /** @param place in bytes of float32 */
  function move(tensor: GpuTensor, target: Storage, place: number): void {
    if (tensor.storage === target) return;
    const offset = target.half ? place / 2 : place;
    if (target.half && !tensor.half) backend.pack(tensor, target, offset);
    else backend.transfer(tensor, target, offset);
    tensor.moveTo(target, offset);
    unsettled = true;
  }

  function encode({ maxGradNorm, epsilon, skipNonFinite: checking }: StepRequest<GpuTensor>): void {
    const clipping = maxGradNorm > 0;
    const looking = clipping || checking;
    const guarded = checking || unsettled;
    const words = new Uint32Array(requests.size / 4);
    const floats = new Float32Array(words.buffer);
    const steps = jobs.map(({ chunk, form, groups, alone, numbers, request }) => {
      const { single, vectors, planes, parameter, gradient } = chunk;
      const sets = groups.map(({ scalars, hyperparameters }) => {
        // A group without decay is stepped as those with it are: its coefficient changes nothing.
        const decay = form.decay !== 'none' && { decay: form.decay };
        return coefficients({ scalars, hyperparameters: { ...hyperparameters, ...decay } });
      });
      const variant = {
        ...{ form, clipping, checking, half: backend.half, constants: agreed(sets) },
        ...{ single: alone, sets: sets.length },
        averages: backend.averages && planes.has('x'),
        packed: [parameter, gradient].every(({ size }) => size % 16 === 0),
        // An arena's kernels know its size; for buffers of the user's, one kernel serves every size.
        ...(!single && { vectors, words: control!.size / 4 - HEADER }),
      };
      const step = fusedStep(variant);
      const at = request!.offset / 4;
      floats.set([maxGradNorm, epsilon], at);
      words.set([looking ? partials : 0, tensors, ...numbers, sums], at + 2);
      sets.forEach((set, k) => {
        const size = Math.ceil(step.names.length / 4) * 4;
        floats.set(
          step.names.map((name) => set[name]),
          at + REQUEST + size * k,
        );
      });
      return { variant, ...step };
    });
    backend.write(requests, 0, words);
    if (looking) {
      for (const job of jobs) {
        const { gradient, single, vectors } = job.chunk;
        const whole = gradient.size % 64 === 0;
        const code = () => normKernel(checking, whole, single ? undefined : vectors / 4);
        run(job, `norm ${checking}`, code, job.itemCount, [gradient]);
      }
    }
    if (looking || guarded) run(jobs[0]!, 'verdict', verdictKernel, 1, []);
    jobs.forEach((job, k) => {
      const { variant, arrays, code } = steps[k]!;
      const key = JSON.stringify(variant);
      const { chunk } = job;
      const rangeOf = (name: string): Range =>
        chunk.planes.get(name) ?? chunk[name as 'parameter' | 'gradient'];
      if (guarded && job.form.gradientDifference) {
        const few = Math.min(chunk.vectors, FIRST_THREADS);
        const ranges = ['gradient', 'g'].map(rangeOf);
        run(job, `first ${key}`, () => firstKernel(variant), few, ranges);
      }
      run(job, key, code, chunk.vectors, arrays.map(rangeOf));
    });
    if (!checking) unsettled = false;
  }

  /** Dispatches a kernel, which is bound to the control buffer, the job's request, and others. */
  function run(job: Job, key: string, code: () => string, count: number, others: Range[]): void {
    if (count === 0) return;
    const ranges = [control!, job.request!, ...others];
    let ready = job.ready.get(key);
    if (!ready || ranges.some((range, k) => range !== ready!.ranges[k])) {
      ready = { ranges, ...backend.prepare(code(), ranges) };
      job.ready.set(key, ready);
    }
    backend.dispatch(ready, count);
  }

  function step(request: StepRequest<GpuTensor>): void {
    const next = request.entries;
    if (next.length === 0) return;
    const forms = new Map(
      [...jointForms(next)].map(([group, form]) => [group, JSON.stringify(form)]),
    );
    const text = [...forms.values()].join();
    const same = ({ state, group }: Entry, k: number) =>
      state === entries[k]?.state && group === entries[k].group;
    if (text !== formsText || next.length !== entries.length || !next.every(same)) {
      arrange(next, forms);
    }
    entries = next;
    formsText = text;
    settle();
    for (const { state, gradient } of entries) {
      const { chunk } = slots.get(state)!;
      // The core's own tensors come and go.
      if (!state.parameter.chunk) {
        Object.assign(chunk, { parameter: state.parameter.storage, gradient: gradient.storage });
      }
    }
    encode(request);
  }

  return { step, settle };
}

const agreed = (sets: readonly Coefficients[]): Partial<Coefficients> =>
  Object.fromEntries(
    Object.entries(sets[0]!).filter(
      ([name, value]) =>
        STEADY.test(name) && sets.every((set) => set[name as keyof Coefficients] === value),
    ),
  );
