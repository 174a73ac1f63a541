import { resolve } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { interruptedCode, watchInterrupt } from 'example-digits/interrupt';
import { runtimes } from 'example-digits/onnx/runtimes';
import { EpochProgress } from 'example-digits/progress';
import { type loadRun, saveRun } from './checkpoint.js';
import { LanguageNetwork } from './network.js';
import { writeReport } from './report.js';
import { evaluateEvery, type Settings } from './settings.js';
import { readCorpus } from './text.js';
import { type RunState, train } from './train.js';

/** Trains, or goes on with what is saved, and reports. Returns the exit code. */
export async function demo(
  settings: Settings,
  out: string,
  saved: ReturnType<typeof loadRun> | undefined,
): Promise<number> {
  const stopped = watchInterrupt(() => console.error('\nStopped without saving.'));
  const { steps, batch, context, width, heads, layers, backend, seed } = settings;
  const ort = await runtimes[backend]();
  const network = await LanguageNetwork.create(ort, readCorpus(), settings);
  const { trainer, corpus } = network;
  if (saved) await trainer.load(saved.checkpoint);
  const state: RunState = saved?.state ?? { losses: [], looks: [], seconds: 0 };
  console.log(
    `Shakespeare's sonnets, ${corpus.training.length.toLocaleString('en-US')} characters · ` +
      `${layers} layers, ${heads} heads, width ${width}, context ${context} · batch ${batch} · ${backend} · seed ${seed}\n`,
  );
  const save = async () => saveRun(out, settings, state, await trainer.save());

  // A bar from one look to the next.
  let progress: EpochProgress | undefined;
  const begin = () => {
    const done = state.losses.length;
    const end = Math.min(steps, (Math.floor(done / evaluateEvery) + 1) * evaluateEvery);
    const first = end - evaluateEvery * Math.ceil((end - done) / evaluateEvery);
    progress = new EpochProgress(
      `step ${done} to ${end} of ${steps}`,
      end - first,
      done - first,
      (perBatch) => perBatch * (steps - state.losses.length),
      { name: 'characters', perBatch: batch * context },
    );
    return { first, progress };
  };
  let bar = begin();
  const finished = await train(network, state, {
    pause: async () => {
      // Lets a signal in: an event loop that never turns never sees Ctrl-C.
      await setImmediate();
      return stopped();
    },
    onStep: (loss) => bar.progress.update(state.losses.length - bar.first, loss),
    onLook: async ({ step, loss, sample }) => {
      bar.progress.stop();
      const shown = sample.trim().split('\n').slice(0, 4).join('\n    ');
      console.log(
        `step ${step}: ${loss.toFixed(4)} nats per character of unseen text\n    ${shown}\n`,
      );
      await save();
      if (step < steps) bar = begin();
    },
  }).finally(() => progress?.stop());
  if (!finished) {
    await save();
    await trainer.dispose();
    const where = out === 'runs/language-model' ? '' : ` --out ${out}`;
    console.log(`\nStopped and saved. Go on with: npm run language-model -- --resume${where}`);
    return interruptedCode;
  }
  const { report, plot } = writeReport(out, settings, state);
  console.log(`Report  ${resolve(report)}\nPlot    ${resolve(plot)}`);
  await trainer.dispose();
  return 0;
}
