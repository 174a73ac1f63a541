// Teaches a network that knows something else to read digits: npm run fine-tuning
import { runProgram } from 'example-digits/errors';
import { resumedSettings } from 'example-digits/options';
import { duration } from 'example-digits/progress';
import { readArguments, usage } from './arguments.js';
import { defaults, percent, type Settings } from './settings.js';

await runProgram(async () => {
  const { help, resume, json, out, given } = readArguments(process.argv.slice(2));
  if (help) {
    console.log(usage);
    return 0;
  }
  const { loadRun } = await import('./checkpoint.js');
  const saved = resume ? loadRun(out) : undefined;
  const settings = saved
    ? resumedSettings<Settings>(given, saved.settings, out)
    : { ...defaults, ...given };
  const log = (line: string) => {
    if (!json) console.log(line);
  };
  // Each by itself: a framework takes a while to load.
  const { backend } = settings;
  const result =
    backend === 'tfjs'
      ? await (await import('./tfjs.js')).fineTuneInTfjs(settings, log)
      : await (await import('./onnx/demo.js')).fineTuneInOnnx(
          { ...settings, backend },
          out,
          log,
          saved,
        );
  if (typeof result === 'number') return result;
  if (json) console.log(JSON.stringify(result));
  const { before, head, unfrozen, seconds } = result;
  log(`
Digits read rightly, of ${settings.test}, after ${duration(seconds)}:
  with the new head, before training     ${percent(before)}
  head trained                           ${percent(head)}
  ${backend === 'tfjs' ? 'last convolution trained as well      ' : 'whole network trained                 '} ${percent(unfrozen)}`);
  return 0;
});
