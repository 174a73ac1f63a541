import { InputError } from './errors.js';
import { anyOf, choice, integerOption, numberOption, pathOption, readOptions } from './options.js';
import {
  backendNames,
  hyperparameters,
  isTfjs,
  modelNames,
  optimizerNames,
  type Settings,
  trainingDigits,
} from './settings.js';

export const usage = `Trains a small network on the MNIST digits, with Schedule-Free Adan and tf.train.adam.

  npm run demo -- [options]

  --model NAME         mlp: 784-128-10, or cnn: two convolutions    (default mlp)
  --epochs N           passes over the training digits              (default 3)
  --optimizer NAME     sf-adan, adam or both, epoch by epoch        (default both)
  --backend NAME       ${anyOf(backendNames).padEnd(45)}(default wasm;
                       onnx: a forward model in onnxruntime-node, onnx-wasm: in onnxruntime-web,
                       webgpu: kernels of the demo's own; all three with sf-adan only)
  --learning-rate R    of the optimizer; with both, of sf-adan      (default ${hyperparameters['sf-adan'].learningRate}; adam ${hyperparameters.adam.learningRate})
  --seed N             decides initial weights and data order       (default 1)
  --limit N            train on the first N digits only             (default ${trainingDigits})
  --json FILE          write the results of every epoch to FILE
  --out DIR            where report and saved state go              (default runs/digits)
  --resume             go on from the saved state in DIR
  --help               print this

Ctrl-C stops after the batch in flight and saves; --resume goes on and gives the same numbers as a
run that was never stopped. Settings are saved too, so --resume needs no others; --epochs may be
raised, since neither optimizer has to know the end.`;

export interface Arguments {
  readonly help: boolean;
  readonly resume: boolean;
  readonly out: string;
  readonly json: string | undefined;
  /** The settings that were given, without defaults. */
  readonly given: Partial<Settings>;
}

const optionTypes = {
  model: { type: 'string' },
  epochs: { type: 'string' },
  optimizer: { type: 'string' },
  backend: { type: 'string' },
  'learning-rate': { type: 'string' },
  seed: { type: 'string' },
  limit: { type: 'string' },
  json: { type: 'string' },
  out: { type: 'string' },
  resume: { type: 'boolean' },
  help: { type: 'boolean' },
} as const;

/** @throws InputError */
export function readArguments(args: readonly string[]): Arguments {
  const values = readOptions(args, optionTypes);
  const given: { -readonly [K in keyof Settings]?: Settings[K] } = {};
  const read = <T>(name: string, put: (value: string) => T): void => {
    const value = values[name];
    if (typeof value === 'string') put(value);
  };
  read('model', (v) => {
    given.model = choice('model', v, modelNames);
  });
  read('epochs', (v) => {
    given.epochs = integerOption('epochs', v, 1, 1000);
  });
  read('optimizer', (v) => {
    given.optimizer = choice('optimizer', v, [...optimizerNames, 'both'] as const);
  });
  read('backend', (v) => {
    given.backend = choice('backend', v, backendNames);
  });
  read('learning-rate', (v) => {
    given.learningRate = numberOption('learning-rate', v, (r) => r > 0, 'a number > 0');
  });
  read('seed', (v) => {
    given.seed = integerOption('seed', v, 0, 2 ** 31 - 1);
  });
  read('limit', (v) => {
    given.limit = integerOption('limit', v, 1, trainingDigits);
  });
  return {
    help: values.help === true,
    resume: values.resume === true,
    out: pathOption('out', String(values.out ?? 'runs/digits')),
    json: typeof values.json === 'string' ? pathOption('json', values.json) : undefined,
    given,
  };
}

/** @throws InputError for settings that do not go together. */
export function withDefaults(given: Partial<Settings>): Settings {
  const backend = given.backend ?? 'wasm';
  const optimizer = given.optimizer ?? (isTfjs(backend) ? 'both' : 'sf-adan');
  if (!isTfjs(backend) && optimizer !== 'sf-adan') {
    throw new InputError(
      `--optimizer is '${optimizer}', but the backend ${backend} trains with sf-adan only; leave it out.`,
    );
  }
  if (backend === 'webgpu' && given.model === 'cnn') {
    throw new InputError(
      `--model is 'cnn', but the backend webgpu trains the mlp only; leave one of them out.`,
    );
  }
  const { learningRate } = hyperparameters[optimizer === 'both' ? 'sf-adan' : optimizer];
  return {
    model: 'mlp',
    epochs: 3,
    optimizer,
    backend,
    learningRate,
    seed: 1,
    limit: trainingDigits,
    ...given,
  };
}
