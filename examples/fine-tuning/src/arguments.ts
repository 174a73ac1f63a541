import { anyOf, choice, integerOption, pathOption, readOptions } from 'example-digits/options';
import { testDigits, trainingDigits } from 'example-digits/settings';
import { backendNames, defaults, type Settings } from './settings.js';

const defaultOut = 'runs/fine-tuning';

export const usage = `Teaches a network that knows something else to read digits: a new head first, then more of it.

  npm run fine-tuning -- [options]

  --backend NAME       ${anyOf(backendNames).padEnd(45)}(default ${defaults.backend};
                       tfjs: MobileNetV2 on tfjs' wasm backend, onnx: a text classifier in
                       onnxruntime-node, onnx-wasm: the same in onnxruntime-web)
  --digits N           training digits                              (default ${defaults.digits})
  --test N             test digits                                  (default ${defaults.test})
  --epochs N           with the head alone; half as many follow     (default ${defaults.epochs})
  --json               print the results as JSON, and nothing else
  --out DIR            where report and saved state go              (default ${defaultOut};
                       onnx and onnx-wasm only)
  --resume             go on from the saved state in DIR            (onnx and onnx-wasm only)
  --help               print this

In ONNX Runtime, Ctrl-C stops after the batch in flight and saves; --resume goes on and gives the same
numbers as a run that was never stopped. Settings are saved too.`;

const integers = { digits: trainingDigits, test: testDigits, epochs: 1000 } as const;

export function readArguments(args: readonly string[]) {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean' } as const;
  const values = readOptions(args, {
    backend: text,
    digits: text,
    test: text,
    epochs: text,
    out: text,
    json: flag,
    resume: flag,
    help: flag,
  });
  const given: { -readonly [K in keyof Settings]?: Settings[K] } = {};
  if (typeof values.backend === 'string') {
    given.backend = choice('backend', values.backend, backendNames);
  }
  for (const name of ['digits', 'test', 'epochs'] as const) {
    const value = values[name];
    if (typeof value === 'string') given[name] = integerOption(name, value, 1, integers[name]);
  }
  return {
    help: values.help === true,
    resume: values.resume === true,
    json: values.json === true,
    out: pathOption('out', String(values.out ?? defaultOut)),
    given,
  };
}

/** What to type to go on. */
export const resumeCommand = (out: string): string =>
  `npm run fine-tuning -- --resume${out === defaultOut ? '' : ` --out ${out}`}`;
