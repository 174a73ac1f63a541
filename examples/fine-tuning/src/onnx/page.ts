import type { Digits } from 'example-digits/batches';
import { ortInPage } from 'example-digits/onnx/in-page';
import { showFailure, startPage, wholeNumber } from 'example-digits/page-parts';
import { drawChart } from 'example-digits/plots';
import { columnStyle } from 'example-digits/theme';
import { batchSize } from '../settings.js';
import { accuracyChart } from './chart.js';
import { batchesIn, Reader, stages } from './reader.js';

const query = new URLSearchParams(location.search);
const bytes = async (path: string) => new Uint8Array(await (await fetch(path)).arrayBuffer());
const digits = async (part: string): Promise<Digits> => {
  const [images, labels] = await Promise.all([bytes(`/${part}-images`), bytes(`/${part}-labels`)]);
  return { count: labels.length, images, labels };
};

startPage(
  `<h1>A network for printed text learns handwritten digits</h1>
<progress value="0"></progress><p id="now" class="muted">loading …</p><div id="plot" class="card"></div>`,
  columnStyle,
);
const bar = document.querySelector('progress')!;
const now = document.querySelector('#now')!;

try {
  const epochs = wholeNumber(query, 'epochs', 10);
  const [training, test] = await Promise.all([digits('train'), digits('test')]);
  const setup = {
    ...(await ortInPage(query)),
    stages: stages(epochs),
    seed: 1,
    training,
    test,
  };
  const reader = new Reader(setup, { file: await bytes('/model.onnx') });
  const { state } = reader;
  const perEpoch = batchesIn(training);
  const steps = setup.stages.map((stage) => stage.epochs * perEpoch);
  bar.max = steps.reduce((a, b) => a + b);
  // A stage has a speed of its own.
  let [first, start] = [0, performance.now()];
  await reader.train({
    // The wasm provider never gives way to the page by itself.
    pause: () => new Promise((resolve) => setTimeout(() => resolve(false))),
    onStep: (loss) => {
      bar.value = state.steps;
      const seconds = (performance.now() - start) / 1000;
      const done = state.steps - first;
      const i = state.accuracies.length - 1;
      const left = ((steps[i]! - done) * seconds) / done;
      const rate = (done * batchSize) / seconds;
      now.textContent = `${setup.stages[i]!.title}: step ${bar.value} of ${bar.max}, loss ${loss.toFixed(4)}, ${Math.round(rate)} digits a second, ${Math.round(left)} s left in this stage`;
    },
    onLook: () => {
      if (state.accuracies.at(-1)!.length === 1) [first, start] = [state.steps, performance.now()];
      document.querySelector('#plot')!.innerHTML = drawChart(
        accuracyChart(state.accuracies, { width: 720, height: 380, labelWidth: 130 }),
      );
    },
  });
  now.textContent = `${(100 * state.accuracies[1]!.at(-1)!).toFixed(1)} % of ${test.count} test digits read rightly`;
  document.title = 'done';
} catch (error) {
  showFailure(error);
}
