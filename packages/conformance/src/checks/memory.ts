import { type Check, type Context, ensure } from '../check.js';
import { normals, randomNumbers } from '../samples.js';
import { sameBits } from '../ulps.js';

const anything = {
  parameters: [{ name: 'w', shape: [2], values: Float32Array.of(1, -2) }],
  options: {},
};

const lengths: Record<string, readonly number[]> = {
  'length 0': [0],
  'length 1': [1],
  'a scalar': [],
  'an odd length': [1023],
  'a matrix': [17, 5],
  'more than 65,535 workgroups of 64': [65_535 * 64 + 3],
};

async function roundTrip(context: Context, shape: readonly number[]): Promise<void> {
  const subject = await context.create(anything);
  const size = shape.reduce((a, b) => a * b, 1);
  const values = normals(size, randomNumbers(context.seed));
  const written = values.slice();
  const tensor = subject.upload(values, shape);
  values.fill(0);
  const read = await subject.download(tensor);
  ensure(
    read.length === size && read.every((value, i) => value === written[i]),
    `[${shape}] reads back differently from what was written, or keeps the caller's array`,
  );
  read.fill(7);
  const again = await subject.download(tensor);
  ensure(
    again.every((value, i) => value === written[i]),
    'writing to what was read changed the tensor',
  );
  subject.free(tensor);
}

export const memoryChecks: readonly Check[] = [
  ...Object.entries(lengths).map(
    ([name, shape]): Check => ({
      id: `memory/${name.replaceAll(/[^a-z0-9]+/g, '-')}`,
      tier: 1,
      run: (context) => roundTrip(context, shape),
    }),
  ),
  {
    id: 'memory/parameters-are-copied-in-and-out',
    tier: 1,
    async run(context) {
      const values = Float32Array.of(1, -2);
      const subject = await context.create({
        parameters: [{ name: 'w', shape: [2], values }],
        options: {},
      });
      values.fill(9);
      for (const read of [
        () => subject.parameters(),
        () => subject.evalParameters(),
        () => subject.trainParameters(),
      ]) {
        const { w } = await read();
        ensure(w?.[0] === 1 && w[1] === -2, `a parameter set to 1, -2 reads as ${w}`);
        w.fill(7);
      }
    },
  },
  {
    id: 'memory/dtype-is-as-declared',
    tier: 1,
    async run({ target }) {
      const { dtype } = await target.backend!();
      ensure(
        dtype === target.dtype,
        `the backend's dtype is '${dtype}', and the target's, in whose ulps errors are counted, '${target.dtype}'`,
      );
    },
  },
  {
    id: 'memory/copies-are-independent',
    tier: 1,
    async run({ target, seed }) {
      const backend = await target.backend!();
      const values = normals(33, randomNumbers(seed));
      const original = backend.upload(values, [33]);
      const copy = backend.copy(original);
      backend.dispose(original);
      ensure(backend.inspect(original).disposed, 'a disposed tensor does not say so');
      const info = backend.inspect(copy);
      ensure(!info.disposed, 'disposing a tensor disposed its copy');
      ensure(String(info.shape) === '33', `a copy of shape [33] has shape [${info.shape}]`);
      ensure(
        info.dtype === backend.dtype,
        `a tensor's dtype is ${info.dtype}, not ${backend.dtype}`,
      );
      const read = await backend.download(copy);
      ensure(
        read.every((value, i) => value === values[i]),
        'a copy lost its values with the original',
      );
      backend.dispose(copy);
    },
  },
  {
    id: 'memory/download-is-of-the-time-of-the-call',
    tier: 1,
    async run({ target }) {
      const backend = await target.backend!();
      const tensor = backend.upload(Float32Array.of(1, 2, 3), [3]);
      const pending = backend.download(tensor);
      backend.dispose(tensor);
      const read = await pending;
      ensure(
        sameBits(Float32Array.from(read), Float32Array.of(1, 2, 3)),
        `read ${read} after dispose`,
      );
    },
  },
];

/** Checks that call a backend's primitives rather than a subject. */
export const needsBackend = new Set([
  'memory/dtype-is-as-declared',
  'memory/copies-are-independent',
  'memory/download-is-of-the-time-of-the-call',
]);
