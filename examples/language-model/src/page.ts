import { ortInPage } from 'example-digits/onnx/in-page';
import { showFailure, startPage, wholeNumber } from 'example-digits/page-parts';
import { drawChart } from 'example-digits/plots';
import { lossChart } from './charts.js';
import { LanguageNetwork } from './network.js';
import { pageStyle, samplesHtml } from './page-parts.js';
import { defaults } from './settings.js';
import { readCorpus } from './text.js';
import { type RunState, train } from './train.js';

startPage(
  `<h1>A transformer learns the sonnets</h1>
<p class="muted">In this page, with ONNX Runtime, from a forward model without anything for training. Every 200 steps it writes something of its own.</p>
<progress></progress><p><span id="now">loading …</span> <button type="button" hidden>Stop</button></p>
<div class="card" id="plot" hidden></div><div id="samples"></div>`,
  pageStyle,
);
const element = (selector: string) => document.querySelector<HTMLElement>(selector)!;
const bar = document.querySelector('progress')!;
const button = document.querySelector('button')!;

const state: RunState = { losses: [], looks: [], seconds: 0 };
let stopped = false;
let goOn = () => {};
button.onclick = () => {
  stopped = !stopped;
  button.textContent = stopped ? 'Go on' : 'Stop';
  if (!stopped) goOn();
};
const draw = () => {
  element('#plot').hidden = false;
  element('#plot').innerHTML = drawChart(
    lossChart(state, { width: 720, height: 380, labelWidth: 150 }),
  );
};

try {
  const query = new URLSearchParams(location.search);
  const number = (name: 'steps' | 'seed' | 'batch') => wholeNumber(query, name, defaults[name]);
  const settings = {
    ...defaults,
    steps: number('steps'),
    seed: number('seed'),
    batch: number('batch'),
  };
  bar.max = settings.steps;
  bar.value = 0;
  const { ort, ...options } = await ortInPage(query);
  const network = await LanguageNetwork.create(ort, readCorpus(), settings, options);
  button.hidden = false;
  await train(network, state, {
    onStep: (loss) => {
      const done = state.losses.length;
      bar.value = done;
      const rate = (done * settings.batch * settings.context) / state.seconds;
      const left = Math.round(((settings.steps - done) * state.seconds) / done);
      element('#now').textContent =
        `step ${done} of ${settings.steps}, loss ${loss.toFixed(3)}, ${Math.round(rate).toLocaleString('en-US')} characters a second, ${left} s left`;
      if (done % 20 === 0) draw();
    },
    onLook: () => {
      draw();
      element('#samples').innerHTML = samplesHtml(state.looks);
    },
    pause: async () => {
      // The wasm provider never gives way to the page by itself.
      await new Promise((resolve) => setTimeout(resolve));
      if (stopped) {
        await new Promise<void>((resolve) => {
          goOn = resolve;
        });
      }
      return false;
    },
  });
  await network.trainer.dispose();
  button.remove();
  document.title = 'done';
} catch (error) {
  showFailure(error);
}
