// npm run fuzz:onnx -- --runs N [--seed S]: damaged ONNX files are refused by name, or read and written
// to something that reads the same. Any other error, or a read that takes long, fails the run.
import { parseArgs } from 'node:util';
import {
  decodeModel,
  encodeModel,
  makeNode,
  makeTensor,
  makeValueInfo,
  OnnxFormatError,
} from '@schedule-free-adan/onnx/model';

const { values } = parseArgs({
  options: { runs: { type: 'string', default: '100000' }, seed: { type: 'string', default: '1' } },
});
const [runs, seed] = [Number(values.runs), Number(values.seed)];
if (!(Number.isInteger(runs) && runs > 0 && Number.isInteger(seed))) {
  console.error('--runs must be an integer above 0, --seed an integer');
  process.exit(2);
}

let state = seed >>> 0;
/** An integer in [0, below): mulberry32. */
function random(below) {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) % below;
}

/** A small model with every kind of field. */
const inner = { name: 'then', node: [makeNode('Relu', ['x'], ['y'])] };
const original = encodeModel({
  irVersion: 8,
  producerName: 'fuzz ü',
  graph: {
    name: 'g',
    node: [
      makeNode('If', ['c'], ['y'], {
        then_branch: { g: inner },
        graphs: { graphs: [inner, inner] },
        f: { f: 0.5 },
        ends: [2n ** 63n - 1n, -1, 300],
        floats: { floats: Float32Array.of(1, Number.NaN) },
        t: { t: { dims: [2], dataType: 11, doubleData: Float64Array.of(1, 2) } },
      }),
    ],
    initializer: [
      makeTensor('w', 'float32', [2, 2], [1, 2, 3, 4]),
      {
        name: 'i',
        dims: [3],
        dataType: 7,
        int64Data: [1, -1, 2n ** 62n],
        uint64Data: [2n ** 64n - 1n],
      },
    ],
    input: [makeValueInfo('x', 'float32', ['batch', 2])],
  },
  opsetImport: [{ domain: '', version: 17 }],
  functions: [{ name: 'f', domain: 'd', node: inner.node }],
});

const damages = [
  (bytes) => bytes.subarray(0, random(bytes.length)),
  (bytes) => {
    bytes[random(bytes.length)] = random(256);
    return bytes;
  },
  (bytes) => {
    bytes[random(bytes.length)] ^= 1 << random(8);
    return bytes;
  },
  (bytes) => Uint8Array.of(...bytes.subarray(0, random(bytes.length)), ...bytes),
  (bytes) => bytes.fill(0xff, random(bytes.length), random(bytes.length)),
  (bytes) => {
    const at = random(bytes.length);
    return Uint8Array.of(...bytes.subarray(0, at), ...bytes.subarray(at + 1 + random(8)));
  },
];

const count = { refused: 0, read: 0 };
for (let run = 1; run <= runs; run++) {
  let bytes = original.slice();
  for (let i = random(3); i >= 0 && bytes.length > 0; i--)
    bytes = damages[random(damages.length)](bytes);
  const start = performance.now();
  try {
    const once = encodeModel(decodeModel(bytes));
    if (Buffer.compare(encodeModel(decodeModel(once)), once) !== 0) {
      throw new Error('what was written reads differently');
    }
    count.read++;
  } catch (error) {
    const named =
      error instanceof OnnxFormatError && error.offset >= 0 && error.offset <= bytes.length;
    if (!named) {
      console.error(`run ${run}, seed ${seed}: ${Buffer.from(bytes).toString('base64')}`);
      throw error;
    }
    count.refused++;
  }
  if (performance.now() - start > 2000) throw new Error(`run ${run}, seed ${seed}: took over 2 s`);
}
console.log(
  `${runs} runs, seed ${seed}: ${count.refused} refused by name, ${count.read} read; 0 failed`,
);
