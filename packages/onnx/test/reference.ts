// ONNX operators in float64, one element after the other: what runtimes and gradients are held against.
import type { Model, Node, Tensor } from '../src/model/index.js';

export interface Value {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}
type Index = readonly number[];
type Inputs = readonly (Value | undefined)[];

const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
const range = (length: number, start = 0) => Array.from({ length }, (_, i) => i + start);
const axisOf = (axis: number, rank: number) => (axis < 0 ? axis + rank : axis);
const without = <T>(list: readonly T[], axes: readonly number[]) =>
  list.filter((_, i) => !axes.includes(i));
const replaced = (list: readonly number[], axis: number, n: number) =>
  list.map((old, k) => (k === axis ? n : old));
const sum = (list: readonly number[]) => list.reduce((a, b) => a + b, 0);
const clamp = (n: number, low: number, high: number) => Math.min(Math.max(n, low), high);

/** All indices of a shape, the last axis fastest. */
function* indices(shape: readonly number[]): Generator<number[]> {
  const index = shape.map(() => 0);
  for (let n = sizeOf(shape); n > 0; n--) {
    yield index.slice();
    for (let i = shape.length - 1; i >= 0; i--) {
      index[i]!++;
      if (index[i]! < shape[i]!) break;
      index[i] = 0;
    }
  }
}
export function make(shape: readonly number[], f: (index: number[]) => number): Value {
  const data = new Float64Array(sizeOf(shape));
  let at = 0;
  for (const index of indices(shape)) data[at++] = f(index);
  return { shape, data };
}
const placeOf = (shape: readonly number[], index: Index) =>
  index.reduce((at, i, k) => at * shape[k]! + i, 0);
/** An element; a shorter shape is aligned at the right, an extent of 1 holds for all. */
function at({ shape, data }: Value, index: Index): number {
  const more = index.length - shape.length;
  let place = 0;
  for (let k = 0; k < shape.length; k++) {
    place = place * shape[k]! + (shape[k] === 1 ? 0 : index[k + more]!);
  }
  return data[place]!;
}
/** The same, 0 outside. */
const inside = (value: Value, index: Index, outside = 0) =>
  index.every((i, k) => i >= 0 && i < value.shape[k]!) ? at(value, index) : outside;
const list = (value: Value | undefined) => (value ? [...value.data] : undefined);
const vector = (values: readonly number[]): Value => ({
  shape: [values.length],
  data: Float64Array.from(values),
});

function broadcast(shapes: readonly (readonly number[])[]): number[] {
  const rank = Math.max(...shapes.map((s) => s.length));
  return range(rank).map((i) => {
    const extents = shapes.map((s) => s[i - rank + s.length] ?? 1);
    const [one = 1, ...rest] = extents.filter((e) => e !== 1);
    if (rest.some((e) => e !== one)) throw new Error(`no broadcast of ${JSON.stringify(shapes)}`);
    return one;
  });
}

/** Σ 2/√π (−1)ⁿ x²ⁿ⁺¹ / (n! (2n+1)); beyond 3 the continued fraction of 1 − erf. */
function erf(x: number): number {
  if (x < 0) return -erf(-x);
  if (x > 3) {
    let fraction = 0;
    for (let k = 60; k > 0; k--) fraction = k / 2 / (x + fraction);
    return 1 - Math.exp(-x * x) / (Math.sqrt(Math.PI) * (x + fraction));
  }
  let [term, total] = [x, x];
  for (let n = 1; n < 120; n++) {
    term *= (-x * x) / n;
    total += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * total;
}

class Attributes {
  constructor(private readonly node: Node) {}
  #of(name: string) {
    return this.node.attribute?.find((a) => a.name === name);
  }
  int = (name: string, fallback: number) => Number(this.#of(name)?.i ?? fallback);
  float = (name: string, fallback: number) => this.#of(name)?.f ?? fallback;
  ints = (name: string) => this.#of(name)?.ints?.map(Number);
  tensor = (name: string) => this.#of(name)?.t;
  text = (name: string, fallback: string) => {
    const bytes = this.#of(name)?.s;
    return bytes ? new TextDecoder().decode(bytes) : fallback;
  };
}
type Operator = (x: Inputs, a: Attributes, node: Node) => Value | readonly Value[];

const elementwise =
  (f: (...values: number[]) => number): Operator =>
  (x) => {
    const given = x as Value[];
    return make(broadcast(given.map(({ shape }) => shape)), (i) =>
      f(...given.map((v) => at(v, i))),
    );
  };
const unary =
  (f: (v: number, a: Attributes) => number): Operator =>
  (x, a) =>
    make(x[0]!.shape, (i) => f(at(x[0]!, i), a));

const reduce =
  (f: (values: number[]) => number): Operator =>
  ([x, given], a) => {
    const { shape } = x!;
    const named = list(given) ?? a.ints('axes') ?? [];
    if (named.length === 0 && a.int('noop_with_empty_axes', 0)) return x!;
    const axes = (named.length > 0 ? named : range(shape.length)).map((k) =>
      axisOf(k, shape.length),
    );
    const over = shape.map((n, k) => (axes.includes(k) ? n : 1));
    const kept = shape.map((n, k) => (axes.includes(k) ? 1 : n));
    const made = make(kept, (i) =>
      f(
        [...indices(over)].map((j) =>
          at(
            x!,
            i.map((n, k) => n + j[k]!),
          ),
        ),
      ),
    );
    return a.int('keepdims', 1) ? made : { ...made, shape: without(kept, axes) };
  };

const softmax =
  (log: boolean): Operator =>
  ([x], a) => {
    const axis = axisOf(a.int('axis', -1), x!.shape.length);
    return make(x!.shape, (i) => {
      const row = range(x!.shape[axis]!).map((n) => at(x!, replaced(i, axis, n)));
      const most = Math.max(...row);
      const norm = sum(row.map((v) => Math.exp(v - most)));
      const exponent = at(x!, i) - most;
      return log ? exponent - Math.log(norm) : Math.exp(exponent) / norm;
    });
  };

const matMul = (x: Value, y: Value): Value => {
  const a = x.shape.length === 1 ? { ...x, shape: [1, ...x.shape] } : x;
  const b = y.shape.length === 1 ? { ...y, shape: [...y.shape, 1] } : y;
  const inner = a.shape.at(-1)!;
  if (inner !== b.shape.at(-2)) throw new Error(`no product of [${x.shape}] and [${y.shape}]`);
  const lead = broadcast([a.shape.slice(0, -2), b.shape.slice(0, -2)]);
  const made = make([...lead, a.shape.at(-2)!, b.shape.at(-1)!], (i) => {
    const [m, n] = i.slice(-2) as [number, number];
    const before = i.slice(0, -2);
    const matrix = (v: Value, row: number, column: number) =>
      at(v, [...before.slice(before.length - v.shape.length + 2), row, column]);
    return sum(range(inner).map((k) => matrix(a, m, k) * matrix(b, k, n)));
  });
  const shape = made.shape.filter(
    (_, k) =>
      !(k === made.shape.length - 2 && x.shape.length === 1) &&
      !(k === made.shape.length - 1 && y.shape.length === 1),
  );
  return { ...made, shape };
};

const transpose = (x: Value, perm: readonly number[]): Value =>
  make(
    perm.map((k) => x.shape[k]!),
    (i) =>
      at(
        x,
        range(perm.length).map((k) => i[perm.indexOf(k)]!),
      ),
  );

/** x̂ over some axes of a value. */
function normalize(x: Value, axes: readonly number[], epsilon: number, centered = true): Value {
  const over = x.shape.map((n, k) => (axes.includes(k) ? n : 1));
  return make(x.shape, (i) => {
    const all = [...indices(over)].map((j) =>
      at(
        x,
        i.map((n, k) => (axes.includes(k) ? j[k]! : n)),
      ),
    );
    const mean = centered ? sum(all) / all.length : 0;
    const variance = sum(all.map((v) => (v - mean) ** 2)) / all.length;
    return (at(x, i) - mean) / Math.sqrt(variance + epsilon);
  });
}
const layerNorm =
  (centered: boolean): Operator =>
  ([x, scale, bias], a) => {
    const rank = x!.shape.length;
    const first = axisOf(a.int('axis', -1), rank);
    const hat = normalize(x!, range(rank - first, first), a.float('epsilon', 1e-5), centered);
    return make(x!.shape, (i) => at(hat, i) * at(scale!, i) + (bias ? at(bias, i) : 0));
  };

/** A window along each spatial axis, and the places where it stops. */
function windows(a: Attributes, image: readonly number[], kernel: readonly number[]) {
  const strides = a.ints('strides') ?? kernel.map(() => 1);
  const dilations = a.ints('dilations') ?? kernel.map(() => 1);
  const auto = a.text('auto_pad', 'NOTSET');
  const reach = kernel.map((k, i) => dilations[i]! * (k - 1) + 1);
  const pads = a.ints('pads') ?? [...kernel, ...kernel].map(() => 0);
  const same = auto.startsWith('SAME');
  const totals = kernel.map((_, i) =>
    Math.max(0, (Math.ceil(image[i]! / strides[i]!) - 1) * strides[i]! + reach[i]! - image[i]!),
  );
  const begins = kernel.map((_, i) => {
    if (!same) return auto === 'VALID' ? 0 : pads[i]!;
    return auto === 'SAME_LOWER' ? Math.ceil(totals[i]! / 2) : Math.floor(totals[i]! / 2);
  });
  const ends = kernel.map((_, i) => (same ? totals[i]! - begins[i]! : pads[i + kernel.length]!));
  const places = kernel.map((_, i) => {
    if (same) return Math.ceil(image[i]! / strides[i]!);
    const room = image[i]! + begins[i]! + (auto === 'VALID' ? 0 : ends[i]!) - reach[i]!;
    if (!a.int('ceil_mode', 0)) return Math.floor(room / strides[i]!) + 1;
    const n = Math.ceil(room / strides[i]!) + 1;
    // A window that begins in the padding behind is none.
    return (n - 1) * strides[i]! >= image[i]! + begins[i]! ? n - 1 : n;
  });
  /** Where in the image the tap of the window at a place lies. */
  const from = (place: Index, tap: Index) =>
    place.map((p, i) => p * strides[i]! + tap[i]! * dilations[i]! - begins[i]!);
  return { places, from, begins, ends, strides, reach };
}

const conv: Operator = ([x, w, bias], a) => {
  const [n, , ...image] = x!.shape as [number, number, ...number[]];
  const [m, per, ...kernel] = w!.shape as [number, number, ...number[]];
  const { places, from } = windows(a, image, kernel);
  const perGroup = m / a.int('group', 1);
  return make([n, m, ...places], ([batch, channel, ...place]) => {
    let total = bias ? bias.data[channel!]! : 0;
    const first = Math.floor(channel! / perGroup) * per;
    for (const [c, ...tap] of indices([per, ...kernel])) {
      const source = inside(x!, [batch!, first + c!, ...from(place, tap)]);
      total += source * at(w!, [channel!, c!, ...tap]);
    }
    return total;
  });
};

const convTranspose: Operator = ([x, w, bias], a) => {
  const [n, channels, ...image] = x!.shape as [number, number, ...number[]];
  const [, per, ...kernel] = w!.shape as [number, number, ...number[]];
  const group = a.int('group', 1);
  const { from, begins, ends, strides, reach } = windows(a, image, kernel);
  const more = a.ints('output_padding') ?? kernel.map(() => 0);
  const out = image.map(
    (e, i) => strides[i]! * (e - 1) + more[i]! + reach[i]! - begins[i]! - ends[i]!,
  );
  const shape = [n, per * group, ...out];
  const data = new Float64Array(sizeOf(shape));
  const perGroup = channels / group;
  for (const [batch, c, ...place] of indices(x!.shape)) {
    for (const [m, ...tap] of indices([per, ...kernel])) {
      const target = from(place, tap);
      if (target.some((t, i) => t < 0 || t >= out[i]!)) continue;
      const channel = Math.floor(c! / perGroup) * per + m!;
      data[placeOf(shape, [batch!, channel, ...target])]! +=
        at(x!, [batch!, c!, ...place]) * at(w!, [c!, m!, ...tap]);
    }
  }
  if (!bias) return { shape, data };
  return make(shape, (i) => at({ shape, data }, i) + bias.data[i[1]!]!);
};

const pool =
  (maximum: boolean): Operator =>
  ([x], a) => {
    const [n, c, ...image] = x!.shape as [number, number, ...number[]];
    const kernel = a.ints('kernel_shape')!;
    const { places, from, ends } = windows(a, image, kernel);
    const padsCount = a.int('count_include_pad', 0) === 1;
    return make([n, c, ...places], ([batch, channel, ...place]) => {
      const values: number[] = [];
      let counted = 0;
      for (const tap of indices(kernel)) {
        const source = from(place, tap);
        const within = source.every((s, i) => s >= 0 && s < image[i]!);
        if (within) values.push(at(x!, [batch!, channel!, ...source]));
        if (within || (padsCount && source.every((s, i) => s < image[i]! + ends[i]!))) counted++;
      }
      return maximum ? Math.max(...values) : sum(values) / counted;
    });
  };
const globalPool =
  (maximum: boolean): Operator =>
  ([x]) => {
    const [n, c, ...image] = x!.shape as [number, number, ...number[]];
    return make([n, c, ...image.map(() => 1)], ([batch, channel]) => {
      const values = [...indices(image)].map((i) => at(x!, [batch!, channel!, ...i]));
      return maximum ? Math.max(...values) : sum(values) / values.length;
    });
  };

const resize: Operator = ([x, , scaleList, sizeList], a) => {
  const from = x!.shape;
  const to = list(sizeList) ?? from.map((n, i) => Math.floor(n * scaleList!.data[i]!));
  const scales = sizeList ? to.map((n, i) => n / from[i]!) : list(scaleList)!;
  const mode = a.text('coordinate_transformation_mode', 'half_pixel');
  const rounding = a.text('nearest_mode', 'round_prefer_floor');
  const source = (i: number, k: number) => {
    if (to[k] === from[k]) return i;
    if (mode === 'asymmetric') return i / scales[k]!;
    if (mode === 'align_corners') return to[k] === 1 ? 0 : (i * (from[k]! - 1)) / (to[k]! - 1);
    if (mode === 'pytorch_half_pixel' && to[k] === 1) return 0;
    return (i + 0.5) / scales[k]! - 0.5;
  };
  const round = {
    floor: Math.floor,
    ceil: Math.ceil,
    round_prefer_floor: (v: number) => Math.ceil(v - 0.5),
    round_prefer_ceil: (v: number) => Math.floor(v + 0.5),
  }[rounding]!;
  const linear = a.text('mode', 'nearest') === 'linear';
  return make(to, (i) => {
    const places = i.map((n, k) => source(n, k));
    if (!linear)
      return at(
        x!,
        places.map((p, k) => clamp(round(p), 0, from[k]! - 1)),
      );
    let total = 0;
    for (const corner of indices(places.map(() => 2))) {
      let weight = 1;
      const place = corner.map((side, k) => {
        const low = Math.floor(places[k]!);
        weight *= side === 1 ? places[k]! - low : 1 - places[k]! + low;
        return clamp(low + side, 0, from[k]! - 1);
      });
      if (weight !== 0) total += weight * at(x!, place);
    }
    return total;
  });
};

const pad: Operator = ([x, pads, fill, axesList], a) => {
  const rank = x!.shape.length;
  const axes = list(axesList)?.map((k) => axisOf(k, rank)) ?? range(rank);
  const begins = range(rank).map(() => 0);
  const ends = range(rank).map(() => 0);
  axes.forEach((k, i) => {
    begins[k] = pads!.data[i]!;
    ends[k] = pads!.data[i + axes.length]!;
  });
  const mode = a.text('mode', 'constant');
  const shape = x!.shape.map((n, k) => n + begins[k]! + ends[k]!);
  const mirrored = (i: number, n: number): number => {
    if (n === 1) return 0;
    const turn = ((i % (2 * n - 2)) + 2 * n - 2) % (2 * n - 2);
    return turn < n ? turn : 2 * n - 2 - turn;
  };
  return make(shape, (i) => {
    const source = i.map((n, k) => n - begins[k]!);
    if (mode === 'constant') return inside(x!, source, fill?.data[0] ?? 0);
    return at(
      x!,
      source.map((n, k) => {
        const extent = x!.shape[k]!;
        if (mode === 'edge') return clamp(n, 0, extent - 1);
        if (mode === 'wrap') return ((n % extent) + extent) % extent;
        return mirrored(n, extent);
      }),
    );
  });
};

const slice: Operator = ([x, starts, ends, axesList, stepList]) => {
  const rank = x!.shape.length;
  const axes = list(axesList)?.map((k) => axisOf(k, rank)) ?? range(starts!.data.length);
  const first = range(rank).map(() => 0);
  const steps = range(rank).map(() => 1);
  const shape = [...x!.shape];
  axes.forEach((k, i) => {
    const n = x!.shape[k]!;
    const step = stepList?.data[i] ?? 1;
    const place = (v: number) => clamp(v < 0 ? v + n : v, step < 0 ? -1 : 0, step < 0 ? n - 1 : n);
    const from = clamp(place(starts!.data[i]!), 0, step < 0 ? n - 1 : n);
    shape[k] = Math.max(0, Math.ceil((place(ends!.data[i]!) - from) / step));
    first[k] = from;
    steps[k] = step;
  });
  return make(shape, (i) =>
    at(
      x!,
      i.map((n, k) => first[k]! + n * steps[k]!),
    ),
  );
};

const einsum: Operator = (x, a) => {
  const inputs = x as Value[];
  const [left, right] = a.text('equation', '').replace(/\s/g, '').split('->') as [string, string];
  const named = (term: string, rank: number) =>
    term.replace('...', 'ABCDEFGH'.slice(8 - rank + term.replace('...', '').length));
  const terms = left.split(',').map((term, i) => named(term, inputs[i]!.shape.length));
  const upper = [...new Set(terms.join(''))]
    .filter((l) => l < 'a')
    .sort()
    .join('');
  const out = right.replace('...', upper);
  const extents = new Map<string, number>();
  terms.forEach((term, i) => {
    [...term].forEach((letter, k) => {
      extents.set(letter, Math.max(extents.get(letter) ?? 0, inputs[i]!.shape[k]!));
    });
  });
  const inner = [...extents.keys()].filter((letter) => !out.includes(letter));
  const extent = (letter: string) => extents.get(letter)!;
  return make([...out].map(extent), (i) => {
    let total = 0;
    for (const j of indices(inner.map(extent))) {
      const place = (letter: string) =>
        out.includes(letter) ? i[out.indexOf(letter)]! : j[inner.indexOf(letter)]!;
      total += terms.reduce((p, term, k) => p * at(inputs[k]!, [...term].map(place)), 1);
    }
    return total;
  });
};

const reshaped = (x: Value, shape: readonly number[]): Value => {
  const known = sizeOf(shape.filter((n) => n !== -1));
  const full = shape.map((n) => (n === -1 ? x.data.length / known : n));
  if (sizeOf(full) !== x.data.length) throw new Error(`[${x.shape}] does not fill [${shape}]`);
  return { shape: full, data: x.data };
};

/** One of several tensors: the one in whose range an index along the axis falls. */
const concat: Operator = (x, a) => {
  const inputs = x as Value[];
  const axis = axisOf(a.int('axis', 0), inputs[0]!.shape.length);
  const shape = replaced(inputs[0]!.shape, axis, sum(inputs.map((v) => v.shape[axis]!)));
  return make(shape, (i) => {
    let n = i[axis]!;
    const source = inputs.find((v) => {
      if (n < v.shape[axis]!) return true;
      n -= v.shape[axis]!;
      return false;
    })!;
    return at(source, replaced(i, axis, n));
  });
};

const split: Operator = ([x, parts], a, node) => {
  const axis = axisOf(a.int('axis', 0), x!.shape.length);
  const extent = x!.shape[axis]!;
  const count = a.int('num_outputs', node.output!.length);
  const even = Math.ceil(extent / count);
  const lengths = list(parts) ?? range(count).map((i) => Math.min(even, extent - i * even));
  return lengths.map((length, part) => {
    const start = sum(lengths.slice(0, part));
    return make(replaced(x!.shape, axis, length), (i) =>
      at(x!, replaced(i, axis, i[axis]! + start)),
    );
  });
};

const gather: Operator = ([x, index], a) => {
  const axis = axisOf(a.int('axis', 0), x!.shape.length);
  const shape = [...x!.shape.slice(0, axis), ...index!.shape, ...x!.shape.slice(axis + 1)];
  return make(shape, (i) => {
    const n = at(index!, i.slice(axis, axis + index!.shape.length));
    const behind = i.slice(axis + index!.shape.length);
    return at(x!, [...i.slice(0, axis), axisOf(n, x!.shape[axis]!), ...behind]);
  });
};

const scatterNd: Operator = ([x, index, updates], a) => {
  const data = x!.data.slice();
  const depth = index!.shape.at(-1)!;
  const lead = index!.shape.slice(0, -1);
  for (const i of indices(updates!.shape)) {
    const row = i.slice(0, lead.length);
    const target = range(depth).map((k) => axisOf(at(index!, [...row, k]), x!.shape[k]!));
    const place = placeOf(x!.shape, [...target, ...i.slice(lead.length)]);
    const value = at(updates!, i);
    data[place] = a.text('reduction', 'none') === 'add' ? data[place]! + value : value;
  }
  return { shape: x!.shape, data };
};

const batchNorm: Operator = ([x, scale, bias, mean, variance], a, node) => {
  const epsilon = a.float('epsilon', 1e-5);
  const channel = (v: Value, i: Index) => v.data[i[1]!]!;
  const form = (m: Value, v: Value) =>
    make(x!.shape, (i) => {
      const hat = (at(x!, i) - channel(m, i)) / Math.sqrt(channel(v, i) + epsilon);
      return hat * channel(scale!, i) + channel(bias!, i);
    });
  if (!a.int('training_mode', 0)) return form(mean!, variance!);
  const over = replaced(x!.shape, 1, 1);
  const all = (c: number) => [...indices(over)].map((i) => at(x!, replaced(i, 1, c)));
  const means = vector(range(x!.shape[1]!).map((c) => sum(all(c)) / all(c).length));
  const variances = vector(
    range(x!.shape[1]!).map((c) => {
      const values = all(c);
      return sum(values.map((v) => (v - means.data[c]!) ** 2)) / values.length;
    }),
  );
  const momentum = a.float('momentum', 0.9);
  const running = (old: Value, now: Value) =>
    make(old.shape, (i) => at(old, i) * momentum + at(now, i) * (1 - momentum));
  const outputs = [form(means, variances), running(mean!, means), running(variance!, variances)];
  return outputs.slice(0, node.output!.length);
};

const groupNorm: Operator = ([x, scale, bias], a) => {
  const [n, c, ...rest] = x!.shape as [number, number, ...number[]];
  const groups = a.int('num_groups', 1);
  const grouped = reshaped(x!, [n, groups, (c / groups) * sizeOf(rest)]);
  const hat = reshaped(normalize(grouped, [2], a.float('epsilon', 1e-5)), x!.shape);
  const of = (v: Value, i: Index) => v.data[Math.floor((i[1]! * v.data.length) / c)]!;
  return make(x!.shape, (i) => at(hat, i) * of(scale!, i) + of(bias!, i));
};

const gelu = (x: number, a: Attributes) =>
  a.text('approximate', 'none') === 'none'
    ? 0.5 * x * (1 + erf(x * Math.SQRT1_2))
    : 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
const truth = (f: (a: number, b: number) => boolean) => elementwise((a, b) => (f(a, b!) ? 1 : 0));

export const operators: Readonly<Record<string, Operator>> = {
  Identity: ([x]) => x!,
  Neg: unary((v) => -v),
  Exp: unary(Math.exp),
  Log: unary(Math.log),
  Sqrt: unary(Math.sqrt),
  Reciprocal: unary((v) => 1 / v),
  Sin: unary(Math.sin),
  Cos: unary(Math.cos),
  Abs: unary(Math.abs),
  Sign: unary(Math.sign),
  Floor: unary(Math.floor),
  Ceil: unary(Math.ceil),
  Erf: unary(erf),
  Tanh: unary(Math.tanh),
  Sigmoid: unary((v) => 1 / (1 + Math.exp(-v))),
  Softplus: unary((v) => Math.max(v, 0) + Math.log1p(Math.exp(-Math.abs(v)))),
  Relu: unary((v) => Math.max(v, 0)),
  LeakyRelu: unary((v, a) => (v < 0 ? v * a.float('alpha', 0.01) : v)),
  Elu: unary((v, a) => (v < 0 ? a.float('alpha', 1) * Math.expm1(v) : v)),
  HardSigmoid: unary((v, a) => clamp(a.float('alpha', 0.2) * v + a.float('beta', 0.5), 0, 1)),
  HardSwish: unary((v) => v * clamp(v / 6 + 0.5, 0, 1)),
  Gelu: unary(gelu),
  Not: unary((v) => (v ? 0 : 1)),
  PRelu: elementwise((v, slope) => (v! < 0 ? v! * slope! : v!)),
  Add: elementwise((a, b) => a! + b!),
  Sub: elementwise((a, b) => a! - b!),
  Mul: elementwise((a, b) => a! * b!),
  Div: elementwise((a, b) => a! / b!),
  Pow: elementwise((a, b) => a! ** b!),
  Min: elementwise(Math.min),
  Max: elementwise(Math.max),
  Sum: elementwise((...values) => sum(values)),
  Mean: elementwise((...values) => sum(values) / values.length),
  Where: elementwise((c, a, b) => (c ? a! : b!)),
  Equal: truth((a, b) => a === b),
  Greater: truth((a, b) => a > b),
  GreaterOrEqual: truth((a, b) => a >= b),
  Less: truth((a, b) => a < b),
  LessOrEqual: truth((a, b) => a <= b),
  And: truth((a, b) => a !== 0 && b !== 0),
  Or: truth((a, b) => a !== 0 || b !== 0),
  Clip: ([x, low, high]) =>
    make(x!.shape, (i) => clamp(at(x!, i), low?.data[0] ?? -Infinity, high?.data[0] ?? Infinity)),
  Softmax: softmax(false),
  LogSoftmax: softmax(true),
  MatMul: ([a, b]) => matMul(a!, b!),
  Gemm: ([a, b, c], attributes) => {
    const turned = (v: Value, turn: number) => (turn ? transpose(v, [1, 0]) : v);
    const { int, float } = attributes;
    const product = matMul(turned(a!, int('transA', 0)), turned(b!, int('transB', 0)));
    const [alpha, beta] = [float('alpha', 1), float('beta', 1)];
    return make(product.shape, (i) => alpha * at(product, i) + (c ? beta * at(c, i) : 0));
  },
  Einsum: einsum,
  LayerNormalization: layerNorm(true),
  RMSNormalization: layerNorm(false),
  InstanceNormalization: ([x, scale, bias], a) => {
    const hat = normalize(x!, range(x!.shape.length - 2, 2), a.float('epsilon', 1e-5));
    return make(x!.shape, (i) => at(hat, i) * scale!.data[i[1]!]! + bias!.data[i[1]!]!);
  },
  GroupNormalization: groupNorm,
  BatchNormalization: batchNorm,
  Conv: conv,
  ConvTranspose: convTranspose,
  MaxPool: pool(true),
  AveragePool: pool(false),
  GlobalAveragePool: globalPool(false),
  GlobalMaxPool: globalPool(true),
  Resize: resize,
  Pad: pad,
  Reshape: ([x, shape], a) => {
    const zeros = a.int('allowzero', 0) === 1;
    return reshaped(
      x!,
      list(shape)!.map((n, k) => (n === 0 && !zeros ? x!.shape[k]! : n)),
    );
  },
  Flatten: ([x], a) => {
    const axis = axisOf(a.int('axis', 1), x!.shape.length);
    const [before, behind] = [x!.shape.slice(0, axis), x!.shape.slice(axis)];
    return reshaped(x!, [sizeOf(before), sizeOf(behind)]);
  },
  Transpose: ([x], a) => transpose(x!, a.ints('perm') ?? range(x!.shape.length).reverse()),
  Squeeze: ([x, axes], a) => {
    const rank = x!.shape.length;
    const named = (list(axes) ?? a.ints('axes'))?.map((k) => axisOf(k, rank));
    const gone = named ?? range(rank).filter((k) => x!.shape[k] === 1);
    return { ...x!, shape: without(x!.shape, gone) };
  },
  Unsqueeze: ([x, axes], a) => {
    const named = (list(axes) ?? a.ints('axes'))!;
    const rank = x!.shape.length + named.length;
    const added = named.map((k) => axisOf(k, rank));
    const rest = [...x!.shape];
    return { ...x!, shape: range(rank).map((k) => (added.includes(k) ? 1 : rest.shift()!)) };
  },
  Expand: ([x, shape]) => make(broadcast([x!.shape, list(shape)!]), (i) => at(x!, i)),
  Tile: ([x, repeats]) =>
    make(
      x!.shape.map((n, k) => n * repeats!.data[k]!),
      (i) =>
        at(
          x!,
          i.map((n, k) => n % x!.shape[k]!),
        ),
    ),
  Concat: concat,
  Split: split,
  Slice: slice,
  Gather: gather,
  GatherElements: ([x, index], a) => {
    const axis = axisOf(a.int('axis', 0), x!.shape.length);
    return make(index!.shape, (i) =>
      at(x!, replaced(i, axis, axisOf(at(index!, i), x!.shape[axis]!))),
    );
  },
  ScatterND: scatterNd,
  ReduceSum: reduce(sum),
  ReduceMean: reduce((values) => sum(values) / values.length),
  ReduceMax: reduce((values) => Math.max(...values)),
  ReduceMin: reduce((values) => Math.min(...values)),
  ReduceSumSquare: reduce((values) => sum(values.map((v) => v * v))),
  ReduceL2: reduce((values) => Math.sqrt(sum(values.map((v) => v * v)))),
  CumSum: ([x, axisValue], a) => {
    const axis = axisOf(axisValue!.data[0]!, x!.shape.length);
    const [own, back] = [1 - a.int('exclusive', 0), a.int('reverse', 0) === 1];
    return make(x!.shape, (i) => {
      const n = i[axis]!;
      const places = back ? range(x!.shape[axis]! - n - 1 + own, n + 1 - own) : range(n + own);
      return sum(places.map((p) => at(x!, replaced(i, axis, p))));
    });
  },
  Dropout: ([x]) => x!,
  Cast: ([x], a) =>
    make(x!.shape, (i) => {
      const to = a.int('to', 1);
      if (to === 9) return at(x!, i) === 0 ? 0 : 1;
      return to === 1 || to === 11 ? at(x!, i) : Math.trunc(at(x!, i));
    }),
  Shape: ([x]) => vector(x!.shape),
  Size: ([x]) => ({ shape: [], data: Float64Array.of(x!.data.length) }),
  ConstantOfShape: ([shape], a) => {
    const given = a.tensor('value');
    const fill = given ? read(given).data[0]! : 0;
    return make(list(shape)!, () => fill);
  },
};

/** The numbers of a tensor as it is stored. */
function read({ dims = [], dataType, rawData, ...lists }: Tensor): Value {
  const shape = dims.map(Number);
  if (!rawData) {
    const stored = lists.floatData ?? lists.int64Data ?? lists.int32Data ?? [];
    return { shape, data: Float64Array.from([...stored], Number) };
  }
  const { buffer } = rawData.slice();
  const types = { 1: Float32Array, 6: Int32Array, 7: BigInt64Array, 9: Uint8Array } as const;
  const data = new types[dataType as keyof typeof types](buffer);
  return { shape, data: Float64Array.from(Array.from(data as ArrayLike<number | bigint>, Number)) };
}

/** Every value of a model, in float64. */
export function evaluate(model: Model, feeds: Readonly<Record<string, Value>>): Map<string, Value> {
  const { initializer = [], node = [] } = model.graph!;
  const values = new Map(initializer.map((tensor) => [tensor.name ?? '', read(tensor)]));
  for (const [name, value] of Object.entries(feeds)) values.set(name, value);
  for (const one of node) {
    const operator = operators[one.opType ?? ''];
    if (!operator) throw new Error(`${one.opType} has no reference`);
    const made = operator(
      (one.input ?? []).map((name) => (name ? values.get(name) : undefined)),
      new Attributes(one),
      one,
    );
    const outputs = Array.isArray(made) ? (made as Value[]) : [made as Value];
    one.output!.forEach((name, i) => {
      if (name && outputs[i]) values.set(name, outputs[i]);
    });
  }
  return values;
}
