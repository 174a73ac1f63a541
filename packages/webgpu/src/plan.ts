import type { StepEntry, StepGroup, StepMetrics, StepRequest } from '@schedule-free-adan/core';
import {
  type CoefficientName,
  type Coefficients,
  coefficients,
  type ElementState,
  type RuleForm,
} from '@schedule-free-adan/core/rule';
import type { Binding, WebGpuBackend } from './backend.js';
import {
  coefficientNames,
  firstKernel,
  fusedKernel,
  HALF,
  HEADER,
  INACTIVE,
  normKernel,
  REQUEST,
  ROW,
  requestBytes,
  ruleOf,
  verdictKernel,
} from './kernels.js';
import { GpuTensor, padded, type Storage } from './tensor.js';

/** Parameters that one dispatch can reach: an arena's chunk, or one parameter in a buffer of its own. */
interface Segment {
  readonly bytes: number;
  /** One buffer per state tensor, laid out as the parameters are. */
  readonly planes: Map<string, Storage>;
  /** Not an arena: one tensor, anywhere. */
  readonly single: boolean;
  parameters: GpuTensor | Storage;
  gradients: GpuTensor | Storage;
}

interface Slot {
  readonly index: number;
  readonly segment: Segment;
}

/** A dispatch of the step: the parameters of a segment that are stepped in one form of the rule. */
interface Job {
  readonly segment: Segment;
  readonly form: RuleForm;
  readonly groups: StepGroup[];
  /** The tensor that it spans, when it spans but one. */
  readonly tensor: number | undefined;
  /** Where in the control buffer its table of blocks begins, and the segment's table of shares. */
  readonly blocks: number;
  readonly items: number;
  /** Shares of the norm, counted at the first job of a segment. */
  readonly itemCount: number;
  /** What the kernels are told of a step: a part of the buffer of requests. */
  request?: GPUBufferBinding;
  readonly ready: Map<string, Ready>;
}

/** A dispatch, kept as long as the same buffers take part. */
interface Ready {
  readonly bindings: readonly Binding[];
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
}

type Entry = StepEntry<GpuTensor>;

/** Threads that look for tensors with a first gradient. One row of workgroups, whatever their size. */
const FIRST_THREADS = 8192;
const UNIFORM_COPY_DST = 0x48;
const PLANES = ['z', 'm', 'v', 'n', 'g'] as const;
const METRICS = ['gradientNorm', 'clipFactor', 'skippedSteps'] as const;

/**
 * The fused step of one optimizer: where its tensors are, and the commands that step them. The control
 * buffer is all that the device knows: norm, clip factor and skipped steps, which parameters have seen
 * a gradient, and the tables that lead from a block of elements to its coefficients.
 */
export class Plan {
  #slots = new Map<ElementState<GpuTensor>, Slot>();
  #segments = new Map<unknown, Segment>();
  #jobs: Job[] = [];
  #metrics!: StepMetrics<GpuTensor>;
  #control: Storage | undefined;
  #requests!: Storage;
  #partialCount = 0;
  /** Where in the control buffer the partial sums are. */
  #sums = 0;
  /** Whom the tables are about. */
  #entries: readonly Entry[] = [];
  #forms = '';
  /** A parameter may meet its first gradient in the next step, as far as the host knows. */
  #unsettled = true;

  constructor(readonly backend: WebGpuBackend) {}

  step(request: StepRequest<GpuTensor>): void {
    const { entries } = request;
    if (entries.length === 0) return;
    this.#metrics = request.metrics;
    const forms = unified(entries);
    const text = [...forms.values()].join();
    if (
      text !== this.#forms ||
      entries.length !== this.#entries.length ||
      entries.some(({ state, group }, k) => {
        const old = this.#entries[k]!;
        return state !== old.state || group !== old.group;
      })
    ) {
      this.#arrange(entries, forms);
      this.#forms = text;
    }
    this.#entries = entries;
    this.settle();
    for (const { state, gradient } of entries) {
      const { segment } = this.#slots.get(state)!;
      if (segment.single)
        Object.assign(segment, { parameters: state.parameter, gradients: gradient });
    }
    this.#encode(request);
  }

  /** Says which tensor has which coefficients, who sums what, and which block belongs to which tensor. */
  #arrange(entries: readonly Entry[], forms: ReadonlyMap<StepGroup, string>): void {
    if (entries.some(({ state }) => !this.#slots.has(state))) this.#number(entries);
    this.#unsettled = true;
    const { normThreads } = this.backend;
    const total = entries.reduce((sum, { state }) => sum + vectorsIn(state), 0);
    // Every share of the norm is that long, whatever the layout.
    const share = Math.max(8, Math.ceil(total / normThreads));
    const rows = new Uint32Array(ROW * this.#slots.size).fill(INACTIVE);
    const tables: number[] = [];
    const start = this.#slots.size;
    const here = () => start + rows.length + tables.length;
    const members = new Map<Segment, Entry[]>();
    this.#partialCount = 0;
    for (const entry of entries) {
      const { segment, index } = this.#slots.get(entry.state)!;
      const { length, offset } = entry.state.parameter;
      const first = segment.single ? 0 : offset / 64;
      const shares = Math.ceil(vectorsIn(entry.state) / share);
      rows.set([0, length, first, this.#partialCount, shares], ROW * index);
      this.#partialCount += shares;
      if (!members.get(segment)?.push(entry)) members.set(segment, [entry]);
    }
    this.#jobs = [];
    for (const [segment, inside] of members) {
      const items = here();
      for (const { state } of inside) {
        const { index } = this.#slots.get(state)!;
        for (let k = 0; k < rows[ROW * index + 4]!; k++) tables.push(index, k);
      }
      let itemCount = (here() - items) / 2;
      for (const text of new Set(inside.map(({ group }) => forms.get(group)!))) {
        const stepped = inside.filter(({ group }) => forms.get(group) === text);
        const groups = [...new Set(stepped.map(({ group }) => group))];
        const [{ state: some }] = stepped as [Entry];
        const alone = segment.bytes - 4 * some.parameter.length < 256;
        const tensor = alone ? this.#slots.get(some)!.index : undefined;
        const blocks = here();
        const first = tables.length;
        if (!alone) for (let k = 0; k < segment.bytes / 256; k++) tables.push(INACTIVE);
        for (const { state, group } of stepped) {
          const { index } = this.#slots.get(state)!;
          rows[ROW * index] = groups.indexOf(group);
          const from = first + state.parameter.offset / 256;
          if (!alone) tables.fill(index, from, from + Math.ceil(vectorsIn(state) / 16));
        }
        const form: RuleForm = JSON.parse(text);
        const ready = new Map();
        this.#jobs.push({ segment, form, groups, tensor, blocks, items, itemCount, ready });
        itemCount = 0;
      }
    }
    this.#sums = here();
    this.#allocate(HEADER + start + rows.length, new Set(forms.values()).size);
    const words = Uint32Array.from([...rows, ...tables]);
    this.backend.write(this.#control!.buffer, 4 * (HEADER + start), words);
  }

  /** Makes buffers with room for whoever may take part in a later step, unless they are there. */
  #allocate(words: number, forms: number): void {
    const { backend } = this;
    let shares = 0;
    let blocks = 0;
    for (const state of this.#slots.keys()) shares += Math.ceil(vectorsIn(state) / 8);
    for (const { single, bytes } of this.#segments.values()) blocks += single ? 0 : bytes / 256;
    const most = Math.min(shares, backend.normThreads + this.#slots.size);
    const bytes = 4 * (words + 4 * most + blocks * forms);
    const room = this.#jobs.reduce((sum, { groups }) => sum + requestBytes(groups.length), 0);
    if (!this.#control || this.#control.buffer.size < bytes || this.#requests.buffer.size < room) {
      const requests = backend.allocate(room, UNIFORM_COPY_DST);
      this.#requests = requests;
      // Lives as long as the scalars in it.
      this.#control = backend.allocate(bytes, undefined, undefined, () => requests.drop());
    }
    const { buffer } = this.#requests;
    let offset = 0;
    for (const job of this.#jobs) {
      const size = requestBytes(job.groups.length);
      job.request = { buffer, offset, size };
      offset += size;
    }
  }

  /** Numbers all parameters anew. */
  #number(entries: readonly Entry[]): void {
    const segments = new Map<unknown, Segment>();
    const states = [...this.#slots.keys(), ...entries.map(({ state }) => state)];
    this.#slots = new Map();
    for (const state of new Set(states)) {
      if (state.n.disposed) continue;
      const { parameter } = state;
      const { chunk } = parameter;
      const key = chunk ?? state;
      const segment = segments.get(key) ??
        this.#segments.get(key) ?? {
          bytes: chunk?.bytes ?? padded(parameter.length),
          planes: new Map(),
          single: !chunk,
          parameters: chunk?.parameters ?? parameter,
          gradients: chunk?.gradients ?? parameter,
        };
      segments.set(key, segment);
      this.#slots.set(state, { index: this.#slots.size, segment });
    }
    this.#segments = segments;
    this.#control = undefined;
  }

  /** Moves what others made, scalars and state, to where the kernels expect it. */
  settle(): void {
    const { backend } = this;
    if (!this.#control || this.#control.released) return;
    backend.apart(() => {
      METRICS.forEach((key, word) => {
        this.#move(this.#metrics[key], this.#control!, 4 * word);
      });
      for (const [state, { index, segment }] of this.#slots) {
        if (state.n.disposed) continue;
        if (state.seen) this.#move(state.seen, this.#control!, 4 * (HEADER + index));
        for (const key of PLANES) {
          const tensor = state[key];
          if (!tensor) continue;
          const half = backend.half && HALF.includes(key);
          const scale = half ? 2 : 1;
          let plane = segment.planes.get(key);
          if (!plane || plane.released) {
            plane = backend.allocate(segment.bytes / scale);
            segment.planes.set(key, plane);
          }
          this.#move(tensor, plane, segment.single ? 0 : state.parameter.offset / scale, half);
        }
      }
    });
  }

  #move(tensor: GpuTensor, target: Storage, offset: number, half = false): void {
    if (tensor.storage === target) return;
    if (half && !tensor.half) this.backend.pack(tensor, target, offset);
    else this.backend.transfer(tensor, target, offset);
    tensor.moveTo(target, offset, half);
    this.#unsettled = true;
  }

  #encode({ maxGradNorm, epsilon, skipNonFinite: checking }: StepRequest<GpuTensor>): void {
    const { backend } = this;
    const control = this.#control!;
    const clipping = maxGradNorm > 0;
    const looking = clipping || checking;
    const guarded = checking || this.#unsettled;
    const words = new Uint32Array(this.#requests.buffer.size / 4);
    const floats = new Float32Array(words.buffer);
    const steps = this.#jobs.map((job) => {
      const { segment, form, groups, tensor } = job;
      const sets = groups.map((group) => {
        const set = coefficients(group);
        // No decay, in a kernel that decays: nothing added, nothing shrunk.
        const none = group.hyperparameters.weightDecay === 0;
        return none ? { ...set, decay: form.decay === 'y' ? 0 : 1 } : set;
      });
      const x = backend.averages?.get(storageOf(segment.parameters));
      const vectors = knownVectors(segment);
      const variant = {
        ...{ form, clipping, checking, vectors, packed: isPacked(segment), half: backend.half },
        ...{ single: tensor !== undefined, averages: !!x, sets: sets.length },
        ...{ words: vectors && control.buffer.size / 4 - HEADER, constants: agreed(sets) },
      };
      const names = coefficientNames(variant);
      const at = job.request!.offset! / 4;
      floats.set([maxGradNorm, epsilon], at);
      words.set(
        [
          ...[looking ? this.#partialCount : 0, this.#slots.size, job.blocks, job.items],
          ...[job.itemCount, vectorsOf(segment), tensor ?? 0, this.#sums],
        ],
        at + 2,
      );
      sets.forEach((set, k) => {
        const size = Math.ceil(names.length / 4) * 4;
        floats.set(
          names.map((name) => set[name]),
          at + REQUEST + size * k,
        );
      });
      return () => {
        const bindings = ruleOf(variant).inputs.map((name) => {
          if (name === 'gradient') return whole(segment.gradients);
          return name === 'parameter' ? whole(segment.parameters) : segment.planes.get(name)!;
        });
        if (x) bindings.push(x);
        const key = JSON.stringify(variant);
        const count = vectorsOf(segment);
        const gradients = whole(segment.gradients);
        const previous = segment.planes.get('g');
        if (guarded && form.gradientDifference && previous) {
          const few = Math.min(count, FIRST_THREADS);
          this.#run(job, `first ${key}`, () => firstKernel(variant), few, gradients, previous);
        }
        this.#run(job, key, () => fusedKernel(variant), count, ...bindings);
      };
    });
    backend.write(this.#requests.buffer, 0, words);
    if (looking) {
      for (const job of this.#jobs) {
        const { segment, itemCount } = job;
        const code = () => {
          const vectors = knownVectors(segment);
          return normKernel(checking, isAligned(segment), vectors && vectors / 4);
        };
        this.#run(job, `norm ${checking}`, code, itemCount, whole(segment.gradients));
      }
    }
    if (looking || guarded) {
      this.#run(this.#jobs[0]!, 'verdict', verdictKernel, 1);
    }
    for (const step of steps) step();
    if (!checking) this.#unsettled = false;
  }

  #run(job: Job, key: string, code: () => string, count: number, ...places: Binding[]): void {
    if (count === 0) return;
    const { backend } = this;
    const bindings = [this.#control!, job.request!, ...places];
    let ready = job.ready.get(key);
    if (!ready || bindings.some((place, k) => place !== ready!.bindings[k])) {
      const pipeline = ready?.pipeline ?? backend.pipeline(code());
      ready = { bindings, pipeline, group: backend.bind(pipeline, bindings) };
      job.ready.set(key, ready);
    }
    backend.dispatch(ready.pipeline, ready.group, count);
  }
}

const vectorsIn = ({ parameter }: ElementState<GpuTensor>) => Math.ceil(parameter.length / 4);
const vectorsOf = ({ single, parameters, bytes }: Segment) =>
  single ? Math.ceil((parameters as GpuTensor).length / 4) : bytes / 16;
/** An arena's kernels know its size; for buffers of the user's, one kernel serves every size. */
const knownVectors = (segment: Segment) => (segment.single ? undefined : vectorsOf(segment));
const storageOf = (place: GpuTensor | Storage) =>
  place instanceof GpuTensor ? place.storage : place;

/** Hyperparameters that stay as they are from step to step. */
const STEADY = [
  ...['momentum', 'oneMinusMomentum', 'beta1', 'oneMinusBeta1', 'beta2', 'oneMinusBeta2'],
  ...['beta3', 'oneMinusBeta3', 'epsilon'],
] as CoefficientName[];
const agreed = (sets: readonly Coefficients[]): Partial<Coefficients> =>
  Object.fromEntries(
    STEADY.filter((name) => sets.every((set) => set[name] === sets[0]![name])).map((name) => [
      name,
      sets[0]![name],
    ]),
  );

/** Of a user's buffer, nothing is touched but what he gave. */
const exact = (place: GpuTensor | Storage): place is GpuTensor =>
  place instanceof GpuTensor && !place.storage.release;
const isPacked = ({ parameters, gradients }: Segment) =>
  [parameters, gradients].every((place) => !exact(place) || place.size % 16 === 0);
const isAligned = ({ single, parameters }: Segment) =>
  !single || (parameters as GpuTensor).length % 16 === 0;
const whole = (place: GpuTensor | Storage): Binding => (exact(place) ? place : storageOf(place));

/**
 * The form that each group is stepped in, as text: parameters without decay join the others, if those
 * decay in one way, so that one dispatch steps all.
 */
function unified(entries: readonly Entry[]): Map<StepGroup, string> {
  const forms = new Map(entries.map(({ group, form }) => [group, form]));
  const kinds = new Set([...forms.values()].map(({ decay }) => decay));
  kinds.delete('none');
  const [decay] = kinds.size === 1 ? kinds : [];
  return new Map(
    [...forms].map(([group, form]) => [
      group,
      JSON.stringify({ ...form, ...(decay && { decay }) }),
    ]),
  );
}
