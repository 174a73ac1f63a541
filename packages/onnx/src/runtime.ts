import { ParameterError, StateError } from '@schedule-free-adan/core';
import type {
  InferenceSession,
  InferenceSessionFactory,
  Tensor,
  TensorConstructor,
  TensorFactory,
} from 'onnxruntime-common';
import { OnnxModelError } from './errors.js';
import { encodeModel } from './model/codec.js';
import type { Model, ValueInfo } from './model/schema.js';
import { byName, fits, list, shown, toldOf, typeName } from './model/tensors.js';

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

export type Feeds = Readonly<Record<string, Tensor>>;

/**
 * A session, and what its model says of the inputs. Feeds are checked here, since a runtime's own
 * messages name an index at best.
 */
export class Runner {
  private constructor(
    private session: InferenceSession,
    private readonly open: () => Promise<InferenceSession>,
    readonly inputs: ReadonlyMap<string, ValueInfo>,
  ) {}

  /** @param resident outputs that stay on the device */
  static async create(
    ort: OrtModule,
    model: Model,
    options: InferenceSession.SessionOptions,
    resident: readonly string[] = [],
  ): Promise<Runner> {
    const all = Object.fromEntries(resident.map((name) => [name, 'gpu-buffer'] as const));
    const open = () =>
      ort.InferenceSession.create(encodeModel(model), {
        ...options,
        ...(resident.length > 0 && { preferredOutputLocation: all }),
      });
    return new Runner(await open(), open, byName(model.graph?.input));
  }

  async run(feeds: Feeds): Promise<Readonly<Record<string, Tensor>>> {
    try {
      return (await this.session.run(feeds)) as Readonly<Record<string, Tensor>>;
    } catch (error) {
      // On webgpu a session that failed once never answers again. The device goes with the last session.
      const broken = this.session;
      this.session = await this.open();
      await broken.release();
      throw error;
    }
  }

  /** What of these the model reads; what no output needs is no input. */
  pick(feeds: Feeds): Feeds {
    return Object.fromEntries(Object.entries(feeds).filter(([name]) => this.inputs.has(name)));
  }

  async release(): Promise<void> {
    await this.session.release();
  }
}

/** Throws unless the feeds are what the user's inputs want; our own are left out. */
export function checkFeeds(feeds: Feeds, { inputs }: Runner, prefix: string): void {
  const wanted = [...inputs.keys()].filter((name) => !name.startsWith(prefix));
  for (const name of Object.keys(feeds)) {
    if (!wanted.includes(name)) {
      const message = `'${name}' is no input of the model; its inputs are ${list(wanted)}.`;
      throw new OnnxModelError('unknown-feed', message, name);
    }
  }
  for (const name of wanted) {
    const tensor = feeds[name];
    if (!tensor) {
      throw new OnnxModelError('missing-feed', `The input '${name}' is missing; feed it.`, name);
    }
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
