import type { Value } from '../graph.js';
import { type Emitter, range, same } from './emit.js';
import { channelSum, type Rule, type RuleContext } from './rules.js';

/** A spatial axis along which the window of a convolution or a pool slides. */
interface Axis {
  /** Extent of the image, and the number of places where the window stops. */
  readonly image: number;
  readonly places: number;
  readonly kernel: number;
  readonly stride: number;
  readonly dilation: number;
  /** Padding before the image; and behind, as far as windows reach: below 0 where they stop before its end. */
  readonly begin: number;
  readonly end: number;
}

/** The axes of a node whose window slides over `image` and stops at `places`. */
function axesOf(
  c: RuleContext,
  image: Value,
  places: Value,
  kernel: readonly number[] = c.ints('kernel_shape')!,
): Axis[] {
  const [, ...images] = c.fixed(image, 1);
  const [, ...stops] = c.fixed(places, 1);
  const [strides, dilations, pads] = ['strides', 'dilations', 'pads'].map(c.ints);
  const auto = c.text('auto_pad', 'NOTSET');
  return kernel.map((k, i) => {
    const extents = { image: images[i]!, places: stops[i]!, kernel: k };
    const [stride, dilation] = [strides?.[i] ?? 1, dilations?.[i] ?? 1];
    const beyond = (stops[i]! - 1) * stride + dilation * (k - 1) + 1 - images[i]!;
    const half = auto === 'VALID' ? 0 : Math.max(0, beyond) / 2;
    let begin = auto === 'SAME_LOWER' ? Math.ceil(half) : Math.floor(half);
    if (auto === 'NOTSET') begin = pads?.[i] ?? 0;
    return { ...extents, stride, dilation, begin, end: beyond - begin };
  });
}

/** Attributes of a convolution with this window. */
const attributesOf = (axes: readonly Axis[], group: number) => ({
  group,
  kernel_shape: axes.map(({ kernel }) => kernel),
  strides: axes.map(({ stride }) => stride),
  dilations: axes.map(({ dilation }) => dilation),
  pads: [...axes.map(({ begin }) => begin), ...axes.map(({ end }) => Math.max(0, end))],
});

/** Padding of the spatial axes, which begin at 2. */
const pad = (
  b: Emitter,
  value: Value,
  begins: readonly number[],
  ends: readonly number[],
  fill = 0,
) => b.pad(value, [0, 0, ...begins], [0, 0, ...ends], fill);

/** The image with padding, as far as the windows reach; and its extents then. */
function padded(b: Emitter, value: Value, axes: readonly Axis[], fill: number) {
  const begins = axes.map(({ begin }) => begin);
  const ends = axes.map(({ end }) => Math.max(0, end));
  return {
    value: pad(b, value, begins, ends, fill),
    extents: axes.map(({ image }, i) => begins[i]! + image + ends[i]!),
  };
}

/** What one element of the window sees along an axis: strided, unless that is all there is. */
function atTap(
  b: Emitter,
  value: Value,
  at: number,
  { places, stride, dilation }: Axis,
  extent: number,
  tap: number,
): Value {
  const start = tap * dilation;
  const end = start + (places - 1) * stride + 1;
  const whole = start === 0 && end === extent && stride === 1;
  return whole ? value : b.cut(value, [at], [start], [end], [stride]);
}

/** The transposed convolution: what stands at the places, spread over the image by the window. */
function spread(b: Emitter, value: Value, weights: Value, axes: readonly Axis[], group = 1): Value {
  const made = b.node('ConvTranspose', [value, weights], attributesOf(axes, group));
  // Zeros where windows stop before the image's end.
  const ends = axes.map(({ end }) => Math.max(0, -end));
  return pad(
    b,
    made,
    axes.map(() => 0),
    ends,
  );
}

const product = (extents: readonly number[]) => extents.reduce((a, b) => a * b, 1);

/**
 * The gradient of a convolution's weights [outputs, inputs, …], as one product for each group.
 * @param inputs channels of the image in a group; `outputs` those of the places
 */
function weightGradient(
  b: Emitter,
  image: Value,
  places: Value,
  axes: readonly Axis[],
  { group, inputs, outputs }: { group: number; inputs: number; outputs: number },
): Value {
  const kernel = axes.map((axis) => axis.kernel);
  // The batch goes last, so that what is cut out lies in long runs; then one axis after the other.
  const perm = [1, ...range(axes.length, 2), 0];
  const { value, extents } = padded(b, image, axes, 0);
  const columns = axes.reduceRight(
    (from, axis, i) =>
      b.concatOn(
        range(axis.kernel).map((tap) => atTap(b, from, i + 2, axis, extents[i]!, tap)),
        1,
      ),
    b.reshape(b.transpose(value, perm), [group, inputs, ...extents, -1]),
  );
  const taps = product(kernel);
  const rows = b.reshape(b.transpose(places, perm), [group * outputs, -1]);
  const products =
    group === 1
      ? b.gemm(b.reshape(columns, [taps * inputs, -1]), rows, false, true)
      : b.matMul(
          b.reshape(columns, [group, taps * inputs, -1]),
          b.transpose(b.reshape(rows, [group, outputs, -1]), [0, 2, 1]),
        );
  const kernels = b.reshape(products, [group, taps, inputs, outputs]);
  return b.reshape(b.transpose(kernels, [0, 3, 2, 1]), [group * outputs, inputs, ...kernel]);
}

/** The groups of a convolution, and how many channels each has in the image and at the places. */
function channelsOf(c: RuleContext, image: Value, places: Value) {
  const group = c.int('group', 1);
  const [inputs, outputs] = [c.fixed(image, 1)[0]! / group, c.fixed(places, 1)[0]! / group];
  return { group, inputs, outputs };
}

const bias = (c: RuleContext) => () => channelSum(c.b, c.g, c.shape(c.y[0]!).length);

const conv: Rule = (c) => {
  const { b, x, y, g } = c;
  const axes = axesOf(c, x[0]!, y[0]!, c.fixed(x[1]!).slice(2));
  const channels = channelsOf(c, x[0]!, y[0]!);
  const { group, inputs, outputs: m } = channels;
  const dx = () => {
    if (group === 1 || inputs > 1 || m === 1) return spread(b, g, x[1]!, axes, group);
    // Native WebGPU is silently wrong for groups with several inputs and one output: one at a time there.
    const one = (k: number) => {
      const [from, to] = [[k * m], [(k + 1) * m]];
      return spread(b, b.cut(g, [1], from, to), b.cut(x[1]!, [0], from, to), axes);
    };
    return b.concatOn(range(group).map(one), 1);
  };
  return [dx, () => weightGradient(b, x[0]!, g, axes, channels), bias(c)];
};

const convTranspose: Rule = (c) => {
  const { b, x, y, g } = c;
  if (c.text('auto_pad', 'NOTSET') !== 'NOTSET' || c.ints('output_shape')) {
    c.refuse('its padding is not explicit');
  }
  const axes = axesOf(c, y[0]!, x[0]!, c.fixed(x[1]!).slice(2));
  const channels = channelsOf(c, y[0]!, x[0]!);
  const dx = () => {
    // Output beyond all windows has no gradient to give; what was cut off is zero.
    const part = axes.some(({ end }) => end < 0)
      ? b.cut(
          g,
          range(axes.length, 2),
          axes.map(() => 0),
          axes.map(({ image, end }) => image + Math.min(0, end)),
        )
      : g;
    return b.node('Conv', [part, x[1]!], attributesOf(axes, channels.group));
  };
  return [dx, () => weightGradient(b, g, x[0]!, axes, channels), bias(c)];
};

const maxPool: Rule = (c) => {
  const { b, x, y, g } = c;
  const axes = axesOf(c, x[0]!, y[0]!);
  const shape = c.shape(x[0]!);
  const places = axes.map((axis) => axis.places);
  const tiles = axes.every(
    ({ image, places: n, kernel, stride, dilation, begin }) =>
      kernel === stride && dilation === 1 && begin === 0 && image === kernel * n,
  );
  if (tiles) {
    // Repeated to the image's size: a broadcast along so short axes takes CPUs ten times as long.
    const count = c.fixed(x[0]!, 1)[0]!;
    const single = [-1, count, ...places.flatMap((n) => [n, 1])];
    const split = [-1, count, ...axes.flatMap(({ places: n, kernel }) => [n, kernel])];
    const repeated = (value: Value) =>
      axes.reduceRight(
        (v, { kernel }, i) => b.concatOn(Array<Value>(kernel).fill(v), 2 * i + 3),
        b.reshape(value, single),
      );
    const hits = b.equal(b.reshape(x[0]!, split), repeated(y[0]!));
    const all = b.sum(
      hits,
      axes.map((_, i) => 2 * i + 3),
    );
    const share = b.div(b.reshape(g, single), all);
    return [b.shaped(b.mul(hits, repeated(share)), shape)];
  }
  // Channel by channel, with the taps of the window as channels, the last axis fastest.
  const { value, extents } = padded(b, x[0]!, axes, -3.4028234663852886e38);
  const single = (one: Value) => b.reshape(one, [-1, 1, ...places]);
  const columns = axes
    .reduce(
      (all, axis, i) =>
        all.flatMap((one) =>
          range(axis.kernel).map((tap) => atTap(b, one, i + 2, axis, extents[i]!, tap)),
        ),
      [value],
    )
    .map(single);
  const hits = b.equal(b.concatOn(columns, 1), single(y[0]!));
  const shares = b.mul(hits, b.div(single(g), b.sum(hits, [1])));
  const identity = columns.flatMap((_, i) => columns.map((_, k) => Number(i === k)));
  const picks = b.reshape(b.cast(b.integers(...identity), 'float32'), [
    columns.length,
    1,
    ...axes.map(({ kernel }) => kernel),
  ]);
  return [b.shaped(spread(b, shares, picks, axes), shape)];
};

const averagePool: Rule = (c) => {
  const { b, x, y } = c;
  const axes = axesOf(c, x[0]!, y[0]!);
  const places = axes.map((axis) => axis.places);
  const pads = c.ints('pads');
  const whole = c.int('count_include_pad', 0) === 1;
  const value = axes.reduce((sum, { image, kernel, stride, dilation, begin }, i) => {
    const end = pads?.[i + axes.length] ?? begin;
    const [low, high] = whole ? [-begin, image + end] : [0, image];
    // How many elements each mean is over, along this axis.
    const counts = range(places[i]!).map(
      (place) =>
        range(kernel)
          .map((tap) => place * stride - begin + tap * dilation)
          .filter((position) => position >= low && position < high).length,
    );
    if (new Set(counts).size === 1) return b.div(sum, counts[0]!);
    const shape = places.map((n, k) => (k === i ? n : 1));
    return b.div(sum, b.reshape(b.cast(b.integers(...counts), 'float32'), shape));
  }, c.g);
  const ones = b.expand(1, [1, 1, ...axes.map(({ kernel }) => kernel)]);
  const single = b.reshape(value, [-1, 1, ...places]);
  return [b.shaped(spread(b, single, ones, axes), c.shape(x[0]!))];
};

/** Where output element `o` of an axis looks, in elements of the input. */
function coordinate(mode: string, o: number, scale: number, from: number, to: number): number {
  if (mode === 'asymmetric') return o / scale;
  if (mode === 'align_corners') return to === 1 ? 0 : (o * (from - 1)) / (to - 1);
  if (mode === 'pytorch_half_pixel' && to === 1) return 0;
  return (o + 0.5) / scale - 0.5;
}
const roundings: Readonly<Record<string, (v: number) => number>> = {
  round_prefer_floor: (v) => Math.ceil(v - 0.5),
  round_prefer_ceil: (v) => Math.floor(v + 0.5),
  floor: Math.floor,
  ceil: Math.ceil,
};

/** Resizing is a linear map along each axis. */
const resize: Rule = (c) => {
  const { b, x, y } = c;
  const [small, large] = [c.shape(x[0]!), c.shape(y[0]!)];
  const mode = c.text('mode', 'nearest');
  const transform = c.text('coordinate_transformation_mode', 'half_pixel');
  const known = ['asymmetric', 'align_corners', 'pytorch_half_pixel', 'half_pixel'];
  if (mode === 'cubic' || c.int('antialias', 0) || !known.includes(transform)) {
    c.refuse(`its mode "${mode}" with "${transform}" has no rule`);
  }
  const scales = c.constant(2);
  const rounding = roundings[c.text('nearest_mode', 'round_prefer_floor')]!;
  return [
    large.reduce<Value>((value, to, axis) => {
      const from = small[axis]!;
      if (typeof to !== 'number' || typeof from !== 'number') {
        return same(to, from) ? value : c.refuse('it resizes an axis that is not fixed');
      }
      const scale = scales?.length === large.length ? scales[axis]! : to / from;
      if (to === from && scale === 1) return value;
      const clamp = (i: number) => Math.min(Math.max(i, 0), from - 1);
      return b.backAlong(value, large.length, axis, { from, to }, (o) => {
        const at = coordinate(transform, o, scale, from, to);
        if (mode === 'nearest') return [[clamp(rounding(at)), 1]];
        const low = Math.floor(at);
        return [
          [clamp(low), 1 - (at - low)],
          [clamp(low + 1), at - low],
        ];
      });
    }, c.g),
  ];
};

export const convolutionRules: Readonly<Record<string, Rule>> = {
  Conv: conv,
  ConvTranspose: convTranspose,
  MaxPool: maxPool,
  AveragePool: averagePool,
  Resize: resize,
};
