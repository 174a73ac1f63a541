import type { Value } from '../graph.js';
import { sizeOf } from '../model/tensors.js';
import { range, same } from './emit.js';
import { channelSum, extentOf, negative, type Rule, type RuleContext } from './rules.js';

/**
 * How the window of a convolution or a pool slides over `image` and stops at `stops`, with a number for
 * each spatial axis; and what is made with it.
 */
function windowOf(
  c: RuleContext,
  image: Value,
  stops: Value,
  kernel: readonly number[] = c.ints('kernel_shape')!,
) {
  const { b } = c;
  const [, ...images] = c.fixed(image, 1);
  const [, ...places] = c.fixed(stops, 1);
  const ones = kernel.map(() => 1);
  const strides = c.ints('strides') ?? ones;
  const dilations = c.ints('dilations') ?? ones;
  const auto = c.text('auto_pad', 'NOTSET');
  const pads = auto === 'NOTSET' ? (c.ints('pads') ?? kernel.flatMap(() => [0, 0])) : [];
  /** Where an element of the window lies in the padded image. */
  const position = (axis: number, place: number, tap: number) =>
    place * strides[axis]! + tap * dilations[axis]!;
  const beyond = kernel.map((k, i) => position(i, places[i]! - 1, k - 1) + 1 - images[i]!);
  // Padding before the image and behind, as far as windows reach; and what none reaches at its end.
  const begins = beyond.map((more, i) => {
    const half = auto === 'VALID' ? 0 : Math.max(0, more) / 2;
    return pads[i] ?? (auto === 'SAME_LOWER' ? Math.ceil(half) : Math.floor(half));
  });
  const ends = beyond.map((more, i) => Math.max(0, more - begins[i]!));
  const rests = beyond.map((more, i) => Math.max(0, begins[i]! - more));
  const extended = (value: Value, by: readonly number[]) =>
    b.pad(value, [0, 0, ...places.map(() => 0)], [0, 0, ...by]);
  const convolved = (opType: string, input: Value[], group: number) =>
    b.node(opType, input, {
      group,
      kernel_shape: kernel,
      strides,
      dilations,
      pads: [...begins, ...ends],
    });
  return {
    images,
    places,
    kernel,
    /** Padding as the node has it, if it says how much. */
    pads,
    /** What the window sees of the image along an axis, place by place. */
    seen: (axis: number) =>
      range(places[axis]!).map((place) =>
        range(kernel[axis]!).map((tap) => position(axis, place, tap) - begins[axis]!),
      ),
    /** Pads the image, as far as the windows reach; `more` zeros for further axes behind it. */
    padded: (value: Value, fill: number, ...more: number[]) =>
      b.pad(value, [0, 0, ...begins, ...more], [0, 0, ...ends, ...more], fill),
    /** What each element of the window sees along an axis: strided, unless that is all there is. */
    taps(value: Value, axis: number): Value[] {
      const stride = strides[axis]!;
      if (kernel[axis] === 1 && stride === 1 && !rests[axis]) return [value];
      return range(kernel[axis]!).map((tap) => {
        const last = position(axis, places[axis]! - 1, tap);
        return b.cut(value, axis + 2, tap * dilations[axis]!, last + 1, stride);
      });
    },
    /** What stands at the places, spread over the image: zeros where no window reaches. */
    spread: (value: Value, weights: Value, group = 1) =>
      extended(convolved('ConvTranspose', [value, weights], group), rests),
    /** The reverse; what no window reaches is cut off. */
    gathered: (value: Value, weights: Value, group: number) =>
      convolved('Conv', [extended(value, negative(rests)), weights], group),
  };
}
type Window = ReturnType<typeof windowOf>;

/**
 * A convolution takes an image to places, and a transposed one places to an image.
 * @param back the gradient of the first input
 */
const convolution =
  (
    transposed: boolean,
    back: (c: RuleContext, window: Window, group: number, inputs: number, outputs: number) => Value,
  ): Rule =>
  (c) => {
    const { b, x, y, g } = c;
    const sides = (from: Value, to: Value) => (transposed ? [to, from] : [from, to]);
    const [image, places] = sides(x[0]!, y[0]!);
    const window = windowOf(c, image!, places!, c.fixed(x[1]!).slice(2));
    const { images, kernel, padded, taps } = window;
    const group = c.int('group', 1);
    const [inputs, outputs] = [image!, places!].map((value) => extentOf(c, value, 1) / group) as [
      number,
      number,
    ];
    /** The gradient of the weights [outputs, inputs, …], as one product for each group. */
    const weights = () => {
      // The batch goes last, so that what is cut out lies in long runs; then one axis after the other.
      const perm = [1, ...range(kernel.length, 2), 0];
      const [from, to] = sides(x[0]!, g).map((value) => b.transpose(value, perm));
      const columns = kernel.reduceRight(
        (value, _, axis) => b.concatOn(taps(value, axis), 1),
        padded(b.reshape(from!, [group, inputs, ...images, -1]), 0, 0),
      );
      const size = sizeOf(kernel);
      const groups = group === 1 ? [] : [group];
      const wide = b.reshape(columns, [...groups, size * inputs, -1]);
      const rows = b.reshape(to!, [...groups, outputs, -1]);
      const products =
        group === 1
          ? b.gemm(wide, rows, false, true)
          : b.matMul(wide, b.transpose(rows, [0, 2, 1]));
      const kernels = b.reshape(products, [group, size, inputs, outputs]);
      return b.reshape(b.transpose(kernels, [0, 3, 2, 1]), [group * outputs, inputs, ...kernel]);
    };
    return [
      () => back(c, window, group, inputs, outputs),
      weights,
      () => channelSum(b, g, kernel.length + 2),
    ];
  };

const conv = convolution(false, ({ b, x, g }, { spread }, group, inputs, m) => {
  if (group === 1 || inputs > 1 || m === 1) return spread(g, x[1]!, group);
  // Native WebGPU is silently wrong for groups with several inputs and one output: one at a time there.
  const one = (k: number) => {
    const [from, to] = [k * m, (k + 1) * m];
    return spread(b.cut(g, 1, from, to), b.cut(x[1]!, 0, from, to));
  };
  return b.concatOn(range(group).map(one), 1);
});

const convTranspose = convolution(true, (c, { gathered }, group) => {
  if (c.text('auto_pad', 'NOTSET') !== 'NOTSET' || c.ints('output_shape')) {
    c.refuse('its padding is not explicit');
  }
  // Output beyond all windows has no gradient to give.
  return gathered(c.g, c.x[1]!, group);
});

const maxPool: Rule = (c) => {
  const { b, x, y, g } = c;
  const { images, places, kernel, seen, padded, taps, spread } = windowOf(c, x[0]!, y[0]!);
  const shape = c.shape(x[0]!);
  // Windows that tile the image.
  if (images.every((extent, i) => String(seen(i)) === String(range(extent)))) {
    const count = extentOf(c, x[0]!, 1);
    const split = (value: Value, inner: readonly number[] = []) =>
      b.reshape(value, [-1, count, ...places.flatMap((n, i) => [n, inner[i] ?? 1])]);
    // Repeated to the image's size: a broadcast along so short axes takes CPUs ten times as long.
    const repeated = (value: Value) =>
      kernel.reduceRight((v, k, i) => b.concatOn(Array<Value>(k).fill(v), 2 * i + 3), value);
    const hits = b.equal(split(x[0]!, kernel), repeated(split(y[0]!)));
    const axes = kernel.map((_, i) => 2 * i + 3);
    const share = b.div(split(g), b.sum(hits, axes));
    return [b.shaped(b.mul(hits, repeated(share)), shape)];
  }
  // Channel by channel, with the taps of the window as channels, the last axis fastest. Padding is a
  // number that is no maximum.
  const single = (one: Value) => b.reshape(one, [-1, 1, ...places]);
  const columns = kernel
    .reduce((all, _, axis) => all.flatMap((one) => taps(one, axis)), [padded(x[0]!, -3e38)])
    .map(single);
  const hits = b.equal(b.concatOn(columns, 1), single(y[0]!));
  const shares = b.mul(hits, b.div(single(g), b.sum(hits, [1])));
  const identity = columns.flatMap((_, i) => columns.map((_, k) => Number(i === k)));
  const picks = b.floats([columns.length, 1, ...kernel], identity);
  return [b.shaped(spread(shares, picks), shape)];
};

const averagePool: Rule = (c) => {
  const { b, x, y } = c;
  const { images, places, kernel, pads, seen, spread } = windowOf(c, x[0]!, y[0]!);
  const value = images.reduce((sum, extent, i) => {
    const whole = c.int('count_include_pad', 0);
    const end = whole ? (pads[i + places.length] ?? Infinity) : 0;
    // How many elements each mean is over, along this axis.
    const counts = seen(i).map(
      (all) => all.filter((at) => (whole || at >= 0) && at < extent + end).length,
    );
    if (new Set(counts).size === 1) return b.div(sum, counts[0]!);
    const shape = places.map((n, k) => (k === i ? n : 1));
    return b.div(sum, b.floats(shape, counts));
  }, c.g);
  const ones = b.expand(1, [1, 1, ...kernel]);
  const single = b.reshape(value, [-1, 1, ...places]);
  return [b.shaped(spread(single, ones), c.shape(x[0]!))];
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
      return b.backAlong(value, large.length, axis, from, to, (o) => {
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
