import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { nodeDevice } from '../../../tools/webgpu-runtime.mjs';
import { WebGpuAdan } from '../src/index.js';
import {
  bits,
  everything,
  gradientsAt,
  inArena,
  inOwnBuffers,
  noise,
  read,
  shapes,
  stepAt,
  train,
  write,
} from './support.js';

let device: GPUDevice;
let uncaptured: string[] = [];
beforeAll(async () => {
  device = await nodeDevice();
  device.addEventListener('uncapturederror', ({ error }) => uncaptured.push(error.message));
});
beforeEach(() => {
  uncaptured = [];
});
afterEach(async () => {
  await device.queue.onSubmittedWorkDone();
  expect(uncaptured).toEqual([]);
});

/** Counts dispatches while `fn` runs. */
function dispatches(fn: () => void): number {
  const { prototype } = GPUComputePassEncoder;
  const { dispatchWorkgroups } = prototype;
  let count = 0;
  prototype.dispatchWorkgroups = function (this: GPUComputePassEncoder, ...args) {
    count++;
    return dispatchWorkgroups.apply(this, args);
  };
  try {
    fn();
  } finally {
    prototype.dispatchWorkgroups = dispatchWorkgroups;
  }
  return count;
}

describe('the same bits', () => {
  let expected: string;
  beforeAll(async () => {
    expected = await bits(await train(device, inArena(), everything));
  });

  test.each([1, 32, 64, 128])('for workgroups of %i', async (workgroupSize) => {
    const optimizer = await train(device, inArena(), { ...everything, workgroupSize });
    expect(await bits(optimizer)).toBe(expected);
  });

  test("in the user's own buffers, odd lengths included", async () => {
    expect(await bits(await train(device, inOwnBuffers(device), everything))).toBe(expected);
  });

  test('in many small buffers of the arena', async () => {
    const optimizer = await train(device, inArena(), { ...everything, chunkBytes: 20_224 });
    const buffers = new Set(optimizer.parameterNames.map((n) => optimizer.parameter(n).buffer));
    expect(buffers.size).toBeGreaterThan(1);
    expect(await bits(optimizer)).toBe(expected);
  });

  test("in the user's encoder, several steps at a time", async () => {
    const optimizer = await WebGpuAdan.create(device, inArena(), everything);
    const staged = [1, 2, 3, 4, 5, 6].map((t) =>
      gradientsAt(t).map(([name, values]) => {
        const size = Math.max(4, values.byteLength);
        const usage = GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
        const buffer = device.createBuffer({ size, usage });
        device.queue.writeBuffer(buffer, 0, Float32Array.from(values));
        return [name, buffer] as const;
      }),
    );
    for (const pair of [staged.slice(0, 3), staged.slice(3)]) {
      const encoder = device.createCommandEncoder();
      for (const gradients of pair) {
        for (const [name, buffer] of gradients) {
          const { buffer: to, offset, size } = optimizer.gradient(name);
          if (size > 0) encoder.copyBufferToBuffer(buffer, 0, to, offset, size);
        }
        optimizer.step(encoder);
      }
      device.queue.submit([encoder.finish()]);
    }
    expect(await bits(optimizer)).toBe(expected);
  });

  test("evaluate and the first step in one encoder of the user's, also after load", async () => {
    const optimizer = await WebGpuAdan.create(device, inArena(), everything);
    const begun = await optimizer.snapshot();
    const once = await bits(await train(device, inArena(), everything, 1));
    for (const [name, values] of gradientsAt(1)) write(device, optimizer.gradient(name), values);
    for (const again of [false, true]) {
      if (again) optimizer.load(begun);
      const encoder = device.createCommandEncoder();
      optimizer.evaluate(encoder);
      optimizer.step(encoder);
      device.queue.submit([encoder.finish()]);
      expect(await bits(optimizer)).toBe(once);
    }
  });

  test("steps of some and then of all, in one encoder of the user's", async () => {
    const names = [['odd'], ['odd', 'scalar', 'long'], undefined];
    const apart = await WebGpuAdan.create(device, inArena(), everything);
    const together = await WebGpuAdan.create(device, inArena(), everything);
    const encoder = device.createCommandEncoder();
    for (const optimizer of [apart, together]) {
      for (const [name, values] of gradientsAt(1)) write(device, optimizer.gradient(name), values);
    }
    for (const some of names) {
      apart.step(undefined, some);
      together.step(encoder, some);
    }
    device.queue.submit([encoder.finish()]);
    expect(await bits(together)).toBe(await bits(apart));
  });

  test('after evaluations in between, of either kind', async () => {
    const optimizer = await train(device, inArena(), everything, 3);
    optimizer.evaluate();
    optimizer.eval();
    optimizer.evaluate();
    optimizer.train();
    await optimizer.withEvalParameters(async () => optimizer.snapshot());
    for (const t of [4, 5, 6]) stepAt(optimizer, t);
    expect(await bits(optimizer)).toBe(expected);
  });

  test('whatever stands in the padding between gradients', async () => {
    const optimizer = await WebGpuAdan.create(device, inArena(), everything);
    const { buffer } = optimizer.gradient('odd');
    for (let t = 1; t <= 6; t++) {
      device.queue.writeBuffer(buffer, 0, new Float32Array(buffer.size / 4).fill(Number.NaN));
      stepAt(optimizer, t);
    }
    expect(await bits(optimizer)).toBe(expected);
  });
});

describe('commands', () => {
  test('one dispatch steps all tensors, whatever their learning rates and decays', async () => {
    const optimizer = await train(device, inArena(), {
      ...everything,
      maxGradNorm: 0,
      nonFinite: 'ignore',
    });
    expect(dispatches(() => optimizer.step())).toBe(1);
    const guarded = await train(device, inArena(), everything);
    // Before it come shares of the norm, the verdict, and a look for first gradients.
    expect(dispatches(() => guarded.step())).toBe(4);
  });

  test('a step reads nothing back, and makes no buffer', async () => {
    const optimizer = await train(device, inArena(), everything);
    const before = optimizer.gpuBytes;
    const { createBuffer } = device;
    device.createBuffer = () => {
      throw new Error('a buffer was made');
    };
    try {
      for (let t = 0; t < 10; t++) optimizer.step();
    } finally {
      device.createBuffer = createBuffer;
    }
    expect(optimizer.gpuBytes).toBe(before);
  });

  test('x is written elsewhere, with the same bits as in eval mode', async () => {
    const optimizer = await train(device, inArena(), everything);
    const views = optimizer.evaluate();
    const { buffer } = views.long!;
    expect(buffer).not.toBe(optimizer.parameter('long').buffer);
    const x = await read(device, views.long!);
    expect(x).not.toEqual(await read(device, optimizer.parameter('long')));
    optimizer.eval();
    expect(await read(device, optimizer.parameter('long'))).toEqual(x);
    expect(optimizer.evaluate().long!.buffer).toBe(buffer);
    expect(await read(device, views.long!)).toEqual(x);
  });

  const xOf = async (optimizer: WebGpuAdan) =>
    Object.fromEntries(
      await Promise.all(
        Object.entries(optimizer.evaluate()).map(
          async ([name, view]) => [name, [...(await read(device, view))]] as const,
        ),
      ),
    );

  test.each([
    ['without a first moment', { betas: [0, 0.92, 0.99] }, inArena],
    ['without differences', { betas: [0.9, 0, 0.99] }, inArena],
    ["in the user's own buffers", { betas: [0, 0.92, 0.99] }, () => inOwnBuffers(device)],
    ['of plain Adan', { scheduleFree: false, decay: 'z', betas: [0, 0.92, 0.99] }, inArena],
  ] as const)('with averages, a step writes x as evaluate would: %s', async (_, more, define) => {
    const options = { ...everything, ...more };
    const plain = await train(device, define(), options);
    const averaging = await train(device, define(), { ...options, averages: true });
    expect(await xOf(averaging)).toEqual(await xOf(plain));
    expect(dispatches(() => averaging.evaluate())).toBe(0);
    for (const optimizer of [plain, averaging]) {
      optimizer.step(undefined, ['odd', 'matrix']);
      write(device, optimizer.gradient('odd'), new Float32Array(13).fill(Number.NaN));
      optimizer.step();
    }
    expect(await xOf(averaging)).toEqual(await xOf(plain));
    averaging.load(await (await train(device, define(), options, 2)).snapshot());
    expect(await xOf(averaging)).toEqual(await xOf(await train(device, define(), options, 2)));
  });

  test('averages take no dispatch of their own', async () => {
    const options = { averages: true, nonFinite: 'ignore' } as const;
    const optimizer = await train(device, inArena(), options);
    expect(dispatches(() => optimizer.step())).toBe(1);
  });

  test('squares that are too large for float32 are no reason to skip a step, NaN anywhere is', async () => {
    const length = 333;
    const skipped = async (value: number, at: number) => {
      const optimizer = await WebGpuAdan.create(device, { w: { shape: [length] } });
      write(device, optimizer.gradient('w'), new Float32Array(length).fill(value, at, at + 1));
      optimizer.step();
      return (await optimizer.metrics()).skippedSteps;
    };
    for (const at of [0, 17, 319, 320, 332]) {
      expect(await skipped(-3e38, at)).toBe(0);
      for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
        expect(await skipped(bad, at)).toBe(1);
      }
    }
  });

  test('metrics: the norm before clipping, the factor, skipped steps', async () => {
    const optimizer = await train(device, inArena(), everything, 1);
    const norm = Math.sqrt(
      gradientsAt(1).reduce((sum, [, g]) => sum + g.reduce((s, x) => s + x * x, 0), 0),
    );
    const metrics = await optimizer.metrics();
    expect(metrics.gradientNorm! / norm).toBeCloseTo(1, 6);
    expect(metrics.clipFactor! / (0.5 / norm)).toBeCloseTo(1, 6);
    expect(metrics.skippedSteps).toBe(0);
  });

  test('a step with NaN changes nothing, also as the first one of a parameter', async () => {
    const calm = await WebGpuAdan.create(device, inArena(), everything);
    stepAt(calm, 1);
    const disturbed = await WebGpuAdan.create(device, inArena(), everything);
    for (const [name, values] of gradientsAt(7)) write(device, disturbed.gradient(name), values);
    write(device, disturbed.gradient('scalar'), Float32Array.of(Number.NaN));
    disturbed.step();
    const { tensors } = await state(disturbed);
    expect(tensors['odd.y']).toEqual([...noise(13, 1)]);
    expect(tensors['odd.seen']).toEqual([0]);
    expect((await disturbed.metrics()).skippedSteps).toBe(1);
    stepAt(disturbed, 1);
    expect((await disturbed.metrics()).skippedSteps).toBe(1);
    expect((await state(disturbed)).tensors['odd.g']).toEqual((await state(calm)).tensors['odd.g']);
  });
});

async function state(optimizer: WebGpuAdan) {
  const { decodeSafetensors } = await import('@schedule-free-adan/core/checkpoints');
  const { tensors } = decodeSafetensors(await optimizer.snapshot());
  return {
    tensors: Object.fromEntries([...tensors].map(([key, { data }]) => [key, [...data]])),
  };
}

describe('kernels that share a dispatch or leave out a pass', () => {
  test.each(['y', 'z', 'prox'] as const)(
    'a group without decay beside decay %s moves as without any',
    async (decay) => {
      const groups = [{ parameters: ['odd'], weightDecay: 0 }];
      const mixed = await state(
        await train(device, inArena(), { weightDecay: 0.5, decay, groups }),
      );
      const alone = await state(await train(device, inArena(), { decay }));
      expect(mixed.tensors['odd.y']).toEqual(alone.tensors['odd.y']);
      expect(mixed.tensors['odd.z']).toEqual(alone.tensors['odd.z']);
      expect(mixed.tensors['long.y']).not.toEqual(alone.tensors['long.y']);
    },
  );

  test.each([2, 4, 6])('each of %i groups moves as if it were alone', async (count) => {
    const names = Object.keys(shapes).slice(1, count);
    const options = { ...everything, maxGradNorm: 0, groups: [] };
    const rate = (k: number) => 0.001 * (k + 2);
    const groups = names.map((name, k) => ({ parameters: [name], learningRate: rate(k) }));
    const apart = await state(await train(device, inArena(), { ...options, groups }));
    for (const [k, name] of names.entries()) {
      const learningRate = rate(k);
      const alone = await state(await train(device, inArena(), { ...options, learningRate }));
      expect(apart.tensors[`${name}.y`]).toEqual(alone.tensors[`${name}.y`]);
      expect(apart.tensors['scalar.y']).not.toEqual(alone.tensors['scalar.y']);
    }
  });

  test('one tensor alone, with and without a look at its gradient, moves as among others', async () => {
    const { long } = Object.fromEntries(gradientsAt(1));
    const alone = async (nonFinite: 'skip' | 'ignore') => {
      const shape = [long!.length];
      const optimizer = await WebGpuAdan.create(device, { w: { shape } }, { nonFinite });
      write(device, optimizer.gradient('w'), long!);
      for (let t = 0; t < 4; t++) optimizer.step();
      await optimizer.metrics();
      return (await state(optimizer)).tensors['w.y'];
    };
    const among = await WebGpuAdan.create(device, {
      other: { shape: [3] },
      w: { shape: [long!.length] },
    });
    write(device, among.gradient('w'), long!);
    for (let t = 0; t < 4; t++) among.step();
    const expected = (await state(among)).tensors['w.y'];
    expect(await alone('skip')).toEqual(expected);
    expect(await alone('ignore')).toEqual(expected);
  });

  test("without a look at the gradients ('ignore'), finite ones give the same bits", async () => {
    const ignoring = await train(device, inArena(), { nonFinite: 'ignore' });
    const skipping = await train(device, inArena(), {});
    expect(await state(ignoring)).toEqual(await state(skipping));
    for (const optimizer of [ignoring, skipping]) {
      optimizer.restart();
      for (const t of [7, 8, 9]) stepAt(optimizer, t);
    }
    expect(await state(ignoring)).toEqual(await state(skipping));
  });
});

describe('float16 state', () => {
  test('halves m, v and the previous gradient, and stays close', async () => {
    const wide = await train(device, inArena(), everything);
    const narrow = await train(device, inArena(), { ...everything, state: 'float16' });
    expect(narrow.gpuBytes).toBeLessThan(wide.gpuBytes);
    const [a, b] = await Promise.all([state(wide), state(narrow)]);
    let worst = 0;
    for (const key of ['long.y', 'matrix.y', 'odd.z', 'scalar.y']) {
      a.tensors[key]!.forEach((x, i) => {
        worst = Math.max(worst, Math.abs(x - b.tensors[key]![i]!));
      });
    }
    // Steps are up to 0.01 (0.1 for one tensor): half precision costs some 1e-3 of a step.
    expect(worst).toBeGreaterThan(0);
    expect(worst).toBeLessThan(2e-4);
  });

  test('a snapshot goes on to the same bits', async () => {
    const options = { ...everything, state: 'float16' } as const;
    const first = await train(device, inArena(), options, 4);
    const second = await WebGpuAdan.create(device, inArena(), options);
    second.load(await first.snapshot());
    for (const optimizer of [first, second]) for (const t of [5, 6]) stepAt(optimizer, t);
    expect(await bits(second)).toBe(await bits(first));
  });
});

describe('loss of the device', () => {
  test('the next call names it, and training goes on elsewhere to the same bits', async () => {
    const expected = await bits(await train(device, inArena(), everything));
    const doomed = await nodeDevice();
    const optimizer = await train(doomed, inArena(), everything, 3);
    const snapshot = optimizer.snapshot();
    stepAt(optimizer, 4);
    const kept = await snapshot;
    doomed.destroy();
    await expect(optimizer.metrics()).rejects.toMatchObject({ code: 'device-lost' });
    await expect(optimizer.snapshot()).rejects.toMatchObject({ code: 'device-lost' });
    expect(() => optimizer.step()).toThrow(expect.objectContaining({ code: 'device-lost' }));
    expect(() => optimizer.evaluate()).toThrow(/resume/);
    const next = await optimizer.resume(device, kept);
    for (const t of [4, 5, 6]) stepAt(next, t);
    expect(await bits(next)).toBe(expected);
    optimizer.dispose();
  });

  test('with own buffers, resume takes new ones', async () => {
    const expected = await bits(await train(device, inArena(), everything));
    const doomed = await nodeDevice();
    const optimizer = await train(doomed, inOwnBuffers(doomed), everything, 3);
    const kept = await optimizer.snapshot();
    doomed.destroy();
    const next = await optimizer.resume(device, kept, inOwnBuffers(device));
    for (const t of [4, 5, 6]) stepAt(next, t);
    expect(await bits(next)).toBe(expected);
  });
});

describe('bad input is named before anything is submitted', () => {
  const { STORAGE, COPY_SRC, COPY_DST } = {
    STORAGE: 0x80,
    COPY_SRC: 0x4,
    COPY_DST: 0x8,
  };
  const all = STORAGE | COPY_SRC | COPY_DST;
  const make = (size = 64, usage = all, on = device) => on.createBuffer({ size, usage });
  const shape = [16];
  const refused = async (definitions: object, code: string, words: RegExp) => {
    const before = [uncaptured.length];
    const error = await WebGpuAdan.create(device, definitions as never).then(
      () => undefined,
      (e: Error) => e,
    );
    expect(error).toMatchObject({ name: expect.stringMatching(/Error$/), code, subject: 'w' });
    expect(error!.message).toMatch(words);
    await device.queue.onSubmittedWorkDone();
    expect([uncaptured.length]).toEqual(before);
  };
  const own = (parameter: object, gradient: object = { buffer: make() }) => ({
    w: { shape, parameter, gradient },
  });

  test('a buffer that is too small', async () => {
    await refused(own({ buffer: make(60) }), 'buffer-too-small', /parameter 'w' has 60 bytes.*64/);
    await refused(own({ buffer: make(512), offset: 496 }), 'buffer-too-small', /has 16 bytes/);
    await refused(own({ buffer: make() }, { buffer: make(32) }), 'buffer-too-small', /gradient/);
  });
  test('wrong usage flags', async () => {
    await refused(own({ buffer: make(64, STORAGE) }), 'wrong-usage', /COPY_SRC \| COPY_DST/);
    await refused(
      own({ buffer: make() }, { buffer: make(64, COPY_DST) }),
      'wrong-usage',
      /STORAGE/,
    );
  });
  test('a foreign device', async () => {
    const other = await nodeDevice();
    await refused(own({ buffer: make(64, all, other) }), 'foreign-device', /parameter 'w'/);
    other.destroy();
  });
  test('a destroyed buffer', async () => {
    const buffer = make();
    buffer.destroy();
    await refused(own({ buffer }), 'destroyed-buffer', /parameter 'w'/);
    await refused(own({ buffer: make() }, { buffer }), 'destroyed-buffer', /gradient 'w'/);
  });
  test('overlapping views', async () => {
    const buffer = make(1024);
    await refused(own({ buffer }, { buffer, offset: 256 }), 'overlapping-views', /each its own/);
    const a = { shape, parameter: { buffer }, gradient: { buffer: make() } };
    await refused({ a, w: { ...a, gradient: { buffer: make() } } }, 'overlapping-views', /'a'/);
  });
  test('a view that begins where none may', async () => {
    await refused(own({ buffer: make(1024), offset: 64 }), 'misaligned-view', /multiple of 256/);
  });
  test('a missing gradient', async () => {
    await refused({ w: { shape, parameter: { buffer: make() } } }, 'missing-gradient', /gradient/);
    const optimizer = await WebGpuAdan.create(device, { w: { shape } });
    expect(() => optimizer.step(undefined, ['v'])).toThrow(/'v'.*'w'/);
  });
  test('values that do not fit the shape, and a tensor beyond every limit', async () => {
    await refused({ w: { shape, values: new Float32Array(3) } }, 'wrong-shape', /3 values.*16/);
    await refused({ w: { shape: [2 ** 32] } }, 'tensor-too-large', /maxStorageBufferBindingSize/);
  });

  test('more than a device can bind', async () => {
    const groups = Array.from({ length: 900 }, () => ({ parameters: () => false }));
    const make = (options: object) => WebGpuAdan.create(device, inArena(), options);
    await expect(make({ groups })).rejects.toMatchObject({ code: 'too-many-groups' });
    await expect(make({ groups })).rejects.toThrow(/maxUniformBufferBindingSize.*fewer groups/);
    const wide = make({ betas: [0.9, 0.92, 0.99], averages: true });
    await expect(wide).rejects.toMatchObject({ code: 'too-many-buffers', value: 9 });
    await expect(wide).rejects.toThrow(/evaluate\(\)/);
  });

  test("a user's buffer that is destroyed in the middle is named by the next reading", async () => {
    const buffer = make();
    const optimizer = await WebGpuAdan.create(device, own({ buffer }));
    optimizer.step();
    await optimizer.metrics();
    buffer.destroy();
    optimizer.step();
    await expect(optimizer.metrics()).rejects.toMatchObject({ code: 'destroyed-buffer' });
  });
});

test('dispose frees every byte, also with x in the parameters, and only once', async () => {
  const optimizer = await train(device, inArena(), everything);
  optimizer.evaluate();
  optimizer.eval();
  expect(optimizer.gpuBytes).toBeGreaterThan(0);
  optimizer.dispose();
  optimizer.dispose();
  expect(optimizer.gpuBytes).toBe(0);
  expect(() => optimizer.step()).toThrow(/disposed/);
  expect(() => optimizer.evaluate()).toThrow(/disposed/);
});
