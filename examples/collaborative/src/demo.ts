import { TrainingSchemes } from '@epfml/discojs-node/dist/core/index.js';
import { scheduleFreeAdan } from '@schedule-free-adan/tfjs';
import * as tf from '@tensorflow/tfjs';
import { startBackend } from 'example-digits/backends';
import { batchSize, type optimizerNames, type readArguments } from './arguments.js';
import { deal, readDigits } from './digits.js';
import { serve } from './server.js';
import { study } from './study.js';
import { accuracy, buildModel, makeTask, type Plan, takePart } from './train.js';

const optimizers: Readonly<Record<(typeof optimizerNames)[number], Plan['optimizer']>> = {
  'schedule-free-adan': () => scheduleFreeAdan({ learningRate: 0.01, warmupSteps: 30 }),
  adam: () => tf.train.adam(0.001),
};

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;

export async function demo(given: ReturnType<typeof readArguments>): Promise<void> {
  const { clients, digits, epochs, roundDuration, skew, json } = given;
  // DisCo tells what it does on the console.
  const { log: tell } = console;
  console.log = () => {};
  const log = (line: string) => {
    if (!json) tell(line);
  };

  await startBackend('wasm');

  if (given.study) {
    return study(readDigits('train', 4000), readDigits('t10k', 2000), tell);
  }
  const optimizer = optimizers[given.optimizer];
  const plan: Plan = { batchSize, roundDuration, epochs, optimizer };
  const shares = deal(readDigits('train', clients * digits), clients, skew);
  const test = readDigits('t10k', 2000);
  const model = buildModel(1);

  const alone = await serve(makeTask(plan), model, 1, () => {});
  const lone = await takePart(alone.url, plan, shares[0]!, TrainingSchemes.LOCAL);
  alone.close();
  const byOne = accuracy(lone, test);
  log(`One of ${clients} alone with its ${digits} digits reads ${percent(byOne)} rightly.`);

  const rounds: number[] = [];
  const server = await serve(makeTask(plan), model, clients, (round) => {
    rounds.push(accuracy(model, test));
    log(`  round ${round}: ${percent(rounds.at(-1)!)}`);
  });
  await Promise.all(shares.map((share) => takePart(server.url, plan, share)));
  server.close();

  log(`All ${clients} together, without showing a digit: ${percent(rounds.at(-1)!)}.`);
  if (json) tell(JSON.stringify({ alone: byOne, rounds }));
}
