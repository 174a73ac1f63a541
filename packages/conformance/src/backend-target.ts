import { type Backend, type FloatArray, ScheduleFreeAdan } from '@schedule-free-adan/core';
import type { Subject, SubjectSpec, Target, Values } from './target.js';

export interface BackendTargetOptions<T> extends Pick<Target, 'unsupported' | 'knownFailures'> {
  readonly name: string;
  /** Makes the backend. Called for each subject. */
  readonly backend: () => Backend<T> | Promise<Backend<T>>;
  readonly placement?: 'x' | 'y';
  /** A tensor whose dtype can't be a gradient's, if the backend has other dtypes. */
  readonly foreign?: (shape: readonly number[]) => T;
  readonly dtype?: 'float32' | 'float64';
}

/** A target out of a {@link Backend}: the optimizer is the core's, the tensors are the author's. */
export function backendTarget<T>(options: BackendTargetOptions<T>): Target {
  const { name, dtype = 'float32', unsupported, knownFailures } = options;
  const make = (fused: boolean) => async (spec: SubjectSpec) =>
    backendSubject(await options.backend(), spec, options, fused);
  return {
    name,
    dtype,
    create: make(true),
    composed: make(false),
    backend: erased(options.backend),
    ...(unsupported && { unsupported }),
    ...(knownFailures && { knownFailures }),
  };
}

/** The suite passes tensors around and never looks inside: it need not know their type. */
export const erased = <T>(
  make: () => Backend<T> | Promise<Backend<T>>,
): (() => Backend<unknown> | Promise<Backend<unknown>>) =>
  make as unknown as () => Backend<unknown> | Promise<Backend<unknown>>;

/** A subject over a backend, as {@link backendTarget} makes it. */
export function backendSubject<T>(
  raw: Backend<T>,
  spec: SubjectSpec,
  { placement, foreign }: Pick<BackendTargetOptions<T>, 'placement' | 'foreign'> = {},
  fused = true,
): Subject<T> {
  const { backend, live } = counted(raw, fused);
  const initial = spec.parameters.map(
    ({ name, values, shape }) => [name, backend.upload(values, shape)] as const,
  );
  let optimizer: ScheduleFreeAdan<T>;
  try {
    optimizer = new ScheduleFreeAdan(backend, initial, {
      ...spec.options,
      ...(placement && { placement }),
    });
  } finally {
    for (const [, tensor] of initial) backend.dispose(tensor);
  }
  const read = async (tensors: Record<string, T>, own: boolean): Promise<Values> => {
    const entries = Object.entries(tensors);
    const values = entries.map(async ([name, tensor]) => [name, await backend.download(tensor)]);
    const result = Object.fromEntries(await Promise.all(values));
    if (own) for (const [, tensor] of entries) backend.dispose(tensor);
    return result;
  };
  return {
    upload: (values, shape) => backend.upload(values, shape),
    download: (tensor) => backend.download(tensor),
    free: (tensor) => backend.dispose(tensor),
    ...(foreign && { foreign }),
    step: (gradients) => optimizer.step(gradients),
    evalParameters: async () => read(optimizer.evalParameters(), true),
    trainParameters: async () => read(optimizer.trainParameters(), true),
    parameters: async () =>
      read(
        Object.fromEntries(optimizer.parameterNames.map((n) => [n, optimizer.parameter(n)])),
        false,
      ),
    train: () => optimizer.train(),
    eval: () => optimizer.eval(),
    withEvalParameters: (fn) => optimizer.withEvalParameters(fn),
    setLearningRate: (value, group) => {
      optimizer.groups[group]!.learningRate = value;
    },
    restart: () => optimizer.restart(),
    metrics: () => optimizer.metrics(),
    save: () => optimizer.save(),
    load: (checkpoint) => optimizer.load(checkpoint),
    dispose: () => optimizer.dispose(),
    liveMemory: live,
  };
}

/** Methods of a backend whose result is a new tensor. */
const makers = [
  'upload',
  'copy',
  'constant',
  'add',
  'sub',
  'mul',
  'div',
  'sqrt',
  'minimum',
  'sumOfSquares',
  'allFinite',
  'select',
] as const;

/** The same backend, with a count of the tensors that are alive. */
function counted<T>(raw: Backend<T>, fused: boolean) {
  let tensors: T[] = [];
  const noted = Object.fromEntries(
    makers.map((key) => {
      const make = raw[key].bind(raw) as (...operands: never[]) => T;
      return [
        key,
        (...operands: never[]) => {
          const tensor = make(...operands);
          tensors.push(tensor);
          return tensor;
        },
      ];
    }),
  ) as Pick<Backend<T>, (typeof makers)[number]>;
  const live = () => {
    tensors = tensors.filter((tensor) => !raw.inspect(tensor).disposed);
    return tensors.length;
  };
  const step = raw.step?.bind(raw);
  const downloadSync = raw.downloadSync?.bind(raw);
  const backend: Backend<T> = {
    ...noted,
    dtype: raw.dtype,
    download: (tensor): Promise<FloatArray> => raw.download(tensor),
    ...(downloadSync && { downloadSync }),
    dispose: (tensor) => {
      raw.dispose(tensor);
      if (tensors.length > 4096) live();
    },
    inspect: (tensor) => raw.inspect(tensor),
    ...(fused && step && { step }),
  };
  return { backend, live };
}
