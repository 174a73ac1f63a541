import { startBackend } from 'example-digits/backends';
import { readDigits } from 'example-digits/data';
import { loadBackbone } from './backbone.js';
import { fineTune, seen } from './fine-tune.js';
import { percent, type Result, type Settings, unfrozenEpochs } from './settings.js';

/** A MobileNetV2 that knows photographs learns to read digits, on tfjs' wasm backend. */
export async function fineTuneInTfjs(
  { digits, test: tested, epochs }: Settings,
  log: (line: string) => void,
): Promise<Result> {
  const start = performance.now();
  await startBackend('wasm');

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
    { head: epochs, unfrozen: unfrozenEpochs(epochs) },
    (stage, epoch, loss) => log(`  ${stage}, epoch ${epoch}: loss ${loss.toFixed(4)}`),
  );
  return { ...accuracies, seconds: (performance.now() - start) / 1000 };
}
