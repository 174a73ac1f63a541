// Prints the rule as typed-array loops for tfjs' cpu backend: node packages/tfjs/scripts/print-loops.mjs
// It is done here and not at run time because a strict content policy forbids `new Function`.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  atom,
  javascript,
  pointKernel,
  printer,
  stepKernel,
} from '@schedule-free-adan/core/interpreters';
import { formKey } from '../dist/fused/form-key.js';

export const file = fileURLToPath(new URL('../src/fused/loops.ts', import.meta.url));

const header = `// Printed by scripts/print-loops.mjs from the rule in the core. Do not edit.
import type { Coefficients } from '@schedule-free-adan/core/rule';

export type LoopNumbers = Coefficients & { readonly clip: number; readonly clipPrevious: number };
type Loop = (from: readonly Float32Array[], to: readonly Float32Array[], c: LoopNumbers) => void;

/** By form, as form-key.ts names it. Without decay it is the loop of decay at z, whose factor is 1 then. */
export const loops: Readonly<Record<string, Loop>> = {
`;

function loop(key, kernel) {
  const text = printer(javascript);
  // An element has the name of its array, unless the rule calls something else so.
  const element = (name) => `${name}_`;
  const results = kernel.run(text, (name) =>
    atom(kernel.inputs.includes(name) ? element(name) : name),
  );
  const next = (name) => `${name}Next`;
  const lines = [
    ...kernel.inputs.map((name) => `const ${element(name)} = ${name}![i]!;`),
    ...text.lines,
    ...kernel.outputs.map((name) => `${next(name)}![i] = ${results[name].text};`),
  ];
  return `  ${key}([${kernel.inputs.join(', ')}], [${kernel.outputs.map(next).join(', ')}], { ${kernel.numbers.join(', ')} }) {
    for (let i = 0; i < ${kernel.inputs[0]}!.length; i++) {
${lines.map((line) => `      ${line}\n`).join('')}    }
  },
`;
}

export function printLoops() {
  const parts = [];
  for (const scheduleFree of [true, false]) {
    for (const firstMoment of [false, true]) {
      for (const gradientDifference of [false, true]) {
        for (const decay of scheduleFree ? ['y', 'z', 'prox'] : ['z', 'prox']) {
          const form = { placement: 'x', scheduleFree, firstMoment, gradientDifference, decay };
          parts.push(loop(formKey(form), stepKernel(form, { clipping: true, clipKnown: 'host' })));
        }
      }
    }
  }
  for (const to of ['x', 'y']) parts.push(loop(`to${to.toUpperCase()}`, pointKernel(to)));
  return `${header}${parts.join('')}};\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(file, printLoops());
  console.log(`${file}: ${readFileSync(file).length} bytes`);
}
