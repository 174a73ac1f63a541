import {
  NonFiniteError,
  OptionError,
  ParameterError,
  ScheduleFreeAdanError,
  StateError,
  scheduleFreeAdan,
} from '@schedule-free-adan/core';
import { decodeSafetensors, encodeSafetensors } from '@schedule-free-adan/core/checkpoints';
import { ReferenceBackend, type ReferenceTensor } from '@schedule-free-adan/core/reference';
import { describe, expect, test } from 'vitest';

const backend = new ReferenceBackend();
const vector = (...values: number[]) => backend.upload(Float64Array.from(values), [values.length]);
const values = (tensor: ReferenceTensor) => [...tensor.data];
const caught = (action: () => unknown): unknown => {
  try {
    action();
  } catch (error) {
    return error;
  }
  return undefined;
};

describe('errors', () => {
  test('are of a named class, with a code, the offending name and its value', () => {
    const error = caught(() => scheduleFreeAdan(backend, {}, { momentum: 0 }));
    expect(error).toBeInstanceOf(OptionError);
    expect(error).toBeInstanceOf(ScheduleFreeAdanError);
    expect(error).toMatchObject({
      name: 'OptionError',
      code: 'invalid-option',
      subject: 'momentum',
      value: 0,
      message: 'momentum is 0; give a number in (0, 1]: at 0, y is z, and x is lost.',
    });
  });

  test('list what there is where a name is unknown', () => {
    const optimizer = scheduleFreeAdan(backend, { w: vector(1), b: vector(2) });
    const error = caught(() => optimizer.step({ q: vector(1) }));
    expect(error).toBeInstanceOf(ParameterError);
    expect(error).toMatchObject({ message: "'q' is no parameter; there is 'w', 'b'." });
    expect(caught(() => scheduleFreeAdan(backend, {}, { lr: 1 } as never))).toMatchObject({
      message: expect.stringMatching(/^'lr' is no option; options are learningRate, momentum, /),
    });
  });

  test('of step() in eval mode', () => {
    const optimizer = scheduleFreeAdan(backend, { w: vector(1) });
    optimizer.eval();
    const error = caught(() => optimizer.step({ w: vector(1) }));
    expect(error).toBeInstanceOf(StateError);
    expect(error).toMatchObject({
      code: 'wrong-mode',
      message: "Mode is 'eval'; call train() first.",
    });
  });

  test('in the constructor leave no tensor behind', () => {
    let live = 0;
    class Counting extends ReferenceBackend {
      override copy(a: ReferenceTensor) {
        live++;
        return super.copy(a);
      }
      override dispose(a: ReferenceTensor) {
        if (!a.disposed) live--;
        super.dispose(a);
      }
    }
    const gone = vector(1);
    backend.dispose(gone);
    const counting = new Counting();
    const before = live;
    expect(() => scheduleFreeAdan(counting, { w: vector(1), gone })).toThrow('disposed');
    // Two copies were made for w, its y and its z; more was disposed than counted here.
    expect(live).toBeLessThanOrEqual(before);
  });
});

describe("nonFinite: 'throw'", () => {
  const bad = () => vector(1, Number.NaN);

  test('throws at once where the backend can be read', () => {
    const optimizer = scheduleFreeAdan(backend, { w: vector(1, 2) }, { nonFinite: 'throw' });
    expect(() => optimizer.step({ w: bad() })).toThrow(NonFiniteError);
    expect(values(optimizer.parameter('w'))).toEqual([1, 2]);
    expect(optimizer.groups[0]!.scalars.step).toBe(1);
  });

  test('throws at the next awaited call elsewhere, once, and names the first offender', async () => {
    class Slow extends ReferenceBackend {
      override async download(a: ReferenceTensor) {
        return a.data.slice();
      }
    }
    const slow = Object.defineProperty(new Slow(), 'downloadSync', { value: undefined });
    const optimizer = scheduleFreeAdan(
      slow,
      { w: vector(1, 2), b: vector(1, 2) },
      { nonFinite: 'throw' },
    );
    optimizer.step({ w: vector(1, 1), b: bad() });
    optimizer.step({ w: bad(), b: vector(1, 1) });
    expect(values(optimizer.parameter('w'))).toEqual([1, 2]);
    await expect(optimizer.save()).rejects.toMatchObject({
      code: 'non-finite-gradient',
      subject: 'b',
    });
    expect(await optimizer.metrics()).toMatchObject({ skippedSteps: 2 });
  });
});

describe('parameters that live elsewhere', () => {
  const cell = (initial: ReferenceTensor) => {
    let held = initial;
    return {
      get: () => held,
      set: (tensor: ReferenceTensor) => {
        backend.dispose(held);
        held = tensor;
      },
    };
  };

  test('hold x between steps, and y only while a gradient is taken', async () => {
    const w = cell(vector(1, 2));
    const optimizer = scheduleFreeAdan(backend, {}, { placement: 'x', learningRate: 0.1 });
    optimizer.addCell('w', w);
    for (let i = 0; i < 3; i++) optimizer.step({ w: vector(1, -1) });
    const x = values(w.get());
    const seen = await optimizer.withTrainParameters(async () => {
      await Promise.resolve();
      return values(w.get());
    });
    expect(seen).not.toEqual(x);
    expect(seen).toEqual(values(optimizer.trainParameters().w!));
    expect(values(w.get())).toEqual(x);
    expect(optimizer.mode).toBe('eval');
  });

  test('move to y only where named', () => {
    const optimizer = scheduleFreeAdan(
      backend,
      { a: vector(1), b: vector(1) },
      { placement: 'x', learningRate: 0.1 },
    );
    for (let i = 0; i < 3; i++) optimizer.step({ a: vector(1), b: vector(1) });
    const x = values(optimizer.parameter('b'));
    optimizer.withTrainParameters(() => {
      expect(values(optimizer.parameter('a'))).not.toEqual(x);
      expect(values(optimizer.parameter('b'))).toEqual(x);
    }, ['a']);
    expect(values(optimizer.parameter('a'))).toEqual(x);
  });

  test('keep x when the optimizer is disposed in train mode', () => {
    const w = cell(vector(1, 2));
    const optimizer = scheduleFreeAdan(backend, {}, { placement: 'x', learningRate: 0.1 });
    optimizer.addCell('w', w);
    for (let i = 0; i < 3; i++) optimizer.step({ w: vector(1, -1) });
    const x = values(w.get());
    optimizer.train();
    optimizer.dispose();
    expect(values(w.get())).toEqual(x);
  });

  test('are adopted after somebody wrote to them, removed, and added again', () => {
    const w = cell(vector(1, 2));
    const optimizer = scheduleFreeAdan(backend, {}, { placement: 'x', learningRate: 0.1 });
    optimizer.addCell('w', w);
    for (let i = 0; i < 3; i++) optimizer.step({ w: vector(1, -1) });
    const [x, y] = [values(w.get()), values(optimizer.trainParameters().w!)];
    const before = vector(...x);
    w.set(vector(5, 5));
    optimizer.adoptParameter('w', before);
    // y − x is (1 − β)(z − x): what the steps are ahead of their average.
    values(optimizer.trainParameters().w!).forEach((value, i) => {
      expect(value - 5).toBeCloseTo(y[i]! - x[i]!, 12);
      expect(Math.abs(value - 5)).toBeGreaterThan(1e-4);
    });
    optimizer.removeParameter('w');
    expect(optimizer.parameterNames).toEqual([]);
    expect(() => optimizer.parameter('w')).toThrow("'w' is no parameter");
    optimizer.addCell('w', w);
    expect(() => optimizer.addCell('w', w)).toThrow("'w' is given twice.");
  });
});

test('a checkpoint is a safetensors file that other tools can read', async () => {
  const optimizer = scheduleFreeAdan(backend, { 'layer/w': vector(1, 2) }, { learningRate: 0.1 });
  optimizer.step({ 'layer/w': vector(3, 4) });
  const bytes = await optimizer.save();
  const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  expect((8 + length) % 8).toBe(0);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  expect(Object.keys(header)).toEqual([
    '__metadata__',
    ...['y', 'z', 'v', 'n', 'g', 'seen'].map((key) => `layer/w.${key}`),
  ]);
  expect(header['layer/w.g']).toEqual({ dtype: 'F64', shape: [2], data_offsets: [64, 80] });
  expect(Object.values(header.__metadata__).every((value) => typeof value === 'string')).toBe(true);
  expect(header.__metadata__.format).toBe('schedule-free-adan/1');
  expect(JSON.parse(header.__metadata__.state).groups[0].scalars).toEqual({
    step: 1,
    momentStep: 1,
    weightSum: 0.1 ** 2,
    learningRateMax: 0.1,
  });
  expect([...decodeSafetensors(bytes).tensors.get('layer/w.g')!.data]).toEqual([3, 4]);
});

test('a file whose header promises more than there is does not allocate for it', () => {
  const header = { w: { dtype: 'F64', shape: [2 ** 40], data_offsets: [0, 2 ** 43] } };
  const json = new TextEncoder().encode(JSON.stringify(header));
  const bytes = new Uint8Array(8 + json.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  expect(() => decodeSafetensors(bytes)).toThrow("'w' can't be F64 of shape [1099511627776]");
});

test('a file without a scalar is refused, also where it has no checksum to fail', async () => {
  const optimizer = scheduleFreeAdan(backend, { w: vector(1) });
  const { metadata, tensors } = decodeSafetensors(await optimizer.save());
  const { checksum: _, ...rest } = metadata;
  const state = rest.state!.replace('"weightSum":0', '"weightSum":null');
  const bytes = encodeSafetensors({ metadata: { ...rest, state }, tensors });
  expect(() => optimizer.load(bytes)).toThrow('Unusable checkpoint: weightSum is missing.');
});
