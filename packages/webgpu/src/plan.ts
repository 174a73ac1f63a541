import type {
  Coefficients,
  ParameterState,
  RuleForm,
  StateKey,
  StepEntry,
  StepMetrics,
  StepRequest,
} from '@schedule-free-adan/core';
import type { WebGpuBackend } from './backend.js';
import { WebGpuError } from './errors.js';
import {
  evaluationKernel,
  HEADER_WORDS,
  halfKeys,
  INACTIVE,
  normKernel,
  ROW_WORDS,
  type StepVariant,
  stepBindings,
  stepKernel,
  VECTORS_PER_BLOCK,
  verdictKernel,
} from './kernels.js';
import { type Chunk, GpuTensor, padded, type Storage } from './tensor.js';

/** Parameters that one dispatch can reach: an arena's chunk, or one parameter in a buffer of its own. */
interface Segment {
  readonly bytes: number;
  readonly single: boolean;
  readonly slots: Slot[];
  /** One buffer per state tensor, laid out as the parameters are. */
  readonly planes: Map<StateKey, Storage>;
  readonly forms: Set<number>;
  parameters: GpuTensor | Storage;
  gradients: GpuTensor | Storage;
  firstItem: number;
  itemCount: number;
}

interface Slot {
  readonly index: number;
  readonly name: string;
  readonly segment: Segment;
  readonly state: ParameterState<GpuTensor>;
  readonly length: number;
  momentum: number | undefined;
}

interface Bound {
  readonly parameters: object;
  readonly group: GPUBindGroup;
}

const UNIFORM = 0x40;
const COPY_DST = 0x8;
const RANGE_BYTES = 256;
/** Dispatches that a segment may need: one for each form of the rule in it. */
const FORMS = 16;
const PLANES = ['z', 'm', 'v', 'n', 'g'] as const;
const METRICS = ['gradientNorm', 'clipFactor', 'skippedSteps'] as const;

/**
 * The fused step of one optimizer: where its tensors are, and the commands that step them. The control
 * buffer is all that the device knows: norm, clip factor and skipped steps, which parameters have seen
 * a gradient, and the tables that lead from a block of elements to its coefficients.
 */
export class Plan {
  readonly #backend: WebGpuBackend;
  #slots = new Map<string, Slot>();
  #segments: Segment[] = [];
  #metrics: StepMetrics<GpuTensor> | undefined;
  #control: Storage | undefined;
  #request: Storage | undefined;
  #ranges: Storage | undefined;
  #partials: Storage | undefined;
  #tables = new Uint32Array();
  /** Entries of the last step as text: the tables are rewritten when it changes. */
  #signature = '';
  #forms: RuleForm[] = [];
  #groups = 1;
  #partialCount = 0;
  /** Steps since which every parameter's first gradient is known to lie behind. */
  #settled = 0;
  #bound = new WeakMap<object, Map<string, Bound>>();

  constructor(backend: WebGpuBackend) {
    this.#backend = backend;
  }

  step(request: StepRequest<GpuTensor>): void {
    const { entries } = request;
    if (entries.length === 0) return;
    this.#adopt(request);

    const coefficients: Coefficients[] = [];
    const rows = new Map<Slot, number>();
    const forms = unified(entries);
    for (const { name, form, coefficients: c, gradient } of entries) {
      const slot = this.#slots.get(name)!;
      if (!coefficients.includes(c)) coefficients.push(c);
      rows.set(slot, (this.#formIndex(forms(form)) << 16) | coefficients.indexOf(c));
      slot.momentum = form.scheduleFree ? c.momentum : undefined;
      if (!slot.segment.single) continue;
      slot.segment.parameters = slot.state.parameter;
      slot.segment.gradients = gradient;
    }
    this.#tabulate(rows);
    if (!this.#request || this.#groups < coefficients.length) this.#makeRoom(coefficients.length);
    this.#writeRequest(request, coefficients, forms);
    this.#encode(request, coefficients[0]!);
  }

  /** A uniform buffer for that many sets of coefficients. */
  #makeRoom(sets: number): void {
    while (this.#groups < sets) this.#groups *= 2;
    const bytes = 16 + 80 * this.#groups;
    const most = this.#backend.device.limits.maxUniformBufferBindingSize;
    if (bytes > most) {
      throw new WebGpuError(
        'too-many-groups',
        `${sets} groups of parameters need a uniform buffer of ${bytes} bytes, and the device allows ${most}; put parameters with the same options into one group.`,
        'groups',
        sets,
      );
    }
    this.#request?.drop();
    this.#request = this.#backend.allocate(bytes, UNIFORM | COPY_DST);
    this.#bound = new WeakMap();
  }

  #formIndex(form: RuleForm): number {
    const text = JSON.stringify(form);
    const index = this.#forms.findIndex((known) => JSON.stringify(known) === text);
    return index >= 0 ? index : this.#forms.push(form) - 1;
  }

  // Layout

  /** Takes in parameters that are new, and moves state that others made to where the kernels expect it. */
  #adopt({ entries, metrics }: StepRequest<GpuTensor>): void {
    const known = ({ name, state }: StepEntry<GpuTensor>) => {
      const slot = this.#slots.get(name);
      return slot !== undefined && slot.state === state && this.#fits(slot);
    };
    if (!this.#control || !entries.every(known)) {
      this.#backend.apart(() => this.#layOut(entries, metrics));
    }
    this.#metrics = metrics;
    this.settle();
  }

  /** Moves scalars and state that others made to where the kernels expect them. */
  settle(): void {
    const control = this.#control;
    const metrics = this.#metrics;
    if (!control || control.released || !metrics) return;
    const scalars = METRICS.some((key) => metrics[key].storage !== control);
    const slots = [...this.#slots.values()].filter((slot) => !this.#inPlace(slot));
    if (!scalars && slots.length === 0) return;
    this.#settled = 0;
    this.#backend.apart(() => {
      this.#moveMetrics(metrics);
      for (const slot of slots) this.#moveState(slot);
    });
  }

  #fits({ segment, state }: Slot): boolean {
    const { chunk } = state.parameter;
    return chunk ? segment.parameters === chunk.parameters : segment.single;
  }

  #inPlace({ segment, state }: Slot): boolean {
    if (state.n.disposed) return true;
    const { seen } = state;
    return (
      PLANES.every((key) => !state[key] || state[key].storage === segment.planes.get(key)) &&
      (!seen || seen.storage === this.#control)
    );
  }

  /** Numbers all parameters anew, and makes the buffers that depend on their number. */
  #layOut(entries: readonly StepEntry<GpuTensor>[], metrics: StepMetrics<GpuTensor>): void {
    const backend = this.#backend;
    const old = this.#slots;
    const states = new Map<string, ParameterState<GpuTensor>>();
    for (const [name, { state }] of old) if (!state.n.disposed) states.set(name, state);
    for (const { name, state } of entries) states.set(name, state);

    const segments = new Map<Chunk | string, Segment>();
    this.#slots = new Map();
    for (const [name, state] of states) {
      const { parameter } = state;
      const { chunk } = parameter;
      const before = old.get(name);
      const segment =
        segments.get(chunk ?? name) ??
        (before && this.#fits(before) && before.segment.single === !chunk
          ? Object.assign(before.segment, { slots: [] })
          : {
              bytes: chunk?.bytes ?? padded(parameter.length),
              single: !chunk,
              slots: [],
              planes: new Map<StateKey, Storage>(),
              forms: new Set<number>(),
              parameters: chunk?.parameters ?? parameter,
              gradients: chunk?.gradients ?? parameter,
              firstItem: 0,
              itemCount: 0,
            });
      segments.set(chunk ?? name, segment);
      const { length } = parameter;
      const momentum = before?.momentum;
      const slot = { index: this.#slots.size, name, segment, state, length, momentum };
      segment.slots.push(slot);
      this.#slots.set(name, slot);
    }
    this.#segments = [...segments.values()];
    for (const { slots } of this.#segments) {
      slots.sort((a, b) => a.state.parameter.offset - b.state.parameter.offset);
    }

    const tensors = this.#slots.size;
    const items = backend.normThreads + tensors;
    const blocks = this.#segments.reduce((sum, s) => sum + blocksOf(s), 0);
    this.#tables = new Uint32Array(ROW_WORDS * (tensors + 1) + items + blocks);
    const mostDispatches = this.#segments.length * FORMS;
    const own = {
      ranges: backend.allocate(RANGE_BYTES * mostDispatches, UNIFORM | COPY_DST),
      partials: backend.allocate(8 * items),
    };
    const words = HEADER_WORDS + 2 * tensors + this.#tables.length;
    this.#control = backend.allocate(4 * words, undefined, () => {
      for (const storage of Object.values(own)) storage.drop();
      this.#request?.drop();
      this.#request = undefined;
      for (const { buffer } of this.#shares.values()) buffer.destroy();
      this.#shares.clear();
    });
    this.#ranges = own.ranges;
    this.#partials = own.partials;
    this.#signature = '';
    this.#bound = new WeakMap();
    // What the old control buffer says of parameters without a gradient in this step comes along.
    this.#moveMetrics(metrics);
    for (const slot of this.#slots.values()) this.#moveSeen(slot);
  }

  /** A scalar's new home is a word of the control buffer. */
  #moveWord(scalar: GpuTensor, word: number): void {
    if (scalar.storage === this.#control) return;
    this.#backend.transfer(scalar, this.#control!, 4 * word);
    scalar.moveTo(this.#control!, 4 * word, false);
  }

  #moveMetrics(metrics: StepMetrics<GpuTensor>): void {
    METRICS.forEach((key, word) => {
      this.#moveWord(metrics[key], word);
    });
  }

  #moveSeen({ index, state }: Slot): void {
    if (state.seen) this.#moveWord(state.seen, HEADER_WORDS + index);
  }

  #moveState(slot: Slot): void {
    const backend = this.#backend;
    const { segment, state } = slot;
    for (const key of PLANES) {
      const tensor = state[key];
      let plane = segment.planes.get(key);
      if (!tensor || tensor.storage === plane) continue;
      const half = backend.half && halfKeys.includes(key);
      const scale = half ? 2 : 1;
      if (!plane || plane.released) {
        plane = backend.allocate(segment.bytes / scale);
        segment.planes.set(key, plane);
        this.#bound = new WeakMap();
      }
      const offset = segment.single ? 0 : state.parameter.offset / scale;
      if (half && !tensor.half) backend.pack(tensor, plane, offset);
      else backend.transfer(tensor, plane, offset);
      tensor.moveTo(plane, offset, half);
    }
    this.#moveSeen(slot);
  }

  // Tables

  /** Which tensor has which coefficients, who sums what, and which block belongs to which tensor. */
  #tabulate(rows: ReadonlyMap<Slot, number>): void {
    const signature = [...rows].map(([{ name }, row]) => `${name}:${row}`).join();
    if (signature === this.#signature) return;
    this.#signature = signature;
    this.#settled = 0;
    const backend = this.#backend;
    const tables = this.#tables;
    const tensors = this.#slots.size;
    const vectors = ({ length }: Slot) => Math.ceil(length / 4);
    const total = [...rows.keys()].reduce((sum, slot) => sum + vectors(slot), 0);
    const share = Math.max(8, Math.ceil(total / backend.normThreads));
    const shares = (slot: Slot) => (rows.has(slot) ? Math.ceil(vectors(slot) / share) : 0);
    const firstPartial = new Map<Slot, number>();
    this.#partialCount = 0;
    for (const slot of rows.keys()) {
      firstPartial.set(slot, this.#partialCount);
      this.#partialCount += shares(slot);
    }
    // The last row is that of no tensor: of padding, and of parameters that never had a gradient.
    const items = ROW_WORDS * (tensors + 1);
    let item = 0;
    let block = items + backend.normThreads + tensors;
    tables.fill(tensors, block);
    tables[ROW_WORDS * tensors] = INACTIVE;
    const data = HEADER_WORDS + 2 * tensors;
    const ranges = new Uint32Array((RANGE_BYTES / 4) * this.#segments.length * FORMS);
    this.#segments.forEach((segment, s) => {
      segment.firstItem = item;
      segment.forms.clear();
      const firstBlock = block;
      for (const slot of segment.slots) {
        const { index, length } = slot;
        const row = rows.get(slot) ?? INACTIVE;
        if (row !== INACTIVE) segment.forms.add(row >> 16);
        const start = segment.single ? 0 : slot.state.parameter.offset / 16;
        const count = shares(slot);
        const partial = firstPartial.get(slot) ?? 0;
        tables.set([row, length, start, item, partial, count], ROW_WORDS * index);
        tables.fill(index, items + item, items + item + count);
        item += count;
        if (segment.single) continue;
        const from = firstBlock + start / VECTORS_PER_BLOCK;
        tables.fill(index, from, from + Math.ceil(vectors(slot) / VECTORS_PER_BLOCK));
      }
      segment.itemCount = item - segment.firstItem;
      block += blocksOf(segment);
      const forms = segment.forms.size > 0 ? [...segment.forms] : [INACTIVE];
      forms.forEach((form, f) => {
        const range = [
          HEADER_WORDS + tensors,
          data,
          data + firstBlock,
          data + items,
          form,
          segment.slots[0]!.index,
          vectorsOf(segment),
          segment.itemCount,
          segment.firstItem,
        ];
        ranges.set(range, (RANGE_BYTES / 4) * (FORMS * s + f));
      });
    });
    backend.write(this.#control!.buffer, 4 * data, tables);
    backend.write(this.#ranges!.buffer, 0, ranges);
  }

  #writeRequest(
    { maxGradNorm, epsilon, entries }: StepRequest<GpuTensor>,
    coefficients: readonly Coefficients[],
    forms: (form: RuleForm) => RuleForm,
  ): void {
    const words = new Uint32Array(4 + 20 * coefficients.length);
    const floats = new Float32Array(words.buffer);
    floats.set([maxGradNorm, epsilon]);
    words.set([this.#partialCount, this.#slots.size], 2);
    coefficients.forEach((c, k) => {
      floats.set(Object.values(c), 4 + 20 * k);
      const { form } = entries.find((entry) => entry.coefficients === c)!;
      const { decay } = forms(form);
      if (decay === form.decay) return;
      // No decay, in a kernel that decays: nothing added, nothing shrunk.
      floats[4 + 20 * k + Object.keys(c).indexOf('decay')] = decay === 'y' ? 0 : 1;
    });
    this.#backend.write(this.#request!.buffer, 0, words);
  }

  // Commands

  #encode(request: StepRequest<GpuTensor>, coefficients: Coefficients): void {
    const backend = this.#backend;
    const clipping = request.maxGradNorm > 0;
    const checking = request.skipNonFinite;
    const groups = this.#groups;
    const control = { buffer: this.#control!.buffer };
    const values = { buffer: this.#request!.buffer };
    const partials = { buffer: this.#partials!.buffer };
    const range = (s: number, f = 0) => ({
      buffer: this.#ranges!.buffer,
      offset: RANGE_BYTES * (FORMS * s + f),
      size: 48,
    });
    if (clipping || checking) {
      this.#segments.forEach((segment, s) => {
        if (segment.itemCount === 0) return;
        const packed = isPacked(segment);
        const pipeline = backend.pipeline(normKernel(clipping, checking, packed));
        const group = this.#group(segment, `norm ${clipping} ${checking}`, () =>
          backend.bind(pipeline, [control, range(s), whole(segment.gradients), partials]),
        );
        backend.dispatch(pipeline, group, segment.itemCount);
      });
    }
    if (clipping || checking || this.#settled < 2) {
      const code = verdictKernel(clipping, checking, coefficients, groups);
      const pipeline = backend.pipeline(code);
      const group = this.#group(this.#segments[0]!, `verdict ${clipping} ${checking}`, () =>
        backend.bind(pipeline, [control, values, range(0), partials]),
      );
      backend.dispatch(pipeline, group, 1);
      this.#settled = checking ? 0 : this.#settled + 1;
    }
    this.#segments.forEach((segment, s) => {
      if (vectorsOf(segment) === 0) return;
      const packed = isPacked(segment);
      [...segment.forms].forEach((index, f) => {
        const form = this.#forms[index]!;
        const { half } = backend;
        const { single } = segment;
        const variant: StepVariant = { form, clipping, checking, single, packed, half, groups };
        const key = JSON.stringify([variant, f]);
        const pipeline = this.#pipeline(key, variant, coefficients);
        const group = this.#group(segment, key, () => {
          const state = stepBindings(form).map((name) =>
            name === 'parameter'
              ? whole(segment.parameters)
              : { buffer: segment.planes.get(name)!.buffer },
          );
          const gradients = whole(segment.gradients);
          return backend.bind(pipeline, [control, values, range(s, f), gradients, ...state]);
        });
        backend.dispatch(pipeline, group, vectorsOf(segment));
      });
    });
  }

  /** Bind groups are kept as long as the same buffers take part. */
  #group(segment: Segment, key: string, make: () => GPUBindGroup): GPUBindGroup {
    const { parameters, gradients } = segment;
    const id = `${this.#segments.indexOf(segment)} ${key}`;
    const groups = this.#bound.get(gradients) ?? new Map<string, Bound>();
    this.#bound.set(gradients, groups);
    let bound = groups.get(id);
    if (bound?.parameters !== parameters) {
      bound = { parameters, group: make() };
      groups.set(id, bound);
    }
    return bound.group;
  }

  /**
   * Writes x of all parameters, from z in the planes, to `target` of each. False, with nothing
   * recorded, when a state is not where steps leave it: before the first one, or after a checkpoint.
   */
  evaluate(names: readonly string[], target: (name: string) => Storage): boolean {
    const slots = names.map((name) => this.#slots.get(name));
    const ready = (slot: Slot | undefined): slot is Slot =>
      slot !== undefined &&
      slot.momentum !== undefined &&
      !slot.state.n.disposed &&
      slot.state.z?.storage === slot.segment.planes.get('z');
    if (!slots.every(ready)) return false;
    const backend = this.#backend;
    for (const segment of this.#segments) {
      const packed = isPacked({ ...segment, gradients: segment.parameters });
      const pipeline = backend.pipeline(evaluationKernel(packed));
      const runs: { start: number; vectors: number; momentum: number }[] = [];
      for (const { state, length, momentum } of segment.slots) {
        const start = segment.single ? 0 : state.parameter.offset / 16;
        const end = start + Math.ceil(length / 4);
        if (runs.at(-1)?.momentum !== momentum) {
          runs.push({ start, vectors: 0, momentum: momentum! });
        }
        const run = runs.at(-1)!;
        run.vectors = end - run.start;
      }
      const z = { buffer: segment.planes.get('z')!.buffer };
      const x = { buffer: target(segment.slots[0]!.name).buffer };
      for (const { start, vectors, momentum } of runs) {
        if (vectors === 0) continue;
        const share = this.#share(start, vectors, momentum);
        const place = segment.single ? segment.slots[0]!.state.parameter : segment.parameters;
        const group = backend.bind(pipeline, [share, whole(place), z, x]);
        backend.dispatch(pipeline, group, vectors);
      }
    }
    return true;
  }

  readonly #shares = new Map<string, GPUBufferBinding>();
  /** Two numbers of vectors and two of the average, in a small buffer that never changes. */
  #share(start: number, vectors: number, momentum: number): GPUBufferBinding {
    const key = `${start} ${vectors} ${momentum}`;
    let share = this.#shares.get(key);
    if (!share) {
      const { device } = this.#backend;
      const buffer = device.createBuffer({ size: 16, usage: UNIFORM, mappedAtCreation: true });
      const range = buffer.getMappedRange();
      new Uint32Array(range).set([start, vectors]);
      new Float32Array(range).set([momentum, 1 - momentum], 2);
      buffer.unmap();
      share = { buffer };
      this.#shares.set(key, share);
    }
    return share;
  }

  readonly #printed = new Map<string, GPUComputePipeline>();
  #pipeline(key: string, variant: StepVariant, coefficients: Coefficients): GPUComputePipeline {
    const pipeline =
      this.#printed.get(key) ?? this.#backend.pipeline(stepKernel(variant, coefficients));
    this.#printed.set(key, pipeline);
    return pipeline;
  }
}

const vectorsOf = ({ single, slots, bytes }: Segment) =>
  single ? Math.ceil(slots[0]!.length / 4) : bytes / 16;
const blocksOf = ({ single, bytes }: Segment) => (single ? 0 : bytes / (16 * VECTORS_PER_BLOCK));

/** The library's own buffers have room for whole vectors; of a user's, nothing more is touched than he gave. */
const roomy = (place: GpuTensor | Storage) =>
  !(place instanceof GpuTensor) || place.storage.release !== undefined;
const isPacked = ({ parameters, gradients }: Segment) =>
  [parameters, gradients].every((place) => roomy(place) || (place as GpuTensor).size % 16 === 0);
const whole = (place: GpuTensor | Storage): GPUBufferBinding =>
  place instanceof GpuTensor
    ? {
        buffer: place.buffer,
        offset: place.offset,
        size: roomy(place) ? padded(place.length) : place.size,
      }
    : { buffer: place.buffer };

/**
 * The form that an entry is stepped in: parameters without decay join the others, if those decay in
 * one way, so that one dispatch steps all.
 */
function unified(entries: readonly StepEntry<GpuTensor>[]): (form: RuleForm) => RuleForm {
  const kinds = new Set(entries.map(({ form }) => form.decay));
  kinds.delete('none');
  const [decay] = kinds;
  return (form) => (kinds.size === 1 && form.decay === 'none' ? { ...form, decay: decay! } : form);
}
