import { readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus, release, type as systemName } from 'node:os';
import { join, resolve } from 'node:path';
import { startBackend } from './backends.js';
import { svgFile } from './charts.js';
import { readDigits } from './data.js';
import { runProgram } from './errors.js';
import { writeAtomically } from './files.js';
import { interruptedCode, watchInterrupt } from './interrupt.js';
import { integerOption, pathOption, readOptions } from './options.js';
import { duration, EpochProgress } from './progress.js';
import {
  adamLearningRates,
  batchesPerEpoch,
  batchSize,
  hyperparameters,
  titles,
  trainingDigits,
} from './settings.js';
import { studyChart } from './study-chart.js';
import {
  perEpoch,
  readStudy,
  type Study,
  type StudyRun,
  type StudySettings,
  studyPath,
} from './study-results.js';
import { percent } from './table.js';
import { TfjsRun } from './train.js';

const usage = `Trains the digits with Schedule-Free Adan and with tf.train.adam at ${adamLearningRates.join(', ')}, over several seeds.

  npm run bench -- digits [options]

  --epochs N     passes over the training digits    (default 10)
  --seeds N      how many seeds, counted from 1     (default 3)
  --limit N      train on the first N digits only   (default ${trainingDigits})
  --out FILE     where the results go               (default examples/digits/results/study.json)
  --help         print this

A study that was stopped goes on with the runs that are missing.`;

function readSettings(): { settings: StudySettings; out: string } | undefined {
  const values = readOptions(process.argv.slice(2), {
    epochs: { type: 'string' },
    seeds: { type: 'string' },
    limit: { type: 'string' },
    out: { type: 'string' },
    help: { type: 'boolean' },
  });
  if (values.help) return undefined;
  const integer = (name: string, otherwise: number, most: number) =>
    typeof values[name] === 'string' ? integerOption(name, values[name], 1, most) : otherwise;
  const seeds = integer('seeds', 3, 100);
  const out = pathOption('out', String(values.out ?? studyPath));
  const ours = hyperparameters['sf-adan'];
  return {
    out,
    settings: {
      backend: 'wasm',
      epochs: integer('epochs', 10, 1000),
      seeds: Array.from({ length: seeds }, (_, i) => i + 1),
      limit: integer('limit', trainingDigits, trainingDigits),
      batchSize,
      contenders: [
        { optimizer: 'sf-adan', learningRate: ours.learningRate, hyperparameters: ours },
        ...adamLearningRates.map((learningRate) => ({
          optimizer: 'adam' as const,
          learningRate,
          hyperparameters: { learningRate },
        })),
      ],
    },
  };
}

function versions(): Record<string, string> {
  const require = createRequire(import.meta.url);
  const names = [
    '@schedule-free-adan/tfjs',
    '@tensorflow/tfjs-core',
    '@tensorflow/tfjs-backend-wasm',
  ];
  const packages = names.map((name) => {
    const { version } = JSON.parse(readFileSync(require.resolve(`${name}/package.json`), 'utf8'));
    return [name, String(version)] as const;
  });
  return { node: process.versions.node, ...Object.fromEntries(packages) };
}

function summary(study: Study): string {
  const lines = study.settings.contenders.map((contender) => {
    const { mean, standardError } = perEpoch(study, contender, (r) => r.accuracyAtX).at(-1)!;
    const error = standardError === null ? '' : ` ± ${(100 * standardError).toFixed(2)}`;
    const name = `${titles[contender.optimizer]} ${contender.learningRate}`;
    return `${name.padEnd(28)}${percent(mean)}${error}`;
  });
  return [`Test accuracy after epoch ${study.settings.epochs}:`, ...lines].join('\n');
}

async function main(): Promise<number> {
  const request = readSettings();
  if (!request) {
    console.log(usage);
    return 0;
  }
  const { settings, out } = request;
  const stopped = watchInterrupt(() => console.error('\nStopped.'));
  const study = (runs: readonly StudyRun[]): Study => ({
    date: new Date().toISOString(),
    machine: {
      cpu: cpus()[0]?.model.trim() ?? 'unknown',
      threads: cpus().length,
      system: `${systemName()} ${release()} ${process.arch}`,
    },
    versions: versions(),
    settings,
    runs,
  });

  // Finished runs wait here: only a whole study replaces the results.
  const partial = join('runs', 'digits', 'study.partial.json');
  const before = readStudy(partial);
  const same = JSON.stringify(before?.settings) === JSON.stringify(settings);
  const runs: StudyRun[] = same && before ? [...before.runs] : [];
  if (runs.length > 0) console.error(`Going on: ${runs.length} runs are done.`);

  await startBackend(settings.backend);
  const training = readDigits('train', settings.limit);
  const test = readDigits('t10k');
  const batches = batchesPerEpoch(settings);
  const pending = settings.seeds.flatMap((seed) =>
    settings.contenders
      .filter(
        ({ optimizer, learningRate }) =>
          !runs.some(
            (run) =>
              run.seed === seed && run.optimizer === optimizer && run.learningRate === learningRate,
          ),
      )
      .map(({ optimizer, learningRate }) => ({ optimizer, learningRate, seed })),
  );
  for (const [i, options] of pending.entries()) {
    const run = new TfjsRun({ model: 'mlp', ...options });
    const { state } = run;
    const name = `${titles[options.optimizer]} ${options.learningRate}, seed ${options.seed}`;
    for (let epoch = 1; epoch <= settings.epochs; epoch++) {
      const label = `${runs.length + 1}/${runs.length + pending.length - i}  ${options.optimizer} ${options.learningRate}, seed ${options.seed}  epoch ${epoch}/${settings.epochs}`;
      const left = (perBatch: number) =>
        perBatch * ((pending.length - i) * settings.epochs * batches - state.losses.length);
      const progress = new EpochProgress(label, batches, 0, left);
      const finished = await run
        .trainEpoch(training, test, stopped, () =>
          progress.update(state.batch, state.losses.at(-1)!),
        )
        .finally(() => progress.stop());
      if (!finished) {
        console.error('\nStopped. The same command goes on with the runs that are missing.');
        return interruptedCode;
      }
    }
    run.dispose();
    runs.push({ ...options, epochs: state.epochs });
    writeAtomically(partial, JSON.stringify(study(runs)));
    const { accuracyAtX } = state.epochs.at(-1)!;
    const seconds = state.epochs.reduce((sum, e) => sum + e.seconds, 0);
    console.log(`${name.padEnd(36)}${percent(accuracyAtX)}  ${duration(seconds)}`);
  }

  const result = study(runs);
  writeAtomically(out, `${JSON.stringify(result, null, 1)}\n`);
  const size = { width: 800, height: 400, labelWidth: 190 };
  writeAtomically(out.replace(/(\.json)?$/, '.svg'), svgFile([studyChart(result, size)]));
  rmSync(partial, { force: true });
  console.log(`\n${summary(result)}\n\n${resolve(out)}`);
  return 0;
}

await runProgram(main);
