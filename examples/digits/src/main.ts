import { readArguments, usage, withDefaults } from './arguments.js';
import { loadRuns } from './checkpoint.js';
import { runProgram } from './errors.js';
import { resumedSettings } from './options.js';

await runProgram(async () => {
  const { help, resume, out, json, given } = readArguments(process.argv.slice(2));
  if (help) {
    console.log(usage);
    return 0;
  }
  const saved = resume ? loadRuns(out) : undefined;
  const settings = saved
    ? resumedSettings(given, saved.settings, out, 'epochs')
    : withDefaults(given);
  // Only now: tfjs takes a while to load, and a wrong argument should be told at once.
  const { demo } = await import('./demo.js');
  return demo(settings, out, json, saved);
});
