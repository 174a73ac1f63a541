import type { Digits } from './batches.js';
import { accuracyChart, lossChart } from './charts.js';
import { showFailure, startPage, wholeNumber } from './page-parts.js';
import { type Chart, drawChart } from './plots.js';
import { batchesPerEpoch } from './settings.js';
import type { RunState } from './train.js';

/** What a page knows, and whom it tells. The order of digits comes from the same generator as in Node. */
interface PageTraining {
  readonly query: URLSearchParams;
  readonly training: Digits;
  readonly test: Digits;
  readonly seed: number;
  readonly epochs: number;
  readonly bytes: (path: string) => Promise<Uint8Array>;
  /** Is told the loss of one step or several. */
  readonly onSteps: (losses: ArrayLike<number>) => void;
  readonly onEpoch: (accuracyAtX: number, accuracyAtY: number) => void;
}

const bytes = async (path: string) => {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status} ${response.statusText}`);
  return new Uint8Array(await response.arrayBuffer());
};

/** The digits that the server holds ready, as in the demo under Node. */
async function digits(part: string): Promise<Digits> {
  const [images, labels] = await Promise.all([bytes(`/${part}-images`), bytes(`/${part}-labels`)]);
  return { count: labels.length, images, labels };
}

const size = { width: 520, height: 340, labelWidth: 170 };

const card = (chart: Chart) => `<div class="card">${drawChart(chart)}</div>`;
const percent = (share: number) => `${(100 * share).toFixed(2)} %`;

/** Milliseconds from one drawing of the plots to the next. */
const drawInterval = 500;

/**
 * Trains in this page: a bar, plots that grow, and a row for every epoch; the title tells how it went.
 * @param how where it trains, in a sentence
 */
export async function showTraining(
  how: string,
  train: (page: PageTraining) => Promise<void>,
): Promise<void> {
  startPage(`<h1>Schedule-Free Adan learns the MNIST digits</h1>
<p class="muted">${how} Gradients are taken at y; x, the average, is what one evaluates and ships.</p>
<progress></progress><p id="now">loading the digits …</p>
<div class="plots"></div>
<div class="card" id="epochs" hidden><table>
<thead><tr><th>epoch</th><th>training loss</th><th>accuracy at x</th><th>at y</th><th>time</th></tr></thead>
<tbody></tbody></table></div>`);
  const element = (selector: string) => document.querySelector<HTMLElement>(selector)!;
  const bar = document.querySelector('progress')!;
  const state: RunState = { epochs: [], batch: 0, lossSum: 0, seconds: 0, losses: [] };
  const runs = [{ options: { optimizer: 'sf-adan' as const }, state }];
  let drawn = Number.NEGATIVE_INFINITY;
  const draw = () => {
    drawn = performance.now();
    const charts = [lossChart(runs, size)];
    if (state.epochs.length > 0) charts.unshift(accuracyChart(runs, size));
    element('.plots').innerHTML = charts.map(card).join('');
  };
  try {
    const query = new URLSearchParams(location.search);
    const seed = wholeNumber(query, 'seed', 1);
    const epochs = wholeNumber(query, 'epochs', 3);
    const [training, test] = await Promise.all([digits('train'), digits('test')]);
    const perEpoch = batchesPerEpoch({ limit: training.count });
    bar.max = epochs * perEpoch;
    bar.value = 0;
    element('#now').textContent = 'preparing the network …';
    let start = performance.now();
    await train({
      query,
      training,
      test,
      bytes,
      seed,
      epochs,
      onSteps: (losses) => {
        state.losses.push(...Array.from(losses));
        const done = state.losses.length;
        bar.value = done;
        const testing = done % perEpoch === 0 ? '; testing …' : '';
        element('#now').textContent =
          `step ${done} of ${bar.max}, loss ${state.losses.at(-1)!.toFixed(4)}${testing}`;
        if (performance.now() > drawn + drawInterval) draw();
      },
      onEpoch: (accuracyAtX, accuracyAtY) => {
        const epoch = state.epochs.length + 1;
        const losses = state.losses.slice(-perEpoch);
        const loss = losses.reduce((a, b) => a + b, 0) / losses.length;
        const seconds = (performance.now() - start) / 1000;
        state.epochs.push({ epoch, loss, accuracyAtX, accuracyAtY, seconds });
        const cells = [
          epoch,
          loss.toFixed(4),
          percent(accuracyAtX),
          percent(accuracyAtY),
          `${seconds.toFixed(1)} s`,
        ];
        element('#epochs').hidden = false;
        element('tbody').insertAdjacentHTML(
          'beforeend',
          `<tr>${cells.map((cell) => `<td>${cell}</td>`).join('')}</tr>`,
        );
        draw();
        start = performance.now();
      },
    });
    element('#now').textContent = `${state.losses.length} steps done`;
    document.title = 'done';
  } catch (error) {
    showFailure(error);
  }
}
