// Runs in a page: any model on the webgpu provider, which may leave nothing to the CPU.
import { encodeModel, makeNode, makeTensor, makeValueInfo } from '@schedule-free-adan/onnx/model';
import { keepDevice, ort, sessionOptions } from './browser-runtime.mjs';

const strict = { ...sessionOptions, extra: { session: { disable_cpu_ep_fallback: '1' } } };
const ready = keepDevice();

/** `model` in base64, `feeds` and outputs as `{ shape, data }`; or the message of an error. */
globalThis.runModel = async (model, feeds, options = strict) => {
  const bytes = Uint8Array.from(atob(model), (c) => c.charCodeAt(0));
  let session;
  try {
    await ready;
    session = await ort.InferenceSession.create(bytes, options);
    const given = Object.entries(feeds).map(([name, { shape, data }]) => [
      name,
      new ort.Tensor('float32', Float32Array.from(data), shape),
    ]);
    const results = await session.run(Object.fromEntries(given));
    const outputs = Object.entries(results).map(([name, { dims, data }]) => [
      name,
      { shape: dims, data: [...data] },
    ]);
    return { outputs: Object.fromEntries(outputs) };
  } catch (error) {
    return { error: String(error) };
  } finally {
    await session?.release();
  }
};

/** What a session answers to a good run after a bad one. */
globalThis.runAfterFailure = async () => {
  await ready;
  const model = encodeModel({
    irVersion: 8,
    opsetImport: [{ domain: '', version: 17 }],
    graph: {
      name: 'reshape',
      node: [makeNode('Reshape', ['x', 'shape'], ['y'])],
      initializer: [makeTensor('shape', 'int64', [1], [4])],
      input: [makeValueInfo('x', 'float32', ['n'])],
      output: [makeValueInfo('y', 'float32', [4])],
    },
  });
  const session = await ort.InferenceSession.create(model, sessionOptions);
  const run = (length) =>
    session.run({ x: new ort.Tensor('float32', new Float32Array(length), [length]) });
  await run(4);
  const failed = await run(3).then(
    () => false,
    () => true,
  );
  if (!failed) return 'did not fail';
  await run(4);
  return 'an answer';
};
