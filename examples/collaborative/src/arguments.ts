import { choice, integerOption, numberOption, readOptions } from 'example-digits/options';
import { trainingDigits } from 'example-digits/settings';

export const optimizerNames = ['schedule-free-adan', 'adam'] as const;
export const batchSize = 32;

const defaults = { clients: '4', digits: '1000', epochs: '10', round: '16', skew: '0.85' } as const;

export const usage = `Several people train one model without showing each other their digits.

  npm run collaborative -- [options]

  --clients N          people                                       (default ${defaults.clients})
  --digits N           that each of them has                        (default ${defaults.digits})
  --epochs N           that each of them trains                     (default ${defaults.epochs})
  --round N            batches of ${batchSize} before weights are averaged    (default ${defaults.round})
  --skew R             share of digits of kinds that are one's own  (default ${defaults.skew})
  --optimizer NAME     schedule-free-adan or adam                   (default ${optimizerNames[0]})
  --json               print the results as JSON, and nothing else
  --study              compare what may happen when an average arrives, in ten minutes
  --help               print this`;

/** @throws InputError */
export function readArguments(args: readonly string[]) {
  const names = [...Object.keys(defaults), 'optimizer'];
  const values = readOptions(args, {
    ...Object.fromEntries(names.map((name) => [name, { type: 'string' as const }])),
    json: { type: 'boolean' },
    study: { type: 'boolean' },
    help: { type: 'boolean' },
  });
  const text = (name: keyof typeof defaults) => String(values[name] ?? defaults[name]);
  const whole = (name: 'clients' | 'digits' | 'epochs' | 'round', most: number) =>
    integerOption(name, text(name), 1, most);
  const clients = whole('clients', 10);
  const digits = whole('digits', Math.floor(trainingDigits / clients));
  const epochs = whole('epochs', 1000);
  return {
    clients,
    digits,
    epochs,
    roundDuration: whole('round', epochs * Math.ceil(digits / batchSize)),
    skew: numberOption('skew', text('skew'), (r) => r >= 0 && r <= 1, 'a number from 0 to 1'),
    optimizer: choice('optimizer', String(values.optimizer ?? optimizerNames[0]), optimizerNames),
    json: values.json === true,
    study: values.study === true,
    help: values.help === true,
  };
}
