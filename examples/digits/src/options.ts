import { parseArgs } from 'node:util';
import { InputError } from './errors.js';

export const anyOf = (names: readonly string[]) =>
  new Intl.ListFormat('en', { type: 'disjunction' }).format(names);

type Values = Record<string, string | boolean | undefined>;

/** parseArgs, strict, with every complaint in one line that names argument, value and what is allowed. */
export function readOptions(
  args: readonly string[],
  options: Readonly<Record<string, { readonly type: 'string' | 'boolean' }>>,
): Values {
  const allowed = Object.keys(options)
    .map((name) => `--${name}`)
    .join(', ');
  const joined: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const argument = args[i]!;
    const name = argument.startsWith('--') ? argument.slice(2) : '';
    const takesValue = Object.hasOwn(options, name) && options[name]!.type === 'string';
    const next = args[i + 1];
    if (takesValue && (next === undefined || next.startsWith('--'))) {
      throw new InputError(`${argument} needs a value.`);
    }
    // Joined, since parseArgs takes the -1 of `--epochs -1` for another option.
    joined.push(takesValue ? `${argument}=${args[++i]!}` : argument);
  }
  try {
    return parseArgs({ args: joined, options, strict: true, allowPositionals: false }).values;
  } catch (error) {
    const [sentence] = (error as Error).message.split(/\. |\n/);
    throw new InputError(`${sentence}; allowed are ${allowed}.`);
  }
}

export function numberOption(
  name: string,
  value: string,
  test: (v: number) => boolean,
  allowed: string,
): number {
  const number = value.trim() === '' ? Number.NaN : Number(value);
  if (!(Number.isFinite(number) && test(number))) {
    throw new InputError(`--${name} is '${value}'; give ${allowed}.`);
  }
  return number;
}

export const integerOption = (name: string, value: string, least: number, most: number): number =>
  numberOption(
    name,
    value,
    (v) => Number.isInteger(v) && v >= least && v <= most,
    `an integer from ${least} to ${most}`,
  );

export function choice<T extends string>(name: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((candidate) => candidate === value);
  if (found === undefined) {
    throw new InputError(`--${name} is '${value}'; give ${anyOf(allowed)}.`);
  }
  return found;
}

export function pathOption(name: string, value: string): string {
  if (value === '') throw new InputError(`--${name} is ''; give a path.`);
  return value;
}

/** `learningRate` → `--learning-rate` */
const optionName = (key: string): string =>
  `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

/**
 * The settings of a resumed run: the saved ones. Only the one called `raised`, if any, may be raised.
 * @throws InputError naming the first setting that differs.
 */
export function resumedSettings<S extends object>(
  given: Partial<S>,
  saved: S,
  where: string,
  raised?: keyof S & string,
): S {
  for (const key of Object.keys(given) as (keyof S & string)[]) {
    if (given[key] === saved[key]) continue;
    if (key === raised && Number(given[key]) > Number(saved[key])) continue;
    const raise = key === raised ? `give ${saved[key]} or more` : 'leave it out';
    throw new InputError(
      `${optionName(key)} is ${given[key]}, but the saved run in ${where} has ${saved[key]}; ` +
        `${raise}, or start anew without --resume.`,
    );
  }
  return { ...saved, ...given };
}
