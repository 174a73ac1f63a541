// npm run bench -- digits-onnx [--models mlp,cnn] [--seeds 10] [--epochs 3] [--json FILE]
//
// Whether the digits demo learns from a forward .onnx what it learns on tfjs: the same weights and batches,
// seed by seed. Tells test accuracies after every epoch, how they differ within a seed, and when the losses
// part. What FILE holds already is not run again, so that a run may be stopped and more seeds be added.
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readDigits } from '../examples/digits/dist/data.js';
import { InputError, runProgram } from '../examples/digits/dist/errors.js';
import { writeAtomically } from '../examples/digits/dist/files.js';
import { choice, integerOption, readOptions } from '../examples/digits/dist/options.js';
import { startRuns } from '../examples/digits/dist/runs.js';
import {
  hyperparameters,
  modelNames,
  testDigits,
  trainingDigits,
} from '../examples/digits/dist/settings.js';
import { statistic } from '../examples/digits/dist/study-results.js';
import { machine, median } from './bench.mjs';

/** Ours and what it is held to. The last pair is one file in two runtimes, and so a measure of rounding alone. */
const pairs = [
  ['onnx', 'wasm'],
  ['onnx-wasm', 'wasm'],
  ['onnx-wasm', 'onnx'],
];
const backends = ['wasm', 'onnx', 'onnx-wasm'];
const titles = { wasm: 'tfjs', onnx: 'onnxruntime-node', 'onnx-wasm': 'onnxruntime-web' };
/** How far losses have to be apart, relatively, for it to be told at which step they first were. */
const distances = [1e-6, 1e-5, 1e-4, 1e-3];

/** Trains with Schedule-Free Adan as the demo does. */
async function train(model, seed, backend, { epochs, limit }, [training, test]) {
  const { learningRate } = hyperparameters['sf-adan'];
  const settings = { model, seed, backend, epochs, limit, learningRate, optimizer: 'sf-adan' };
  const folder = mkdtempSync(join(tmpdir(), 'digits-onnx-'));
  const [run] = await startRuns(settings, folder);
  for (let epoch = 0; epoch < epochs; epoch++) {
    await run.trainEpoch(
      training,
      test,
      () => false,
      () => {},
    );
  }
  const { losses, epochs: results } = run.state;
  await run.dispose();
  rmSync(folder, { recursive: true });
  return { losses, right: results.map(({ accuracyAtX }) => Math.round(accuracyAtX * testDigits)) };
}

const apart = (a, b) => Math.abs(a - b) / Math.abs(b);

/** All runs of a model and a seed. */
async function measure(model, seed, settings, digits) {
  const runs = {};
  for (const backend of backends) {
    runs[backend] = await train(model, seed, backend, settings, digits);
  }
  const parting = pairs.map(([ours, theirs]) => {
    const [a, b] = [runs[ours].losses, runs[theirs].losses];
    const differences = a.map((loss, i) => apart(loss, b[i]));
    const firstAt = (distance) => differences.findIndex((d) => d > distance) + 1;
    return {
      backend: ours,
      against: theirs,
      /** The largest of the first ten steps. */
      firstSteps: Math.max(...differences.slice(0, 10)),
      /** The first step whose losses were further apart than this; 0 for none. */
      firstStepBeyond: Object.fromEntries(distances.map((d) => [d, firstAt(d)])),
    };
  });
  const right = Object.fromEntries(backends.map((backend) => [backend, runs[backend].right]));
  return { model, seed, right, parting };
}

/** Every pair, model and epoch over the seeds; shares of the test digits. */
const summary = (runs, models, epochs) =>
  models.flatMap((model) => {
    const seeds = runs.filter((run) => run.model === model);
    const shares = (backend, epoch) =>
      seeds.map(({ right }) => right[backend][epoch - 1] / testDigits);
    return pairs.flatMap(([ours, theirs]) =>
      Array.from({ length: epochs }, (_, i) => {
        const [a, b] = [shares(ours, i + 1), shares(theirs, i + 1)];
        const differences = a.map((share, k) => share - b[k]);
        return {
          case: model,
          backend: titles[ours],
          against: titles[theirs],
          epoch: i + 1,
          seeds: seeds.length,
          accuracy: [statistic(a).mean, statistic(b).mean],
          difference: statistic(differences),
        };
      }),
    );
  });

/** As the README has it: accuracies, and under them differences in digits of all test digits. */
function table(rows, epochs) {
  const columns = Array.from({ length: epochs }, (_, i) => `epoch ${i + 1}`);
  console.log(`| | ${columns.join(' | ')} |\n| --- |${' --- |'.repeat(epochs)}`);
  const line = (name, found, cell) => console.log(`| ${name} | ${found.map(cell).join(' | ')} |`);
  const sign = (value) => (value < 0 ? '−' : '+');
  const digits = (share) => (testDigits * Math.abs(share)).toFixed(1);
  for (const model of new Set(rows.map((row) => row.case))) {
    const of = (ours, theirs) =>
      rows.filter(
        ({ case: name, backend, against }) =>
          name === model && backend === titles[ours] && against === titles[theirs],
      );
    const [reference] = of(...pairs[0]);
    const name = `${model}, ${reference.against}, mean of ${reference.seeds} seeds`;
    line(name, of(...pairs[0]), ({ accuracy }) => `${(100 * accuracy[1]).toFixed(2)} %`);
    for (const [ours, theirs] of pairs) {
      line(
        `${titles[ours]}, less ${titles[theirs]}`,
        of(ours, theirs),
        ({ difference: { mean, standardError } }) =>
          `${sign(mean)}${digits(mean)} ± ${digits(standardError)}`,
      );
    }
  }
}

/** When losses part, in the middle of all seeds. */
function tellParting(runs, models) {
  for (const model of models) {
    for (const [i, [ours, theirs]] of pairs.entries()) {
      const found = runs.filter((run) => run.model === model).map(({ parting }) => parting[i]);
      const first = median(found.map(({ firstSteps }) => firstSteps));
      // A run that never was so far apart counts as one that would be later.
      const parted = median(found.map(({ firstStepBeyond }) => firstStepBeyond[1e-3] || Infinity));
      console.log(
        `${model}, ${titles[ours]} and ${titles[theirs]}: losses of the first ten steps apart by ` +
          `${first.toExponential(1)} at most, by more than 0.001 from step ${parted} on (relative, medians)`,
      );
    }
  }
}

await runProgram(async () => {
  const values = readOptions(process.argv.slice(2), {
    models: { type: 'string' },
    seeds: { type: 'string' },
    epochs: { type: 'string' },
    limit: { type: 'string' },
    json: { type: 'string' },
  });
  const { json } = values;
  const whole = (name, otherwise, least, most) =>
    values[name] === undefined ? otherwise : integerOption(name, values[name], least, most);
  const models = (values.models ?? modelNames.join(','))
    .split(',')
    .map((name) => choice('models', name, modelNames));
  const seeds = whole('seeds', 10, 2, 1000);
  const settings = {
    epochs: whole('epochs', 3, 1, 1000),
    limit: whole('limit', trainingDigits, 1, trainingDigits),
  };

  const kept = json && existsSync(json) ? JSON.parse(readFileSync(json, 'utf8')) : undefined;
  if (kept && JSON.stringify(kept.settings) !== JSON.stringify(settings)) {
    throw new InputError(
      `--json: ${json} has runs with ${JSON.stringify(kept.settings)}; give these, or another file.`,
    );
  }
  const runs = kept?.runs ?? [];
  const save = (rows) => {
    if (!json) return;
    const document = { name: 'digits-onnx', machine: machine('CPU'), settings, rows, runs };
    writeAtomically(json, `${JSON.stringify(document, null, 2)}\n`);
  };
  const digits = [readDigits('train', settings.limit), readDigits('t10k')];
  for (let seed = 1; seed <= seeds; seed++) {
    for (const model of models) {
      if (runs.some((run) => run.model === model && run.seed === seed)) continue;
      const found = await measure(model, seed, settings, digits);
      runs.push(found);
      const shown = backends.map((name) => `${name} ${found.right[name].join(' ')}`);
      console.log(`${model}, seed ${seed}, right of ${testDigits}: ${shown.join(' · ')}`);
      save([]);
    }
  }
  const rows = summary(runs, models, settings.epochs);
  save(rows);
  table(rows, settings.epochs);
  tellParting(runs, models);
  return 0;
});
