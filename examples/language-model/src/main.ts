import { runProgram } from 'example-digits/errors';
import { readArguments, settingsOf, usage } from './arguments.js';
import { loadRun } from './checkpoint.js';

await runProgram(async () => {
  const { help, resume, out, given } = readArguments(process.argv.slice(2));
  if (help) {
    console.log(usage);
    return 0;
  }
  const saved = resume ? loadRun(out) : undefined;
  const settings = settingsOf(given, saved?.settings, out);
  // Only now: a runtime takes a while to load, and a wrong argument should be told at once.
  const { demo } = await import('./demo.js');
  return demo(settings, out, saved);
});
