// Trains for some minutes: memory must not grow, of the process or page and, on webgpu, of the device.
// node --expose-gc benchmarks/soak-onnx.mjs --minutes 5 --runtime wasm|node|webgpu
import { parseArgs } from 'node:util';
import { onnxPage } from '../packages/onnx/conformance/page.mjs';
import { train } from './soak-onnx-train.mjs';

const { values: options } = parseArgs({
  options: {
    minutes: { type: 'string', default: '5' },
    runtime: { type: 'string', default: 'wasm' },
    form: { type: 'string', default: 'hybrid' },
  },
});
const minutes = Number(options.minutes);
const { runtime, form } = options;
if (!(minutes > 0) || !['wasm', 'node', 'webgpu'].includes(runtime)) {
  console.error('--minutes must be above 0, --runtime one of wasm, node, webgpu');
  process.exit(2);
}
if (runtime !== 'webgpu' && !globalThis.gc) {
  console.error('Run it with node --expose-gc.');
  process.exit(2);
}

/** `run(milliseconds)` trains for a while and gives the number of steps; `memory()` what is held. */
async function inProcess() {
  const ort = await import(runtime === 'wasm' ? 'onnxruntime-web' : 'onnxruntime-node');
  if (runtime === 'wasm') ort.env.wasm.numThreads = 1;
  const sessionOptions =
    runtime === 'wasm' ? { executionProviders: ['wasm'] } : { intraOpNumThreads: 1 };
  const training = await train({ ort, sessionOptions, form });
  return {
    run: training.run,
    memory: async () => {
      // Buffers are freed in a turn after the collection that finds them.
      for (let i = 0; i < 3; i++) {
        globalThis.gc();
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      const { rss, heapUsed, external, arrayBuffers } = process.memoryUsage();
      return { rss, heapUsed, external, arrayBuffers };
    },
    close: training.dispose,
  };
}

async function inPage() {
  const entry = new URL('./soak-onnx-page.mjs', import.meta.url);
  const { browser, page } = await onnxPage({ entry });
  await page.evaluate((given) => globalThis.start(given), form);
  return {
    run: (milliseconds) => page.evaluate((given) => globalThis.training.run(given), milliseconds),
    memory: () => page.evaluate(() => globalThis.memory()),
    close: () => browser.close(),
  };
}

const { run, memory, close } = runtime === 'webgpu' ? await inPage() : await inProcess();
const samples = [];
const mebibytes = (value) => `${(value / 2 ** 20).toFixed(1)} MiB`;
const show = ([name, value]) => `${name} ${name === 'gpuBuffers' ? value : mebibytes(value)}`;
const count = 20;
let steps = 0;
for (let i = 0; i <= count; i++) {
  // The first share warms up: allocators reach their size, and code its last form.
  steps += await run((minutes * 60_000) / (count + 1));
  samples.push(await memory());
  console.log(
    `${runtime} ${form}, ${steps} steps: ${Object.entries(samples.at(-1)).map(show).join(', ')}`,
  );
}
await close();

// The least of the last quarter against the most of the first: what breathes does not count as growing.
const quarter = Math.floor(samples.length / 4);
const allowed = { rss: 8e6, heapUsed: 1e6, external: 1e6, arrayBuffers: 1e6, gpuBytes: 0 };
for (const name of Object.keys(samples[0])) {
  const of = (list) => list.map((sample) => sample[name]);
  const before = Math.max(...of(samples.slice(0, quarter)));
  const after = Math.min(...of(samples.slice(-quarter)));
  if (after > before + (allowed[name] ?? 0)) {
    console.error(`${name} grew: from at most ${before} to at least ${after}.`);
    process.exitCode = 1;
  }
}
