// Teaches a network that knows photographs to read digits: npm run fine-tuning
import { createRequire } from 'node:module';
import { dirname, sep } from 'node:path';
import { parseArgs } from 'node:util';
import '@schedule-free-adan/tfjs/convolution-gradients';
import * as tf from '@tensorflow/tfjs';
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import { loadBackbone } from './backbone.js';
import { readDigits } from './digits.js';
import { fineTune, seen } from './fine-tune.js';

const { values } = parseArgs({
  options: {
    digits: { type: 'string', default: '2000' },
    test: { type: 'string', default: '1000' },
    epochs: { type: 'string', default: '10' },
    json: { type: 'boolean', default: false },
  },
});
const whole = (name: 'digits' | 'test' | 'epochs', most: number): number => {
  const value = Number(values[name]);
  if (Number.isInteger(value) && value >= 1 && value <= most) return value;
  console.error(`error: --${name} is '${values[name]}'; give an integer from 1 to ${most}.`);
  process.exit(2);
};
const [digits, tested, epochs] = [
  whole('digits', 60_000),
  whole('test', 10_000),
  whole('epochs', 1000),
];

tf.enableProdMode();
const wasm = createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm');
setWasmPaths(dirname(wasm) + sep);
await tf.setBackend('wasm');

const log = (line: string) => {
  if (!values.json) console.log(line);
};
const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
const backbone = await loadBackbone();
log(`MobileNetV2, trained on photographs, looks at ${digits + tested} digits …`);
const look = (part: 'train' | 't10k', count: number) => {
  let told = 0;
  return seen(backbone, readDigits(part, count), (share) => {
    if (share < told + 0.25) return;
    told = share;
    log(`  ${part === 'train' ? 'training' : 'test'} digits ${percent(share)}`);
  });
};
const training = await look('train', digits);
const test = await look('t10k', tested);

const accuracies = await fineTune(
  backbone,
  training,
  test,
  { head: epochs, unfrozen: Math.ceil(epochs / 2) },
  (stage, epoch, loss) => log(`  ${stage}, epoch ${epoch}: loss ${loss.toFixed(4)}`),
);
if (values.json) console.log(JSON.stringify(accuracies));
const { before, head, unfrozen } = accuracies;
log(`
Digits read rightly, of ${tested}:
  with the new head, before training     ${percent(before)}
  head trained                           ${percent(head)}
  last convolution trained as well       ${percent(unfrozen)}`);
