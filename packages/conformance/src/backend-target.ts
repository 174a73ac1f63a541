import { type Backend, type ScheduleFreeAdan, scheduleFreeAdan } from '@schedule-free-adan/core';
import { composedStep } from '@schedule-free-adan/core/rule';
import { ownMethods } from './own-methods.js';
import type { Subject, SubjectSpec, Target, Values } from './target.js';

/** What {@link backendTarget} needs to know. */
export interface BackendTargetOptions<T> extends Pick<Target, 'unsupported' | 'knownFailures'> {
  /** The subject's name, as `--subject` takes it. */
  readonly name: string;
  /** Makes the backend. Called for each subject. */
  readonly backend: () => Backend<T> | Promise<Backend<T>>;
  /** Of the optimizer over it; default `'y'`. */
  readonly placement?: 'x' | 'y';
  /** A tensor whose dtype can't be a gradient's, if the backend has other dtypes. */
  readonly foreign?: (shape: readonly number[]) => T;
  /** Of the backend's tensors; default `'float32'`. */
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
  backend: Backend<T>,
  spec: SubjectSpec,
  { placement, foreign }: Pick<BackendTargetOptions<T>, 'placement' | 'foreign'> = {},
  fused = true,
): Subject<T> {
  const live = countTensors(backend);
  const initial = spec.parameters.map(
    ({ name, values, shape }) => [name, backend.upload(values, shape)] as const,
  );
  let optimizer: ScheduleFreeAdan<T>;
  try {
    optimizer = scheduleFreeAdan(fused ? backend : withComposedStep(backend), initial, {
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
    ...ownMethods(optimizer),
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

/** The same primitives, with the step that the core composes out of them. */
function withComposedStep<T>(backend: Backend<T>): Backend<T> {
  const methods = [...makers, 'download', 'dispose', 'inspect'] as const;
  const bound = Object.fromEntries(
    methods.map((key) => [key, (backend[key] as () => unknown).bind(backend)]),
  ) as unknown as Pick<Backend<T>, (typeof methods)[number]>;
  const downloadSync = backend.downloadSync?.bind(backend);
  return {
    ...bound,
    dtype: backend.dtype,
    ...(downloadSync && { downloadSync }),
    step: (request) => composedStep(backend, request),
  };
}

const counts = new WeakMap<object, () => number>();

/**
 * Counts a backend's tensors that are alive, from now on. Its methods are replaced on the object
 * itself, so that tensors which they make for each other are seen as well.
 */
function countTensors<T>(backend: Backend<T>): () => number {
  let count = counts.get(backend);
  if (!count) {
    let tensors = new Set<T>();
    count = () => {
      tensors = new Set([...tensors].filter((tensor) => !backend.inspect(tensor).disposed));
      return tensors.size;
    };
    counts.set(backend, count);
    let made = 0;
    for (const key of [...makers, 'point'] as const) {
      const make = backend[key]?.bind(backend) as (...operands: unknown[]) => T;
      if (!make) continue;
      const counting = (...operands: unknown[]) => {
        const tensor = make(...operands);
        tensors.add(tensor);
        if (++made % 4096 === 0) count?.();
        return tensor;
      };
      Object.defineProperty(backend, key, { value: counting, configurable: true, writable: true });
    }
  }
  const before = count();
  return () => count() - before;
}
