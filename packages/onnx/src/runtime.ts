import { ParameterError, StateError } from '@schedule-free-adan/core';
import type {
  InferenceSession,
  InferenceSessionFactory,
  Tensor,
  TensorConstructor,
  TensorFactory,
} from 'onnxruntime-common';
import { refuse } from './errors.js';
import { encodeModel } from './model/codec.js';
import type { Model, ValueInfo } from './model/schema.js';
import { byName, fits, list, shown, toldOf, typeName } from './model/tensors.js';
import type { Context } from './trainer.js';

/** ONNX Runtime, as `import * as ort from 'onnxruntime-web'` or `'onnxruntime-node'` gives it. */
export interface OrtModule {
  readonly InferenceSession: InferenceSessionFactory;
  readonly Tensor: TensorConstructor & TensorFactory;
  readonly env?: { readonly webgpu: { readonly device: Promise<unknown> } };
}

/** Where sessions run, and how. */
export type Runtime = Pick<Context, 'ort' | 'sessionOptions'>;

/** The entry of the webgpu provider in a session's options. */
export const webgpuProvider = ({ executionProviders = [] }: InferenceSession.SessionOptions) =>
  executionProviders
    .map((provider): { readonly name: string; readonly device?: unknown } =>
      typeof provider === 'string' ? { name: provider } : provider,
    )
    .find(({ name }) => name === 'webgpu');

export type Feeds = Readonly<Record<string, Tensor>>;

/** A vector on the host, or a tensor of another shape. */
export const tensorOf = (
  { ort }: Pick<Context, 'ort'>,
  values: Float32Array,
  shape: readonly number[] = [values.length],
): Tensor => new ort.Tensor('float32', values, shape);

/** A session, and what its model says of the inputs. */
export interface Runner {
  readonly inputs: ReadonlyMap<string, ValueInfo>;
  /** @param own goes in as well, as far as the model reads it */
  run(feeds: Feeds, own?: Feeds): Promise<Feeds>;
  /** What of these the model reads; what no output needs is no input. */
  pick(feeds: Feeds): Feeds;
  release(): Promise<void>;
}

/** @param resident outputs that stay on the device */
export async function openRunner(
  { ort, sessionOptions }: Runtime,
  model: Model,
  resident: readonly string[] = [],
): Promise<Runner> {
  const inputs = byName(model.graph?.input);
  const all = Object.fromEntries(resident.map((name) => [name, 'gpu-buffer'] as const));
  const open = () =>
    ort.InferenceSession.create(encodeModel(model), {
      ...sessionOptions,
      ...(resident.length > 0 && { preferredOutputLocation: all }),
    });
  const pick = (feeds: Feeds) =>
    Object.fromEntries(Object.entries(feeds).filter(([name]) => inputs.has(name)));
  let session = await open();
  return {
    inputs,
    pick,
    async run(feeds, own = {}) {
      try {
        return (await session.run({ ...feeds, ...pick(own) })) as Feeds;
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
  runtime: Runtime,
  model: Model,
  use: (runner: Runner) => Promise<R>,
): Promise<R> {
  const runner = await openRunner(runtime, model);
  try {
    return await use(runner);
  } finally {
    await runner.release();
  }
}

/**
 * Throws unless the feeds are what the user's inputs want; our own are left out. A runtime's messages
 * name an index at best.
 */
export function checkFeeds(feeds: Feeds, { inputs }: Runner, prefix: string): void {
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
      throw new StateError('disposed', `The tensor for '${name}' was disposed.`, name);
    }
    const { elemType, dims } = toldOf(inputs.get(name)!);
    const expected = typeName(elemType);
    if (tensor.type !== expected) {
      const message = `'${name}' has dtype ${tensor.type}, not ${expected}.`;
      throw new ParameterError('wrong-dtype', message, name, tensor.type);
    }
    if (dims && !fits(dims, tensor.dims)) {
      const message = `'${name}' has shape [${tensor.dims}], not ${shown(dims)}.`;
      throw new ParameterError('wrong-shape', message, name, tensor.dims);
    }
  }
}
