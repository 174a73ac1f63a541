import { consecutive, type Digits, readBatch } from '../batches.js';
import { showTraining } from '../page.js';
import { epochOrder } from '../random.js';
import { batchesPerEpoch, hyperparameters } from '../settings.js';
import { ortInPage } from './in-page.js';
import { OnnxNetwork } from './network.js';

const evaluationBatch = 1000;

async function accuracy(network: OnnxNetwork, test: Digits, at: 'x' | 'y'): Promise<number> {
  let correct = 0;
  for (let from = 0; from < test.count; from += evaluationBatch) {
    correct += await network.countCorrect(consecutive(test, from, evaluationBatch), at);
  }
  return correct / test.count;
}

const how = 'In this page, with ONNX Runtime, from a forward model without anything for training.';

await showTraining(
  how,
  async ({ query, training, test, bytes, seed, epochs, onSteps, onEpoch }) => {
    const network = await OnnxNetwork.create(await bytes('/model.onnx'), {
      ...(await ortInPage(query)),
      ...hyperparameters['sf-adan'],
    });
    const batches = batchesPerEpoch({ limit: training.count });
    for (let epoch = 1; epoch <= epochs; epoch++) {
      const order = epochOrder(seed, epoch, training.count);
      for (let i = 0; i < batches; i++) {
        onSteps([await network.step(readBatch(training, order, i))]);
        // The wasm provider never gives way to the page by itself.
        if (i % 10 === 0) await new Promise((resolve) => setTimeout(resolve));
      }
      onEpoch(await accuracy(network, test, 'x'), await accuracy(network, test, 'y'));
    }
    await network.dispose();
  },
);
