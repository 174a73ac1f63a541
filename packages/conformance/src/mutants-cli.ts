#!/usr/bin/env node
import { examine, mutants } from './mutants/index.js';

let survived = 0;
for (const mutant of mutants) {
  const { caughtBy, message } = await examine(mutant);
  if (caughtBy === undefined) survived++;
  console.log(
    `${caughtBy === undefined ? '✗ SURVIVED' : '✓ caught  '} ${mutant.name}: ${mutant.fault}`,
  );
  if (caughtBy !== undefined) {
    const first = message
      .split('\n')[0]!
      .replace(/ \(replay: .*/, '')
      .replace(/ – Property failed.*/, '');
    console.log(`             by ${caughtBy}: ${first.slice(0, 150)}`);
  }
}
console.log(`\n${mutants.length - survived} caught, ${survived} survived`);
process.exitCode = survived > 0 ? 1 : 0;
