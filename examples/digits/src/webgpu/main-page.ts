import { epochOrder, uniformNumbers } from '../random.js';
import { batchSize, hyperparameters } from '../settings.js';
import { train } from './page.js';

const bytes = async (path: string) => new Uint8Array(await (await fetch(path)).arrayBuffer());

/** The digits that the server holds ready, as in the demo under Node. */
async function digits(part: string) {
  const [images, labels] = await Promise.all([bytes(`/${part}-images`), bytes(`/${part}-labels`)]);
  return { count: labels.length, images, labels };
}

const query = new URLSearchParams(location.search);
const seed = Number(query.get('seed') ?? 1);
const [training, test] = await Promise.all([digits('train'), digits('test')]);
document.title = 'training';
try {
  await train(training, test, {
    epochs: Number(query.get('epochs') ?? 3),
    batchSize,
    options: hyperparameters['sf-adan'],
    uniform: uniformNumbers(seed),
    orderOf: (epoch, count) => epochOrder(seed, epoch, count),
    onEpoch: (epoch, loss, accuracy) => {
      const line = document.createElement('p');
      line.textContent = `epoch ${epoch}: loss ${loss.toFixed(4)}, ${(100 * accuracy).toFixed(2)} % of the test digits`;
      document.body.append(line);
    },
  });
  document.title = 'done';
} catch (error) {
  document.body.append(String(error));
  document.title = 'failed';
}
