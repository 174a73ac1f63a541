import type { Value } from '../graph.js';
import { sizeOf } from '../model/tensors.js';
import { type Emitter, range, same } from './emit.js';
import { channelSum, extentOf, type Rule, type RuleContext } from './rules.js';

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

/** Pads the image, as far as the windows reach; `behind` it come so many further axes. */
const padded = (b: Emitter, value: Value, axes: readonly Axis[], fill: number, behind = 0) =>
  b.pad(
    value,
    [0, 0, ...axes.map(({ begin }) => begin), ...range(behind).fill(0)],
    [0, 0, ...axes.map(({ end }) => Math.max(0, end)), ...range(behind).fill(0)],
    fill,
  );

/** Adds to the image what no window reaches, as zeros; or cuts it off. */
const unreached = (b: Emitter, value: Value, axes: readonly Axis[], sign: 1 | -1) =>
  b.pad(value, range(axes.length + 2).fill(0), [
    0,
    0,
    ...axes.map(({ end }) => sign * Math.max(0, -end)),
  ]);

/** What one element of the window sees along axis `at`: strided, unless that is all there is. */
function atTap(
  b: Emitter,
  value: Value,
  at: number,
  { places, kernel, stride, dilation, end }: Axis,
  tap: number,
): Value {
  if (kernel === 1 && stride === 1 && end >= 0) return value;
  const start = tap * dilation;
  return b.cut(value, [at], [start], [start + (places - 1) * stride + 1], [stride]);
}

/** The transposed convolution: what stands at the places, spread over the image by the window. */
const spread = (b: Emitter, value: Value, weights: Value, axes: readonly Axis[], group = 1) =>
  unreached(b, b.node('ConvTranspose', [value, weights], attributesOf(axes, group)), axes, 1);

/** The groups of a convolution, and how many channels each has in the image and at the places. */
interface Channels {
  readonly group: number;
  readonly inputs: number;
  readonly outputs: number;
}

/**
 * The gradient of a convolution's weights [outputs, inputs, …], as one product for each group.
 */
function weightGradient(
  b: Emitter,
  image: Value,
  places: Value,
  axes: readonly Axis[],
  { group, inputs, outputs }: Channels,
): Value {
  const kernel = axes.map((axis) => axis.kernel);
  // The batch goes last, so that what is cut out lies in long runs; then one axis after the other.
  const perm = [1, ...range(axes.length, 2), 0];
  const extents = axes.map((axis) => axis.image);
  const grouped = b.reshape(b.transpose(image, perm), [group, inputs, ...extents, -1]);
  const columns = axes.reduceRight(
    (from, axis, i) =>
      b.concatOn(
        range(axis.kernel).map((tap) => atTap(b, from, i + 2, axis, tap)),
        1,
      ),
    padded(b, grouped, axes, 0, 1),
  );
  const taps = sizeOf(kernel);
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

/**
 * A convolution takes an image to places, and a transposed one places to an image.
 * @param back the gradient of the first input
 */
const convolution =
  (
    transposed: boolean,
    back: (c: RuleContext, axes: readonly Axis[], channels: Channels) => Value,
  ): Rule =>
  (c) => {
    const { b, x, y, g } = c;
    const [image, places] = transposed ? [y[0]!, x[0]!] : [x[0]!, y[0]!];
    const axes = axesOf(c, image, places, c.fixed(x[1]!).slice(2));
    const group = c.int('group', 1);
    const inputs = c.fixed(image, 1)[0]! / group;
    const outputs = c.fixed(places, 1)[0]! / group;
    const channels = { group, inputs, outputs };
    const ends = transposed ? [g, x[0]!] : [x[0]!, g];
    return [
      () => back(c, axes, channels),
      () => weightGradient(b, ends[0]!, ends[1]!, axes, channels),
      () => channelSum(b, g, axes.length + 2),
    ];
  };

const conv = convolution(false, ({ b, x, g }, axes, { group, inputs, outputs: m }) => {
  if (group === 1 || inputs > 1 || m === 1) return spread(b, g, x[1]!, axes, group);
  // Native WebGPU is silently wrong for groups with several inputs and one output: one at a time there.
  const one = (k: number) => {
    const [from, to] = [[k * m], [(k + 1) * m]];
    return spread(b, b.cut(g, [1], from, to), b.cut(x[1]!, [0], from, to), axes);
  };
  return b.concatOn(range(group).map(one), 1);
});

const convTranspose = convolution(true, (c, axes, { group }) => {
  if (c.text('auto_pad', 'NOTSET') !== 'NOTSET' || c.ints('output_shape')) {
    c.refuse('its padding is not explicit');
  }
  // Output beyond all windows has no gradient to give.
  const reached = unreached(c.b, c.g, axes, -1);
  return c.b.node('Conv', [reached, c.x[1]!], attributesOf(axes, group));
});

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
  const single = (one: Value) => b.reshape(one, [-1, 1, ...places]);
  const columns = axes
    .reduce(
      (all, axis, i) =>
        all.flatMap((one) => range(axis.kernel).map((tap) => atTap(b, one, i + 2, axis, tap))),
      [padded(b, x[0]!, axes, -3.4028234663852886e38)],
    )
    .map(single);
  const hits = b.equal(b.concatOn(columns, 1), single(y[0]!));
  const shares = b.mul(hits, b.div(single(g), b.sum(hits, [1])));
  const identity = columns.flatMap((_, i) => columns.map((_, k) => Number(i === k)));
  const picks = b.floats([columns.length, 1, ...axes.map(({ kernel }) => kernel)], identity);
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
    return b.div(sum, b.floats(shape, counts));
  }, c.g);
  const ones = b.expand(1, [1, 1, ...axes.map(({ kernel }) => kernel)]);
  const single = b.reshape(value, [-1, 1, ...places]);
  return [b.shaped(spread(b, single, ones, axes), c.shape(x[0]!))];
};

/** Where output element `o` of an axis looks, in elements of the input. */
const coordinates: Readonly<
  Record<string, (o: number, scale: number, from: number, to: number) => number>
> = {
  asymmetric: (o, scale) => o / scale,
  align_corners: (o, _, from, to) => (to === 1 ? 0 : (o * (from - 1)) / (to - 1)),
  half_pixel: (o, scale) => (o + 0.5) / scale - 0.5,
  pytorch_half_pixel: (o, scale, _, to) => (to === 1 ? 0 : (o + 0.5) / scale - 0.5),
};
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
  const coordinate = coordinates[transform];
  if (mode === 'cubic' || c.int('antialias', 0) || !coordinate) {
    return c.refuse(`its mode "${mode}" with "${transform}" has no rule`);
  }
  const scales = c.constant(2);
  const rounding = roundings[c.text('nearest_mode', 'round_prefer_floor')]!;
  return [
    large.reduce<Value>((value, extent, axis) => {
      if (typeof extent !== 'number' && same(extent, small[axis]!)) return value;
      const [from, to] = [extentOf(c, x[0]!, axis), extentOf(c, y[0]!, axis)];
      const scale = scales?.length === large.length ? scales[axis]! : to / from;
      if (to === from && scale === 1) return value;
      const clamp = (i: number) => Math.min(Math.max(i, 0), from - 1);
      return b.backAlong(value, large.length, axis, { from, to }, (o) => {
        const at = coordinate(o, scale, from, to);
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
