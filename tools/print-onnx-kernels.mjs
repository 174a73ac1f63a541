// Prints packages/onnx/src/kernels.ts: the rule as loops over typed arrays, one for each form that a
// parameter can have. Printed ahead of time, since a strict content policy forbids `new Function`.
// After a change of the rule: npm run build && node tools/print-onnx-kernels.mjs
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { atom, javascript, printer } from '@schedule-free-adan/core/interpreters';
import { coefficients, stateKeys, updateRule } from '@schedule-free-adan/core/rule';
import { formKey } from '../packages/onnx/dist/host.js';

const array = (key) => `${key}s`;

/** Every form with y in the parameter. */
const forms = [true, false].flatMap((scheduleFree) =>
  [false, true].flatMap((firstMoment) =>
    [false, true].flatMap((gradientDifference) =>
      (scheduleFree ? ['none', 'y', 'z', 'prox'] : ['none', 'z', 'prox']).map((decay) => ({
        placement: 'y',
        scheduleFree,
        firstMoment,
        gradientDifference,
        decay,
      })),
    ),
  ),
);

function kernel(form, names) {
  const keys = stateKeys(form).filter((key) => key !== 'seen');
  const rule = printer(javascript);
  const next = updateRule(
    rule,
    form,
    Object.fromEntries(names.map((name) => [name, atom(name)])),
    Object.fromEntries(keys.map((key) => [key, atom(key === 'g' ? 'previous' : key)])),
    atom('gradient'),
  );
  const body = [
    'const gradient = gradients[i]! * clip;',
    ...keys.map((key) =>
      key === 'g'
        ? 'const previous = first ? gradient : gs[i]!;'
        : `const ${key} = ${array(key)}[i]!;`,
    ),
    ...rule.lines,
    ...keys.map((key) => `${array(key)}[i] = ${next[key].text};`),
  ];
  const used = names.filter((name) => new RegExp(`\\b${name}\\b`).test(body.join('\n')));
  const arrays = keys.map((key) => `${key}: ${array(key)}`);
  return `  '${formKey(form)}': (c, state, gradients, clip${keys.includes('g') ? ', first' : ''}) => {
    const { ${used.join(', ')} } = c;
    const { ${arrays.join(', ')} } = state;
    for (let i = 0; i < gradients.length; i++) {
      ${body.join('\n      ')}
    }
  },`;
}

export function printKernels() {
  const group = {
    hyperparameters: { betas: [0.5, 0.5, 0.5] },
    scalars: { step: 1, momentStep: 1, weightSum: 1, learningRateMax: 1 },
  };
  const names = Object.keys(coefficients(group));
  return `// Printed by tools/print-onnx-kernels.mjs out of the core's rule: change that instead.
import type { Coefficients } from '@schedule-free-adan/core/rule';

export type Arrays = Readonly<Record<'parameter' | 'z' | 'm' | 'v' | 'n' | 'g', Float32Array>>;
export type Kernel = (
  c: Coefficients,
  state: Arrays,
  gradients: Float32Array,
  clip: number,
  first: boolean,
) => void;

export const kernels: Readonly<Record<string, Kernel>> = {
${forms.map((form) => kernel(form, names)).join('\n')}
};
`;
}

export const file = fileURLToPath(new URL('../packages/onnx/src/kernels.ts', import.meta.url));

export const formatted = (text) =>
  execFileSync('npx', ['biome', 'format', `--stdin-file-path=${file}`], {
    input: text,
    encoding: 'utf8',
    shell: process.platform === 'win32',
    stdio: ['pipe', 'pipe', 'ignore'],
  });

if (process.argv[1] === fileURLToPath(import.meta.url))
  writeFileSync(file, formatted(printKernels()));
