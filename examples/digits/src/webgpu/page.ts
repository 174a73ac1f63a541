import { gpuAdapter } from '../page-parts.js';
import { type Bytes, GpuNetwork, initialWeights, reportInterval } from './network.js';

/** What a page needs to be told. The order and the weights come from the same generator as in Node. */
export interface PageSettings {
  readonly epochs: number;
  readonly batchSize: number;
  readonly options: { readonly learningRate: number };
  /** Uniform random numbers for the initial weights. */
  readonly uniform: () => number;
  readonly orderOf: (epoch: number, count: number) => Uint32Array;
  readonly onSteps: (losses: ArrayLike<number>) => void;
  readonly onEpoch: (accuracyAtX: number, accuracyAtY: number) => void;
}

/** Trains in a page, on the browser's own device. */
export async function train(training: Bytes, test: Bytes, settings: PageSettings): Promise<void> {
  const adapter = await gpuAdapter('or train in Node: npm run demo -- --backend webgpu');
  const { epochs, batchSize, options, uniform, orderOf, onSteps, onEpoch } = settings;
  const device = await adapter.requestDevice();
  const network = await GpuNetwork.create(device, initialWeights(uniform), batchSize, options);
  const [digits, unseen] = [network.resident(training), network.resident(test)];
  const batches = Math.ceil(training.count / batchSize);
  for (let epoch = 1; epoch <= epochs; epoch++) {
    network.beginEpoch(digits, orderOf(epoch, training.count));
    for (let from = 0; from < batches; from += reportInterval) {
      const to = Math.min(batches, from + reportInterval);
      for (let batch = from; batch < to; batch++) network.step(digits, batch);
      onSteps(await network.losses(from, to));
    }
    onEpoch(await network.accuracy(unseen, 'x'), await network.accuracy(unseen, 'y'));
  }
  network.dispose();
}
