import type { StepEntry, StepGroup, StepMetrics, StepRequest } from '@schedule-free-adan/core';
import {
  type CoefficientName,
  type Coefficients,
  coefficients,
  type ElementState,
  type RuleForm,
  type StateKey,
} from '@schedule-free-adan/core/rule';
import type { Binding, WebGpuBackend } from './backend.js';
import {
  HEADER,
  halfKeys,
  INACTIVE,
  normKernel,
  ROW,
  stepKernel,
  tensorKeys,
  verdictKernel,
} from './kernels.js';
import { GpuTensor, padded, type Storage } from './tensor.js';

/** Parameters that one dispatch can reach: an arena's chunk, or one parameter in a buffer of its own. */
interface Segment {
  readonly index: number;
  readonly bytes: number;
  /** One tensor only, the first slot's. */
  readonly single: boolean;
  readonly slots: Slot[];
  /** One buffer per state tensor, laid out as the parameters are. */
  readonly planes: Map<StateKey, Storage>;
  /** The forms of the rule that its parameters are stepped in: a dispatch for each. */
  forms: number[];
  parameters: GpuTensor | Storage;
  gradients: GpuTensor | Storage;
  firstItem: number;
  itemCount: number;
}

interface Slot {
  readonly index: number;
  readonly segment: Segment;
  readonly state: ElementState<GpuTensor>;
}

/** A dispatch, kept as long as the same buffers take part. */
interface Ready {
  readonly parameters: object;
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
}

const UNIFORM_COPY_DST = 0x48;
const RANGE_BYTES = 256;
/** Dispatches that a segment may need. */
const FORMS = 16;
const PLANES = ['z', 'm', 'v', 'n', 'g'] as const;
const METRICS = ['gradientNorm', 'clipFactor', 'skippedSteps'] as const;

/**
 * The fused step of one optimizer: where its tensors are, and the commands that step them. The control
 * buffer is all that the device knows: norm, clip factor and skipped steps, which parameters have seen
 * a gradient, and the tables that lead from a block of elements to its coefficients.
 */
export class Plan {
  #slots = new Map<string, Slot>();
  #segments: Segment[] = [];
  #metrics!: StepMetrics<GpuTensor>;
  #control!: Storage;
  #ranges!: Storage;
  #partials!: Storage;
  #request: Storage | undefined;
  #tables = new Uint32Array();
  /** Who has which coefficients, as text: the tables are rewritten when it changes. */
  #signature = '';
  readonly #forms: string[] = [];
  #groups = 1;
  #partialCount = 0;
  /** Steps since which the first gradients of all parameters are known to lie behind. */
  #settled = 0;
  #ready = new WeakMap<object, Map<string, Ready>>();

  constructor(readonly backend: WebGpuBackend) {}

  step(request: StepRequest<GpuTensor>): void {
    const { entries } = request;
    if (entries.length === 0) return;
    this.#metrics = request.metrics;
    if (entries.some(({ name, state }) => this.#slots.get(name)?.state !== state)) {
      this.#layOut(entries);
    }
    this.settle();

    const groups = [...new Set(entries.map(({ group }) => group))];
    const rows = new Map<Slot, number>();
    const forms = unified(entries);
    for (const { name, form, group, state, gradient } of entries) {
      const slot = this.#slots.get(name)!;
      const text = JSON.stringify(forms(form));
      if (!this.#forms.includes(text)) this.#forms.push(text);
      rows.set(slot, (this.#forms.indexOf(text) << 16) | groups.indexOf(group));
      if (!slot.segment.single) continue;
      slot.segment.parameters = state.parameter;
      slot.segment.gradients = gradient;
    }
    this.#tabulate(rows);
    this.#encode(request, this.#writeRequest(request, groups, forms));
  }

  // Layout

  /** Numbers all parameters anew, and makes the buffers that depend on their number. */
  #layOut(entries: readonly StepEntry<GpuTensor>[]): void {
    const { backend } = this;
    const states = new Map([...this.#slots].map(([name, { state }]) => [name, state]));
    for (const { name, state } of entries) states.set(name, state);
    const segments = new Map<unknown, Segment>();
    this.#slots = new Map();
    for (const [name, state] of states) {
      if (state.n.disposed) continue;
      const { parameter } = state;
      const { chunk } = parameter;
      const segment: Segment = segments.get(chunk ?? name) ?? {
        index: segments.size,
        bytes: chunk?.bytes ?? padded(parameter.length),
        single: !chunk,
        slots: [],
        planes: new Map(),
        forms: [],
        parameters: chunk?.parameters ?? parameter,
        gradients: chunk?.gradients ?? parameter,
        firstItem: 0,
        itemCount: 0,
      };
      segments.set(chunk ?? name, segment);
      const slot: Slot = { index: this.#slots.size, segment, state };
      segment.slots.push(slot);
      this.#slots.set(name, slot);
    }
    this.#segments = [...segments.values()];

    const tensors = this.#slots.size;
    const items = backend.normThreads + tensors;
    const blocks = this.#segments.reduce((sum, { bytes }) => sum + Math.ceil(bytes / 256), 0);
    this.#tables = new Uint32Array(ROW * (tensors + 1) + items + blocks);
    const rangeBytes = RANGE_BYTES * FORMS * this.#segments.length;
    const ranges = backend.allocate(rangeBytes, UNIFORM_COPY_DST);
    const partials = backend.allocate(8 * items);
    const words = HEADER + 2 * tensors + this.#tables.length;
    this.#control = backend.allocate(4 * words, undefined, undefined, () => {
      ranges.drop();
      partials.drop();
      this.#request?.drop();
      this.#request = undefined;
    });
    this.#ranges = ranges;
    this.#partials = partials;
    this.#signature = '';
    this.#ready = new WeakMap();
  }

  /** Moves what others made, scalars and state, to where the kernels expect it. */
  settle(): void {
    if (!this.#metrics || this.#control.released) return;
    this.backend.apart(() => {
      METRICS.forEach((key, word) => {
        this.#move(this.#metrics[key], this.#control, 4 * word);
      });
      for (const { index, segment, state } of this.#slots.values()) {
        if (state.n.disposed) continue;
        if (state.seen) this.#move(state.seen, this.#control, 4 * (HEADER + index));
        for (const key of PLANES) {
          const tensor = state[key];
          if (!tensor) continue;
          const half = this.backend.half && halfKeys.includes(key);
          const scale = half ? 2 : 1;
          let plane = segment.planes.get(key);
          if (!plane || plane.released) {
            plane = this.backend.allocate(segment.bytes / scale);
            segment.planes.set(key, plane);
            this.#ready = new WeakMap();
          }
          const offset = segment.single ? 0 : state.parameter.offset / scale;
          this.#move(tensor, plane, offset, half);
        }
      }
    });
  }

  #move(tensor: GpuTensor, target: Storage, offset: number, half = false): void {
    if (tensor.storage === target) return;
    if (half && !tensor.half) this.backend.pack(tensor, target, offset);
    else this.backend.transfer(tensor, target, offset);
    tensor.moveTo(target, offset, half);
    this.#settled = 0;
  }

  // Tables

  /** Which tensor has which coefficients, who sums what, and which block belongs to which tensor. */
  #tabulate(rows: ReadonlyMap<Slot, number>): void {
    const signature = [...rows].map(([{ index }, row]) => `${index}:${row}`).join();
    if (signature === this.#signature) return;
    this.#signature = signature;
    this.#settled = 0;
    const { backend } = this;
    const tables = this.#tables;
    const tensors = this.#slots.size;
    const vectors = ({ state }: Slot) => Math.ceil(state.parameter.length / 4);
    const total = [...rows.keys()].reduce((sum, slot) => sum + vectors(slot), 0);
    // Every share of the norm is that long, whatever the layout.
    const share = Math.max(8, Math.ceil(total / backend.normThreads));
    const shares = (slot: Slot) => Math.ceil(vectors(slot) / share);
    const firstPartial = new Map<Slot, number>();
    this.#partialCount = 0;
    for (const slot of rows.keys()) {
      firstPartial.set(slot, this.#partialCount);
      this.#partialCount += shares(slot);
    }
    // The last row is that of no tensor: of padding, and of parameters that never had a gradient.
    const items = ROW * (tensors + 1);
    let item = 0;
    let block = items + backend.normThreads + tensors;
    tables.fill(tensors, block);
    tables[ROW * tensors] = INACTIVE;
    const data = HEADER + 2 * tensors;
    const ranges = new Uint32Array(this.#segments.length * FORMS * (RANGE_BYTES / 4));
    for (const segment of this.#segments) {
      segment.firstItem = item;
      const forms = new Set<number>();
      for (const slot of segment.slots) {
        const { index, state } = slot;
        const { length, offset } = state.parameter;
        const row = rows.get(slot) ?? INACTIVE;
        const count = row === INACTIVE ? 0 : shares(slot);
        if (row !== INACTIVE) forms.add(row >> 16);
        const start = segment.single ? 0 : offset / 16;
        tables.set([row, length, start, item, firstPartial.get(slot) ?? 0, count], ROW * index);
        tables.fill(index, items + item, items + item + count);
        item += count;
        const first = block + start / 16;
        tables.fill(index, first, first + Math.ceil(vectors(slot) / 16));
      }
      segment.itemCount = item - segment.firstItem;
      segment.forms = [...forms];
      // A dispatch over one tensor needs no row: it is told all that stands there.
      const which = isAlone(segment) ? [rows.get(segment.slots[0]!)] : segment.forms;
      const common = [tensors, data + block, data + items + segment.firstItem];
      const rest = [segment.firstItem, segment.itemCount, vectorsOf(segment)];
      for (let f = 0; f < Math.max(1, forms.size); f++) {
        const range = [...common, ...rest, segment.slots[0]!.index, which[f] ?? INACTIVE];
        ranges.set(range, (RANGE_BYTES / 4) * (FORMS * segment.index + f));
      }
      block += Math.ceil(segment.bytes / 256);
    }
    backend.write(this.#control.buffer, 4 * data, tables);
    backend.write(this.#ranges.buffer, 0, ranges);
  }

  #writeRequest(
    { maxGradNorm, epsilon, entries }: StepRequest<GpuTensor>,
    groups: readonly StepGroup[],
    forms: (form: RuleForm) => RuleForm,
  ): Coefficients[] {
    const { backend } = this;
    while (this.#groups < groups.length) {
      this.#groups *= 2;
      this.#request?.drop();
      this.#request = undefined;
    }
    if (!this.#request) {
      this.#request = backend.allocate(16 + 80 * this.#groups, UNIFORM_COPY_DST);
      this.#ready = new WeakMap();
    }
    const words = new Uint32Array(4 + 20 * groups.length);
    const floats = new Float32Array(words.buffer);
    floats.set([maxGradNorm, epsilon]);
    words.set([this.#partialCount, this.#slots.size], 2);
    const sets = groups.map(coefficients);
    groups.forEach((group, k) => {
      const { form } = entries.find((entry) => entry.group === group)!;
      const { decay } = forms(form);
      // No decay, in a kernel that decays: nothing added, nothing shrunk.
      const neutral = decay !== form.decay && { decay: decay === 'y' ? 0 : 1 };
      floats.set(Object.values({ ...sets[k]!, ...neutral }), 4 + 20 * k);
    });
    backend.write(this.#request.buffer, 0, words);
    return sets;
  }

  // Commands

  #encode({ maxGradNorm, skipNonFinite: checking }: StepRequest<GpuTensor>, sets: Coefficients[]) {
    const [set] = sets as [Coefficients];
    const constants = agreed(sets);
    const clipping = maxGradNorm > 0;
    const groups = this.#groups;
    const [control, request, partials] = [this.#control, this.#request!, this.#partials];
    const range = ({ index }: Segment, f = 0) => ({
      buffer: this.#ranges.buffer,
      offset: RANGE_BYTES * (FORMS * index + f),
      size: 32,
    });
    const key = `${clipping} ${checking} `;
    const looking = clipping || checking;
    if (looking) {
      for (const segment of this.#segments) {
        const code = () => normKernel(clipping, checking, isPacked(segment), knownVectors(segment));
        const bindings = () => [control, range(segment), whole(segment.gradients), partials];
        this.#run(segment, `norm ${key}`, code, bindings, segment.itemCount);
      }
    }
    const fresh = looking || this.#settled < 2;
    if (fresh) {
      const [first] = this.#segments as [Segment];
      const code = () => verdictKernel(clipping, checking, set, groups);
      const bindings = () => [control, request, range(first), partials];
      this.#run(first, `verdict ${key}`, code, bindings, 1);
      this.#settled = checking ? 0 : this.#settled + 1;
    }
    const { half } = this.backend;
    const variant = `${key}${fresh} ${JSON.stringify(constants)} `;
    for (const segment of this.#segments) {
      const single = isAlone(segment);
      segment.forms.forEach((index, f) => {
        const text = this.#forms[index]!;
        const form: RuleForm = JSON.parse(text);
        const code = () => {
          const packed = isPacked(segment);
          const vectors = knownVectors(segment);
          const how = { form, clipping, checking, fresh, single, packed, half, groups };
          const words = vectors && control.buffer.size / 4;
          return stepKernel({ ...how, vectors, words, constants }, set);
        };
        const bindings = () => [
          control,
          request,
          range(segment, f),
          whole(segment.gradients),
          ...tensorKeys(form).map((name) =>
            name === 'parameter' ? whole(segment.parameters) : segment.planes.get(name)!,
          ),
        ];
        this.#run(segment, variant + text, code, bindings, vectorsOf(segment));
      });
    }
  }

  #run(
    { index, parameters, gradients }: Segment,
    name: string,
    code: () => string,
    bindings: () => Binding[],
    count: number,
  ): void {
    if (count === 0) return;
    const { backend } = this;
    const known = this.#ready.get(gradients) ?? new Map<string, Ready>();
    this.#ready.set(gradients, known);
    const key = `${index} ${name}`;
    let ready = known.get(key);
    if (ready?.parameters !== parameters) {
      const pipeline = backend.pipeline(code());
      ready = { parameters, pipeline, group: backend.bind(pipeline, bindings()) };
      known.set(key, ready);
    }
    backend.dispatch(ready.pipeline, ready.group, count);
  }
}

/** A dispatch over one tensor needs no table of blocks. */
const isAlone = ({ single, slots, bytes }: Segment) =>
  single || bytes - 4 * slots[0]!.state.parameter.length < 256;
const vectorsOf = ({ single, slots, bytes }: Segment) =>
  single ? Math.ceil(slots[0]!.state.parameter.length / 4) : bytes / 16;

/** An arena's kernels know its size; for buffers of the user's, one kernel serves every size. */
const knownVectors = (segment: Segment) => (segment.single ? undefined : vectorsOf(segment));

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
const whole = (place: GpuTensor | Storage): Binding =>
  exact(place) ? place : place instanceof GpuTensor ? place.storage : place;

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
