import { showTraining } from '../page.js';
import { epochOrder, uniformNumbers } from '../random.js';
import { batchSize, hyperparameters } from '../settings.js';
import { train } from './page.js';

const how =
  'In this page, on its GPU: WebGPU kernels of the demo, and one for the optimizer’s step.';

await showTraining(how, ({ training, test, seed, epochs, onSteps, onEpoch }) =>
  train(training, test, {
    epochs,
    batchSize,
    options: hyperparameters['sf-adan'],
    uniform: uniformNumbers(seed),
    orderOf: (epoch, count) => epochOrder(seed, epoch, count),
    onSteps,
    onEpoch,
  }),
);
