/**
 * Importing this gives tfjs' wasm backend the gradients of convolutions that it lacks, made of operations
 * that it has: a model with `conv2d` or `depthwiseConv2d` layers can then be trained on it.
 */
import * as tf from '@tensorflow/tfjs-core';

/** What the kernels of the three gradients are told, whichever it is. */
interface Attributes {
  readonly strides: number | [number, number];
  readonly pad: Parameters<typeof tf.backend_util.computeConv2DInfo>[4];
  readonly dimRoundingMode?: 'floor' | 'round' | 'ceil';
  readonly filterShape?: Shape4;
  readonly inputShape?: Shape4;
}
type Shape4 = [number, number, number, number];

const describe = (input: Shape4, filter: Shape4, attributes: Attributes, depthwise: boolean) => {
  const { strides, pad, dimRoundingMode } = attributes;
  // tfjs itself refuses gradients of dilated convolutions.
  return tf.backend_util.computeConv2DInfo(
    input,
    filter,
    strides,
    1,
    pad,
    dimRoundingMode,
    depthwise,
  );
};
type Convolution = ReturnType<typeof describe>;

/** Rows and columns of `x` that the convolution reads, padding included. */
function framed(x: tf.Tensor4D, c: Convolution): tf.Tensor4D {
  const height = (c.outHeight - 1) * c.strideHeight + c.filterHeight;
  const width = (c.outWidth - 1) * c.strideWidth + c.filterWidth;
  const { top, left } = c.padInfo;
  const below = Math.max(0, height - top - c.inHeight);
  const right = Math.max(0, width - left - c.inWidth);
  const sides: [number, number][] = [
    [0, 0],
    [top, below],
    [left, right],
    [0, 0],
  ];
  return tf.slice(tf.pad(x, sides), [0, 0, 0, 0], [c.batchSize, height, width, c.inChannels]);
}

/**
 * A filter's gradient is the convolution of what it has read with the gradient of what it gave: batch
 * and channels change places, and a stride becomes a dilation.
 */
function filterGradient(x: tf.Tensor4D, dy: tf.Tensor4D, c: Convolution): tf.Tensor {
  const images = tf.transpose(framed(x, c), [3, 1, 2, 0]);
  const filter = tf.transpose(dy, [1, 2, 0, 3]);
  const strides: [number, number] = [c.strideHeight, c.strideWidth];
  return tf.transpose(tf.conv2d(images, filter, 1, 'valid', 'NHWC', strides), [1, 2, 0, 3]);
}

/** Channel by channel: the products of every tap with the gradient, summed. */
function depthwiseFilterGradient(x: tf.Tensor4D, dy: tf.Tensor4D, c: Convolution): tf.Tensor {
  const { batchSize, outHeight, outWidth, inChannels, strideHeight, strideWidth } = c;
  const multiplier = c.outChannels / inChannels;
  const pixels = outHeight * outWidth;
  const gradient = tf.reshape(dy, [batchSize, pixels, inChannels, multiplier]);
  const image = framed(x, c);
  const taps: tf.Tensor[] = [];
  for (let row = 0; row < c.filterHeight; row++) {
    for (let column = 0; column < c.filterWidth; column++) {
      const end = [row + (outHeight - 1) * strideHeight, column + (outWidth - 1) * strideWidth];
      const seen = tf.stridedSlice(
        image,
        [0, row, column, 0],
        [batchSize, end[0]! + 1, end[1]! + 1, inChannels],
        [1, strideHeight, strideWidth, 1],
      );
      const products = tf.mul(tf.reshape(seen, [batchSize, pixels, inChannels, 1]), gradient);
      // In two goes: the backend adds up in float32, one after the other.
      taps.push(tf.sum(tf.sum(products, 1), 0));
    }
  }
  return tf.reshape(tf.stack(taps), c.filterShape);
}

/** `dy` with zeros where a stride has left pixels out. */
function spread(dy: tf.Tensor4D, { strideHeight, strideWidth }: Convolution): tf.Tensor4D {
  if (strideHeight === 1 && strideWidth === 1) return dy;
  const [batch, height, width, channels] = dy.shape;
  const apart = tf.reshape(dy, [batch, height, 1, width, channels]);
  const rows = tf.pad(apart, [
    [0, 0],
    [0, 0],
    [0, strideHeight - 1],
    [0, 0],
    [0, 0],
  ]);
  const tall = tf.reshape(rows, [batch, height * strideHeight, width, 1, channels]);
  const columns = tf.pad(tall, [
    [0, 0],
    [0, 0],
    [0, 0],
    [0, strideWidth - 1],
    [0, 0],
  ]);
  return tf.reshape(columns, [batch, height * strideHeight, width * strideWidth, channels]);
}

/** The convolution of the gradient with the filter turned round, for each of a channel's outputs. */
function depthwiseInputGradient(dy: tf.Tensor4D, filter: tf.Tensor4D, c: Convolution): tf.Tensor {
  const { inHeight, inWidth, inChannels, batchSize, filterHeight, filterWidth } = c;
  const multiplier = c.outChannels / inChannels;
  const turned = tf.reverse(filter, [0, 1]);
  const wide = spread(dy, c);
  const [, height, width] = wide.shape;
  // So far that every pixel of the input is met by the whole filter.
  const top = filterHeight - 1 - c.padInfo.top;
  const left = filterWidth - 1 - c.padInfo.left;
  const crop = (near: number, size: number, wanted: number): [number, number] => [
    Math.max(0, near),
    Math.max(0, wanted - near - size),
  ];
  const [needHeight, needWidth] = [inHeight + filterHeight - 1, inWidth + filterWidth - 1];
  const sides: [number, number][] = [
    [0, 0],
    crop(top, height, needHeight),
    crop(left, width, needWidth),
    [0, 0],
  ];
  const ready = tf.slice(
    tf.pad(wide, sides),
    [0, Math.max(0, -top), Math.max(0, -left), 0],
    [batchSize, needHeight, needWidth, c.outChannels],
  );
  const byOutput = tf.reshape(ready, [batchSize, needHeight * needWidth, inChannels, multiplier]);
  let sum: tf.Tensor | undefined;
  for (let q = 0; q < multiplier; q++) {
    const one = tf.slice(
      byOutput,
      [0, 0, 0, q],
      [batchSize, needHeight * needWidth, inChannels, 1],
    );
    const image = tf.reshape(one, [batchSize, needHeight, needWidth, inChannels]) as tf.Tensor4D;
    const size = [filterHeight, filterWidth, inChannels, 1];
    const part = tf.depthwiseConv2d(image, tf.slice(turned, [0, 0, 0, q], size), 1, 'valid');
    sum = sum ? tf.add(sum, part) : part;
  }
  return sum!;
}

type Inputs = Readonly<Record<string, tf.TensorInfo>>;
type Gradient = (tensors: (name: string) => tf.Tensor4D, attributes: Attributes) => tf.Tensor;

const gradients: Readonly<Record<string, Gradient>> = {
  [tf.Conv2DBackpropFilter]: (tensors, attributes) => {
    const x = tensors('x');
    return filterGradient(
      x,
      tensors('dy'),
      describe(x.shape, attributes.filterShape!, attributes, false),
    );
  },
  [tf.DepthwiseConv2dNativeBackpropFilter]: (tensors, attributes) => {
    const x = tensors('x');
    const convolution = describe(x.shape, attributes.filterShape!, attributes, true);
    return depthwiseFilterGradient(x, tensors('dy'), convolution);
  },
  [tf.DepthwiseConv2dNativeBackpropInput]: (tensors, attributes) => {
    const filter = tensors('filter');
    const convolution = describe(attributes.inputShape!, filter.shape, attributes, true);
    return depthwiseInputGradient(tensors('dy'), filter, convolution);
  },
};

for (const [kernelName, gradient] of Object.entries(gradients)) {
  if (tf.getKernel(kernelName, 'wasm')) continue;
  tf.registerKernel({
    kernelName,
    backendName: 'wasm',
    kernelFunc: ({ inputs, attrs }) =>
      tf.tidy(() => {
        // Inside of a kernel, tensors are bare facts; operations want them whole.
        const tensors = (name: string) => (inputs as Inputs)[name] as tf.Tensor4D;
        return gradient(tensors, attrs as unknown as Attributes);
      }),
  });
}
