import { join, resolve } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { readDigits } from 'example-digits/data';
import { writeAtomically } from 'example-digits/files';
import { interruptedCode, watchInterrupt } from 'example-digits/interrupt';
import { runtimes } from 'example-digits/onnx/runtimes';
import { EpochProgress } from 'example-digits/progress';
import { resumeCommand } from '../arguments.js';
import { type OnnxSettings, type SavedRun, saveRun } from '../checkpoint.js';
import { batchSize, percent, type Result } from '../settings.js';
import { readModelFile } from './model-file.js';
import { batchesIn, Reader, type Stage, stages } from './reader.js';
import { writeReport } from './report.js';

/**
 * A network that tells upright text from text upside down learns to read digits, in ONNX Runtime. Returns an
 * exit code when it was stopped.
 */
export async function fineTuneInOnnx(
  settings: OnnxSettings,
  out: string,
  log: (line: string) => void,
  saved: SavedRun | undefined,
): Promise<Result | number> {
  const stopped = watchInterrupt(() => console.error('\nStopped without saving.'));
  const start = performance.now() - 1000 * (saved?.seconds ?? 0);
  const seconds = () => (performance.now() - start) / 1000;
  const { backend, digits, test, epochs } = settings;
  const setup = {
    ort: await runtimes[backend](),
    stages: stages(epochs),
    seed: 1,
    training: readDigits('train', digits),
    test: readDigits('t10k', test),
  };
  const reader = new Reader(setup, saved ?? { file: readModelFile() });
  const { state } = reader;
  log(`PaddleOCR's classifier of text lines learns ${digits} digits …`);
  const tell = ({ title }: Stage, accuracies: readonly number[]) => {
    const epoch = accuracies.length - 1;
    const when = epoch === 0 ? 'before training' : `epoch ${epoch}`;
    log(`  ${title}, ${when}: ${percent(accuracies.at(-1)!)}`);
  };
  state.accuracies.forEach((list, i) => {
    list.forEach((_, k) => {
      tell(setup.stages[i]!, list.slice(0, k + 1));
    });
  });
  const save = async () => {
    saveRun(out, { settings, state, seconds: seconds(), ...(await reader.save()) });
  };
  const batches = batchesIn(setup.training);
  let progress: EpochProgress | undefined;
  const model = await reader
    .train({
      pause: async () => {
        // Lets a signal in: an event loop that never turns never sees Ctrl-C.
        await setImmediate();
        return stopped();
      },
      onEpoch: (stage, epoch) => {
        progress = new EpochProgress(
          `${stage.title}, epoch ${epoch}/${stage.epochs}`,
          batches,
          state.batch,
          (perBatch) => perBatch * ((stage.epochs - epoch + 1) * batches - state.batch),
          { name: 'digits', perBatch: batchSize },
        );
      },
      onStep: (loss) => progress?.update(state.batch, loss),
      onLook: async (stage) => {
        progress?.stop();
        tell(stage, state.accuracies.at(-1)!);
        await save();
      },
    })
    .finally(() => progress?.stop());
  if (!model) {
    await save();
    await reader.dispose();
    log(`\nStopped and saved. Go on with: ${resumeCommand(out)}`);
    return interruptedCode;
  }
  const [head, whole] = state.accuracies as [number[], number[]];
  const result = {
    before: head[0]!,
    head: head.at(-1)!,
    unfrozen: whole.at(-1)!,
    seconds: seconds(),
  };
  writeReport(out, settings, state.accuracies, result);
  writeAtomically(join(out, 'digits.onnx'), model);
  log(`\nReport  ${resolve(out, 'report.html')}\nModel   ${resolve(out, 'digits.onnx')}`);
  return result;
}
