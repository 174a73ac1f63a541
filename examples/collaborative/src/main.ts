// Several people train one model without showing each other their digits: npm run collaborative
import { runProgram } from 'example-digits/errors';
import { readArguments, usage } from './arguments.js';

await runProgram(async () => {
  const given = readArguments(process.argv.slice(2));
  if (given.help) {
    console.log(usage);
    return 0;
  }
  // Only now: DisCo takes a while to load, and a wrong argument should be told at once.
  const { demo } = await import('./demo.js');
  await demo(given);
  // DisCo's timeouts would keep the process for ten seconds more.
  process.exit();
});
