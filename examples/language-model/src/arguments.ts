import { InputError } from 'example-digits/errors';
import {
  choice,
  integerOption,
  numberOption,
  pathOption,
  readOptions,
  resumedSettings,
} from 'example-digits/options';
import { onnxBackendNames } from 'example-digits/settings';
import { defaults, type Settings } from './settings.js';

export const usage = `Trains a small transformer on Shakespeare's sonnets, from a forward ONNX model.

  npm run language-model -- [options]

  --steps N            training steps                               (default ${defaults.steps})
  --batch N            pieces of text in a step                     (default ${defaults.batch})
  --context N          characters that the model looks at           (default ${defaults.context})
  --width N            numbers that stand for a character           (default ${defaults.width})
  --heads N            of the attention; divides width              (default ${defaults.heads})
  --layers N           blocks of attention and mlp                  (default ${defaults.layers})
  --backend NAME       onnx: onnxruntime-node; onnx-wasm: -web      (default ${defaults.backend})
  --learning-rate R                                                 (default ${defaults.learningRate})
  --seed N             decides initial weights and data order       (default ${defaults.seed})
  --out DIR            where report and saved state go              (default runs/language-model)
  --resume             go on from the saved state in DIR
  --help               print this

Ctrl-C stops after the step in flight and saves; --resume goes on and gives the same numbers as a run
that was never stopped. Settings are saved too; only --steps may be raised.`;

const integers = ['steps', 'batch', 'context', 'width', 'heads', 'layers', 'seed'] as const;

export function readArguments(args: readonly string[]) {
  const names = [...integers, 'backend', 'learning-rate', 'out'];
  const values = readOptions(args, {
    ...Object.fromEntries(names.map((name) => [name, { type: 'string' as const }])),
    resume: { type: 'boolean' },
    help: { type: 'boolean' },
  });
  const given: { -readonly [K in keyof Settings]?: Settings[K] } = {};
  for (const name of integers) {
    const value = values[name];
    if (typeof value !== 'string') continue;
    given[name] = integerOption(name, value, name === 'seed' ? 0 : 1, 1_000_000);
  }
  const { backend, out = 'runs/language-model', 'learning-rate': rate } = values;
  if (typeof backend === 'string') given.backend = choice('backend', backend, onnxBackendNames);
  if (typeof rate === 'string') {
    given.learningRate = numberOption('learning-rate', rate, (r) => r > 0, 'a number > 0');
  }
  return {
    help: values.help === true,
    resume: values.resume === true,
    out: pathOption('out', String(out)),
    given,
  };
}

/**
 * @param where the folder of the saved run, if one goes on
 * @throws InputError for settings that do not go together
 */
export function settingsOf(
  given: Partial<Settings>,
  saved: Settings | undefined,
  where: string,
): Settings {
  const settings = saved
    ? resumedSettings(given, saved, where, 'steps')
    : { ...defaults, ...given };
  const { width, heads } = settings;
  if (width % heads !== 0) {
    throw new InputError(`--heads is ${heads}, which does not divide the width ${width}.`);
  }
  return settings;
}
