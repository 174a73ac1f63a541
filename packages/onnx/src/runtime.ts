import type {
  InferenceSession,
  InferenceSessionFactory,
  Tensor,
  TensorConstructor,
  TensorFactory,
} from 'onnxruntime-common';
import { disposed, refuse, refuseParameter } from './errors.js';
import { encodeModel } from './model/codec.js';
import type { Model, ValueInfo } from './model/schema.js';
import { byName, fits, list, makeValueInfo, shown, toldOf, typeName } from './model/tensors.js';
import type { Context } from './trainer.js';

/** ONNX Runtime, as `import * as ort from 'onnxruntime-web'` or `'onnxruntime-node'` gives it. */
export interface OrtModule {
  readonly InferenceSession: InferenceSessionFactory;
  readonly Tensor: TensorConstructor & TensorFactory;
  readonly env?: { readonly webgpu: { readonly device: Promise<unknown> } };
}

/** The entry of the webgpu provider in a session's options. */
export const webgpuProvider = ({ executionProviders = [] }: InferenceSession.SessionOptions) =>
  executionProviders
    .map((provider): { readonly name: string; readonly device?: unknown } =>
      typeof provider === 'string' ? { name: provider } : provider,
    )
    .find(({ name }) => name === 'webgpu');

/**
 * Tensors by the names of a model's inputs: one for each, of the dtype that the model says and of its shape,
 * where an extent that the model leaves open is up to you. They are read, and stay yours.
 *
 * An input without a tensor is an OnnxModelError `missing-feed`, and a name that is no input `unknown-feed`; a
 * tensor that does not fit is a ParameterError `wrong-dtype` or `wrong-shape`, and one that was disposed a
 * StateError `disposed`.
 */
export type Feeds = Readonly<Record<string, Tensor>>;

/** A vector on the host, or a tensor of another shape. */
export const tensorOf = (
  { ort }: Pick<Context, 'ort'>,
  values: Float32Array,
  shape: readonly number[] = [values.length],
): Tensor => new ort.Tensor('float32', values, shape);

/** A session of a model. */
export interface Runner {
  /**
   * @param feeds are checked
   * @param own goes in as well, as far as the model reads it; so does what is carried
   */
  run(feeds: Feeds, own?: Feeds): Promise<Feeds>;
  /** What of these the model reads; what no output needs is no input. */
  pick(feeds: Feeds): Feeds;
  release(): Promise<void>;
}

/** @param resident outputs that stay on the device */
export async function openRunner(
  { ort, sessionOptions, prefix, carrying }: Context,
  model: Model,
  resident?: readonly string[] | false,
): Promise<Runner> {
  const inputs = byName(model.graph?.input);
  const open = () =>
    ort.InferenceSession.create(encodeModel(model), {
      ...sessionOptions,
      ...(resident && {
        preferredOutputLocation: Object.fromEntries(
          resident.map((name) => [name, 'gpu-buffer'] as const),
        ),
      }),
    });
  const pick = (feeds: Feeds) =>
    Object.fromEntries(Object.entries(feeds).filter(([name]) => inputs.has(name)));
  let session = await open();
  return {
    pick,
    async run(feeds, own) {
      checkFeeds(feeds, inputs, prefix);
      try {
        return (await session.run({
          ...feeds,
          ...pick({ ...own, ...carrying?.feeds() }),
        })) as Feeds;
      } catch (error) {
        // On webgpu a session that failed once never answers again. The device goes with the last session.
        const broken = session;
        session = await open();
        await broken.release();
        throw error;
      }
    },
    release: () => session.release(),
  };
}

/** Opens a session for as long as `use` takes. */
export async function withRunner<R>(
  context: Context,
  model: Model,
  use: (runner: Runner) => Promise<R>,
): Promise<R> {
  const runner = await openRunner(context, model);
  try {
    return await use(runner);
  } finally {
    await runner.release();
  }
}

/**
 * Runs `use` with a session on webgpu open: the device lives as long as a session does.
 * @throws OnnxModelError `invalid-option` for a runtime that has the older provider
 */
export function withProvider<R>(context: Context, use: () => Promise<R>): Promise<R> {
  const value = makeValueInfo('a', 'float32', []);
  const graph = { name: 'a', input: [value], output: [value] };
  return withRunner(context, { irVersion: 8, opsetImport: [{ version: 17 }], graph }, async () => {
    // Only the provider of the entry 'onnxruntime-web' defines its device for good.
    const device = Object.getOwnPropertyDescriptor(context.ort.env?.webgpu ?? {}, 'device');
    if (device?.writable !== false) return use();
    const message =
      "This onnxruntime-web has the older webgpu provider, which gives wrong numbers; import * as ort from 'onnxruntime-web/webgpu'.";
    return refuse('invalid-option', message, 'ort');
  });
}

/**
 * Throws unless the feeds are what the user's inputs want; our own are left out. A runtime's messages
 * name an index at best.
 */
function checkFeeds(feeds: Feeds, inputs: ReadonlyMap<string, ValueInfo>, prefix: string): void {
  const wanted = [...inputs.keys()].filter((name) => !name.startsWith(prefix));
  for (const name of Object.keys(feeds)) {
    if (!wanted.includes(name)) {
      const message = `'${name}' is no input of the model; its inputs are ${list(wanted)}.`;
      refuse('unknown-feed', message, name);
    }
  }
  for (const name of wanted) {
    const tensor =
      feeds[name] ?? refuse('missing-feed', `The input '${name}' is missing; feed it.`, name);
    if ((tensor.location as string) === 'none') {
      disposed(`The tensor for '${name}'`, name);
    }
    const { elemType, dims } = toldOf(inputs.get(name)!);
    const expected = typeName(elemType);
    if (tensor.type !== expected) {
      const message = `'${name}' has dtype ${tensor.type}, not ${expected}.`;
      refuseParameter('wrong-dtype', message, name, tensor.type);
    }
    if (dims && !fits(dims, tensor.dims)) {
      const message = `'${name}' has shape [${tensor.dims}], not ${shown(dims)}.`;
      refuseParameter('wrong-shape', message, name, tensor.dims);
    }
  }
}
