// What soak-onnx runs, in Node and in a page alike: steps on one and on two batches, evaluations, exports
// and checkpoints.
import { OrtTrainer } from '@schedule-free-adan/onnx';
import { passThrough } from '../packages/onnx/conformance/target.mjs';

const parameters = Array.from({ length: 8 }, (_, k) => ({
  name: `p${k}`,
  shape: [1000 + k],
  values: Float32Array.from({ length: 1000 + k }, (_, i) => Math.sin(i + k)),
}));

export async function train({ ort, sessionOptions, form, webgpu }) {
  const trainer = await OrtTrainer.create({
    ort,
    ...passThrough(parameters),
    form,
    sessionOptions,
    webgpu,
    maxGradNorm: 1,
  });
  const feeds = () =>
    Object.fromEntries(
      parameters.map(({ name, shape, values }) => [
        `gradient of '${name}'`,
        new ort.Tensor('float32', values.slice(), shape),
      ]),
    );
  return {
    async run(milliseconds) {
      const end = performance.now() + milliseconds;
      let steps = 0;
      do {
        await trainer.step(steps % 10 === 5 ? [feeds(), feeds()] : feeds());
        if (++steps % 50 === 0) {
          await trainer.evaluate({});
          await trainer.exportModel();
          await trainer.load(await trainer.save());
          await trainer.metrics();
        }
        // The session blocks where it runs; timers and collection need a turn.
        if (steps % 10 === 0) await new Promise((resolve) => setTimeout(resolve));
      } while (performance.now() < end);
      return steps;
    },
    dispose: () => trainer.dispose(),
  };
}
