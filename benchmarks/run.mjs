// npm run bench -- NAME [options]
const benchmarks = {
  all: './all.mjs',
  convergence: './convergence.mjs',
  digits: '../examples/digits/dist/study.js',
  'digits-onnx': './digits-onnx.mjs',
  'first-look': './first-look.mjs',
  'half-precision': './half-precision.mjs',
  'peak-memory': './peak-memory.mjs',
  'step-tfjs': './step-tfjs.mjs',
  'step-onnx': './step-onnx.mjs',
  'step-webgpu': './step-webgpu.mjs',
};

const [name, ...options] = process.argv.slice(2);
if (!Object.hasOwn(benchmarks, name ?? '')) {
  console.error(`'${name ?? ''}' is no benchmark; there is ${Object.keys(benchmarks).join(', ')}.`);
  process.exit(2);
}
process.argv.splice(2, Number.POSITIVE_INFINITY, ...options);
await import(benchmarks[name]);
