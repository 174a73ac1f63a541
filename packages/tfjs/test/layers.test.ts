import '@tensorflow/tfjs-backend-cpu';
import { scheduleFreeAdan as core } from '@schedule-free-adan/core';
import { decodeCheckpoint } from '@schedule-free-adan/core/checkpoints';
import { ReferenceBackend, type ReferenceTensor } from '@schedule-free-adan/core/reference';
import { scheduleFreeAdan } from '@schedule-free-adan/tfjs';
import { data } from '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { inputs, makeModel, options, targets, weights } from './scenarios.js';

const compile = (model: tfl.LayersModel, optimizer = scheduleFreeAdan(options)) => {
  model.compile({ optimizer, loss: 'meanSquaredError' });
  return optimizer;
};

/** The loss with the variables as they are, without the Layers API. */
const lossByHand = (model: tfl.LayersModel, x: tf.Tensor, y: tf.Tensor): number =>
  tf.tidy(() => tf.losses.meanSquaredError(y, model.predict(x) as tf.Tensor).dataSync()[0]!);

beforeEach(async () => {
  await tf.setBackend('cpu');
  tf.disposeVariables();
});
afterEach(() => {
  tf.disposeVariables();
});

function expectClose(actual: unknown, expected: readonly number[]) {
  expect(actual).toHaveLength(expected.length);
  expected.forEach((value, i) => {
    expect((actual as number[])[i]).toBeCloseTo(value, 6);
  });
}

/** The model is evaluated at x, and x differs from y, or the comparison would prove nothing. */
function expectAtX(optimizer: ReturnType<typeof scheduleFreeAdan>, model: tfl.LayersModel) {
  const x = optimizer.evalParameters();
  const y = optimizer.trainParameters();
  const held = weights(model).flat();
  expect(Object.values(x).flatMap((t) => [...t.dataSync()])).toEqual(held);
  expect(Object.values(y).flatMap((t) => [...t.dataSync()])).not.toEqual(held);
  tf.dispose([x, y]);
}

describe('val_loss is the loss at x in every epoch', () => {
  const [x, y] = [inputs(), targets()];
  const [head, tail] = [x.slice([0, 0], [36, 3]), x.slice([36, 0], [12, 3])];
  const [headY, tailY] = [y.slice([0, 0], [36, 1]), y.slice([36, 0], [12, 1])];

  const byHand = (model: tfl.LayersModel, optimizer: ReturnType<typeof scheduleFreeAdan>) => {
    const losses: number[] = [];
    const callbacks = {
      onEpochEnd: async () => {
        expectAtX(optimizer, model);
        losses.push(lossByHand(model, tail, tailY));
      },
    };
    return { losses, callbacks };
  };

  test('with validationData', async () => {
    const model = makeModel();
    const { losses, callbacks } = byHand(model, compile(model));
    const { history } = await model.fit(head, headY, {
      epochs: 4,
      batchSize: 8,
      validationData: [tail, tailY],
      callbacks,
    });
    expect(history.val_loss).toHaveLength(4);
    expectClose(history.val_loss, losses);
  });

  test('with validationSplit', async () => {
    const model = makeModel();
    const { losses, callbacks } = byHand(model, compile(model));
    const { history } = await model.fit(x, y, {
      epochs: 4,
      batchSize: 8,
      validationSplit: 0.25,
      callbacks,
    });
    expectClose(history.val_loss, losses);
  });

  test('with fitDataset', async () => {
    const model = makeModel();
    const { losses, callbacks } = byHand(model, compile(model));
    const dataset = (a: tf.Tensor, b: tf.Tensor) =>
      data
        .zip({
          xs: data.array(a.arraySync() as number[][]),
          ys: data.array(b.arraySync() as number[][]),
        })
        .batch(12);
    const { history } = await model.fitDataset(dataset(head, headY) as never, {
      epochs: 4,
      validationData: dataset(tail, tailY) as never,
      callbacks,
    });
    expectClose(history.val_loss, losses);
  });

  test('and so for evaluate, predict and EarlyStopping', async () => {
    const model = makeModel();
    const optimizer = compile(model, scheduleFreeAdan({ learningRate: 0.5 }));
    const { history } = await model.fit(head, headY, {
      epochs: 60,
      batchSize: 8,
      validationData: [tail, tailY],
      callbacks: tfl.callbacks.earlyStopping({ monitor: 'val_loss', patience: 2 }),
    });
    const losses = history.val_loss as number[];
    expect(losses.length).toBeLessThan(60);
    expectAtX(optimizer, model);
    const evaluated = model.evaluate(tail, tailY) as tf.Scalar;
    expect(evaluated.dataSync()[0]).toBeCloseTo(losses.at(-1)!, 6);
  });
});

describe('saving with the optimizer', () => {
  const save = async (model: tfl.LayersModel): Promise<tf.io.ModelArtifacts> => {
    let saved: tf.io.ModelArtifacts | undefined;
    await model.save(
      tf.io.withSaveHandler(async (artifacts) => {
        saved = artifacts;
        return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' } };
      }),
      { includeOptimizer: true },
    );
    return saved!;
  };
  const fit = (model: tfl.LayersModel, epochs: number) =>
    model.fit(inputs(), targets(), { epochs, batchSize: 8, shuffle: false });

  test('training goes on exactly as if never stopped', async () => {
    const model = makeModel();
    compile(model);
    await fit(model, 3);
    const artifacts = await save(model);
    await fit(model, 3);

    const loaded = await tfl.loadLayersModel(tf.io.fromMemory(artifacts));
    expect(loaded.optimizer.getConfig()).toMatchObject({
      ...options,
      decay: 'y',
      betas: [0, 0.92, 0.99],
    });
    const { history } = await fit(loaded, 3);
    expect(weights(loaded)).toEqual(weights(model));
    expect(history.loss).toHaveLength(3);

    // Loaded variables have names of their own; a second round trip must still find its state.
    const again = await tfl.loadLayersModel(tf.io.fromMemory(await save(loaded)));
    await fit(again, 2);
    await fit(model, 2);
    expect(weights(again)).toEqual(weights(model));
  });

  test('also with groups, and when saved before anything was trained after loading', async () => {
    const model = makeModel();
    compile(
      model,
      scheduleFreeAdan({
        ...options,
        maxGradNorm: 1,
        groups: [
          { parameters: (name) => name.includes('bias'), weightDecay: 0, learningRate: 0.1 },
        ],
      }),
    );
    await fit(model, 2);
    const loaded = await tfl.loadLayersModel(tf.io.fromMemory(await save(model)));
    const twice = await tfl.loadLayersModel(tf.io.fromMemory(await save(loaded)));
    await fit(model, 2);
    await fit(twice, 2);
    expect(weights(twice)).toEqual(weights(model));
  });

  test('weights that were changed after loading are kept, and training goes on from them', async () => {
    const model = makeModel();
    compile(model);
    await fit(model, 3);
    const loaded = await tfl.loadLayersModel(tf.io.fromMemory(await save(model)));
    const changed = loaded.getWeights().map((w) => tf.add(w, 1));
    loaded.setWeights(changed);
    (loaded.optimizer as ReturnType<typeof scheduleFreeAdan>).addVariables(
      loaded.trainableWeights.map((w) => w.read() as tf.Variable),
    );
    expect(weights(loaded)).toEqual(changed.map((w) => [...w.dataSync()]));
  });
});

describe('an average of several clients that arrives in the middle of fitDataset', () => {
  test.each(['eval', 'train'] as const)(
    'becomes the value; z moves along (mode %s)',
    async (mode) => {
      const model = makeModel();
      const optimizer = compile(model);
      const state = async () => decodeCheckpoint(await optimizer.saveCheckpoint()).tensors;
      const moves: [Awaited<ReturnType<typeof state>>, Awaited<ReturnType<typeof state>>][] = [];
      const onBatchEnd = async (batch: number) => {
        if (batch !== 1) return;
        if (mode === 'train') optimizer.train();
        const before = await state();
        const held = weights(model).flat();
        const count = tf.memory().numTensors;
        const average = model.getWeights().map((w, i) => tf.add(w, (i + 1) / 8));
        model.setWeights(average);
        tf.dispose(average);
        moves.push([before, await state()]);
        const after = weights(model).flat();
        expect(after).not.toEqual(held);
        expect(tf.memory().numTensors).toBe(count);
        optimizer.eval();
      };
      const rows = data.array(inputs().arraySync() as number[][]);
      const answers = data.array(targets().arraySync() as number[][]);
      const dataset = data.zip({ xs: rows, ys: answers }).batch(16);
      await model.fitDataset(dataset, { epochs: 3, verbose: 0, callbacks: { onBatchEnd } });

      expect(moves).toHaveLength(3);
      for (const [before, after] of moves) {
        [...before].forEach(([name, old], i) => {
          const now = after.get(name)!;
          expectClose(
            [...now.x!.data],
            [...old.x!.data].map((value) => value + (i + 1) / 8),
          );
          expectClose(
            [...now.z!.data],
            [...old.z!.data].map((value) => value + (i + 1) / 8),
          );
          for (const key of ['v', 'n', 'g'] as const)
            expect(now[key]!.data).toEqual(old[key]!.data);
        });
        expect([...before.values()].some(({ x, z }) => x!.data[0] !== z!.data[0])).toBe(true);
      }
    },
  );
});

describe('layers that are frozen and unfrozen', () => {
  test('keep their state, and the others theirs', async () => {
    const model = makeModel();
    const optimizer = compile(model);
    const fit = () => model.fit(inputs(), targets(), { epochs: 2, batchSize: 16, shuffle: false });
    await fit();
    const [first] = model.layers;
    const kernel = () => [...first!.getWeights()[0]!.dataSync()];
    const before = kernel();
    first!.trainable = false;
    model.compile({ optimizer, loss: 'meanSquaredError' });
    await fit();
    expect(kernel()).toEqual(before);
    first!.trainable = true;
    model.compile({ optimizer, loss: 'meanSquaredError' });
    const { history } = await fit();
    expect(kernel()).not.toEqual(before);
    expect(Number.isFinite(history.loss!.at(-1))).toBe(true);
    expectAtX(optimizer, model);
  });

  test('a frozen layer is used at x, not at y, while the others take gradients', async () => {
    const model = makeModel();
    const optimizer = compile(model);
    await model.fit(inputs(), targets(), { epochs: 2, batchSize: 16, shuffle: false });
    const [first, second] = model.layers;
    const x = [...first!.getWeights()[0]!.dataSync()];
    const trainable = second!.trainableWeights.map((w) => w.read() as tf.Variable);
    let seen: number[] = [];
    const xs = inputs();
    const { value, grads } = optimizer.computeGradients(() => {
      seen = [...first!.getWeights()[0]!.dataSync()];
      return tf.mean(model.apply(xs) as tf.Tensor) as tf.Scalar;
    }, trainable);
    expect(seen).toEqual(x);
    tf.dispose([value, grads]);
  });
});

describe('models that share layers', () => {
  /** Two models over one layer, each with a head of its own, and the variables that each trains. */
  const pair = () => {
    const dense = (units: number, seed: number) =>
      tfl.layers.dense({ units, kernelInitializer: tfl.initializers.glorotNormal({ seed }) });
    const input = tfl.input({ shape: [3] });
    const trunk = dense(4, 1).apply(input) as tfl.SymbolicTensor;
    const outputs = [2, 3].map((seed) => dense(1, seed).apply(trunk) as tfl.SymbolicTensor);
    const models = outputs.map((output) => tfl.model({ inputs: input, outputs: output }));
    return { models, both: tfl.model({ inputs: input, outputs }) };
  };
  const variablesOf = (model: tfl.LayersModel) =>
    model.trainableWeights.map((w) => w.read() as tf.Variable);
  const tasks = () => [targets(), tf.neg(targets())];
  const loss = (model: tfl.LayersModel, x: tf.Tensor, y: tf.Tensor) =>
    tf.losses.meanSquaredError(y, model.apply(x) as tf.Tensor) as tf.Scalar;

  /** The same steps by the float64 optimizer of the core, which knows variables by name only. */
  const oracle = (variables: readonly tf.Variable[]) => {
    const backend = new ReferenceBackend();
    const values = variables.map(
      (v) => [v.name, backend.upload(Float64Array.from(v.dataSync()), v.shape)] as const,
    );
    const optimizer = core(backend, values, options);
    const put = (v: tf.Variable, tensor: ReferenceTensor) =>
      v.assign(tf.tensor(Float32Array.from(backend.downloadSync(tensor)), v.shape));
    return {
      step(loss: () => tf.Scalar, own: tf.Variable[]) {
        for (const v of own) put(v, optimizer.parameter(v.name));
        const { grads } = tf.variableGrads(loss, own);
        const gradients = Object.entries(grads).map(([name, g]) => [
          name,
          backend.upload(Float64Array.from(g.dataSync()), g.shape),
        ]);
        optimizer.step(Object.fromEntries(gradients));
      },
      end() {
        const x = optimizer.evalParameters();
        for (const v of variables) put(v, x[v.name]!);
      },
    };
  };
  const expectSame = (actual: tfl.LayersModel, expected: tfl.LayersModel) => {
    const values = weights(expected).flat();
    expect(values).toHaveLength(26);
    for (const [i, value] of weights(actual).flat().entries())
      expect(value).toBeCloseTo(values[i]!, 5);
  };

  test('each compiled with the same optimizer: the shared state goes on from one to the other', async () => {
    const [x, y] = [inputs(), tasks()];
    const [fitted, byHand] = [pair(), pair()];
    const optimizer = scheduleFreeAdan(options);
    const own = oracle(variablesOf(byHand.both));
    for (const model of fitted.models) compile(model, optimizer);
    for (let round = 0; round < 3; round++) {
      for (const [i, model] of fitted.models.entries()) {
        await model.fit(x, y[i]!, { epochs: 2, batchSize: 48, shuffle: false });
        const mine = byHand.models[i]!;
        for (let k = 0; k < 2; k++) own.step(() => loss(mine, x, y[i]!), variablesOf(mine));
      }
    }
    own.end();
    expectSame(fitted.both, byHand.both);
  });

  test('one optimizer over both at once: minimize, and a model with two outputs', async () => {
    const [x, y] = [inputs(), tasks()];
    const [fitted, minimized, byHand] = [pair(), pair(), pair()];
    const joint = ({ models }: ReturnType<typeof pair>) => {
      const [first, second] = models.map((model, i) => loss(model, x, y[i]!));
      return tf.add(first!, second!) as tf.Scalar;
    };
    fitted.both.compile({
      optimizer: scheduleFreeAdan(options),
      loss: ['meanSquaredError', 'meanSquaredError'],
    });
    await fitted.both.fit(x, y, { epochs: 5, batchSize: 48, shuffle: false });
    const optimizer = scheduleFreeAdan(options);
    const own = oracle(variablesOf(byHand.both));
    for (let k = 0; k < 5; k++) {
      optimizer.minimize(() => joint(minimized), false, variablesOf(minimized.both));
      own.step(() => joint(byHand), variablesOf(byHand.both));
    }
    own.end();
    expectSame(fitted.both, byHand.both);
    expectSame(minimized.both, byHand.both);
  });
});

test('no tensor leaks: minimize, fit and fitDataset keep the count, dispose() brings it back', async () => {
  const model = makeModel();
  const [x, y] = [inputs(), targets()];
  const before = tf.memory().numTensors;
  const optimizer = compile(model);
  const step = () =>
    optimizer.minimize(
      () => tf.losses.meanSquaredError(y, model.apply(x) as tf.Tensor) as tf.Scalar,
    );
  step();
  step();
  const count = tf.memory().numTensors;
  for (let i = 0; i < 50; i++) step();
  expect(tf.memory().numTensors).toBe(count);
  tf.tidy(() => {
    step();
  });
  expect(tf.memory().numTensors).toBe(count);
  await model.fit(x, y, { epochs: 2, batchSize: 8 });
  const dataset = data.zip({
    xs: data.array(x.arraySync() as number[][]),
    ys: data.array(y.arraySync() as number[][]),
  });
  await model.fitDataset(dataset.batch(8) as never, { epochs: 2 });
  expect(tf.memory().numTensors).toBe(count);
  optimizer.dispose();
  expect(tf.memory().numTensors).toBe(before);
  expect(() => step()).toThrow('disposed');
});

describe('loops of your own', () => {
  test('tf.variableGrads between train() and eval() equals minimize', () => {
    const run = (manual: boolean) => {
      const w = tf.variable(tf.tensor1d([1, -2, 3]), true, manual ? 'manual' : 'minimized');
      const optimizer = scheduleFreeAdan({ learningRate: 0.1 });
      const loss = () => tf.sum(tf.square(tf.sub(w, [0.5, 0.5, 0.5]))) as tf.Scalar;
      for (let i = 0; i < 5; i++) {
        if (!manual) {
          optimizer.minimize(loss, false, [w]);
          continue;
        }
        optimizer.train();
        const { value, grads } = tf.variableGrads(loss, [w]);
        optimizer.applyGradients(grads);
        tf.dispose([value, grads]);
      }
      optimizer.eval();
      return [...w.dataSync()];
    };
    expect(run(true)).toEqual(run(false));
  });

  test('a loss that throws leaves x in the variables', () => {
    const w = tf.variable(tf.tensor1d([1, -2, 3]), true, 'w');
    const optimizer = scheduleFreeAdan({ learningRate: 0.1 });
    const loss = () => tf.sum(tf.square(w)) as tf.Scalar;
    optimizer.minimize(loss);
    optimizer.minimize(loss);
    const x = [...w.dataSync()];
    expect(() =>
      optimizer.minimize(() => {
        expect([...w.dataSync()]).not.toEqual(x);
        throw new Error('on purpose');
      }),
    ).toThrow('on purpose');
    expect([...w.dataSync()]).toEqual(x);
  });

  test('a variable that somebody assigns to goes on from its value', () => {
    const w = tf.variable(tf.tensor1d([1, -2, 3]), true, 'w');
    const optimizer = scheduleFreeAdan({ learningRate: 0.1 });
    const loss = () => tf.sum(tf.square(w)) as tf.Scalar;
    for (let i = 0; i < 3; i++) optimizer.minimize(loss);
    const [x, y] = [[...w.dataSync()], [...optimizer.trainParameters().w!.dataSync()]];
    w.assign(tf.tensor1d([7, 7, 7]));
    const { value, grads } = optimizer.computeGradients(loss);
    expectClose([...w.dataSync()], [7, 7, 7]);
    // The gradient of w² is 2w: it was taken at y, which is as far from the new x as from the old one.
    const expected = x.map((before, i) => 2 * (7 + y[i]! - before));
    grads.w!.dataSync().forEach((g, i) => {
      expect(g).toBeCloseTo(expected[i]!, 5);
    });
    expect(expected[0]).not.toBeCloseTo(14, 4);
    tf.dispose([value, grads]);
  });

  test('a new variable of an old name does not inherit its state', () => {
    const optimizer = scheduleFreeAdan({ learningRate: 0.1 });
    const minimize = (w: tf.Variable) =>
      optimizer.minimize(() => tf.sum(tf.square(w)) as tf.Scalar, false, [w]);
    const first = tf.variable(tf.tensor1d([1, 2]), true, 'w');
    minimize(first);
    first.dispose();
    const second = tf.variable(tf.tensor1d([1, 2, 3]), true, 'w');
    minimize(second);
    expect(second.dataSync()[2]).toBeLessThan(3);
    expect(second.shape).toEqual([3]);
  });

  test('a user’s array and gradients are not written to', () => {
    const array = Float32Array.of(1, -2, 3);
    const w = tf.variable(tf.tensor1d(array), true, 'w');
    const before = w.dataSync()[0];
    const optimizer = scheduleFreeAdan({ learningRate: 0.1, maxGradNorm: 0.1 });
    const gradient = tf.tensor1d([1, 1, 1]);
    for (let i = 0; i < 3; i++) optimizer.applyGradients({ w: gradient });
    expect(w.dataSync()[0]).not.toBe(before);
    expect([...array]).toEqual([1, -2, 3]);
    expect([...gradient.dataSync()]).toEqual([1, 1, 1]);
  });

  test('a learning rate of your own, from step to step', () => {
    const w = tf.variable(tf.scalar(1), true, 'w');
    const optimizer = scheduleFreeAdan({ learningRate: 0.1 });
    optimizer.applyGradients({ w: tf.scalar(1) });
    const before = w.dataSync()[0]!;
    optimizer.learningRate = 0;
    expect(optimizer.learningRate).toBe(0);
    optimizer.applyGradients({ w: tf.scalar(1) });
    expect(w.dataSync()[0]).toBe(before);
    expect(() => {
      optimizer.learningRate = -1;
    }).toThrow('learningRate is -1; give a finite number ≥ 0.');
  });
});

describe('slips of those who write JavaScript', () => {
  test('a learning rate alone, as tf.train.adam takes it, is not lost without a word', () => {
    const options = 0.1 as unknown as { learningRate: number };
    expect(() => scheduleFreeAdan(options)).toThrow(
      'The options are 0.1; give an object, as in { learningRate: 0.03 }.',
    );
  });

  test('a checkpoint that nobody awaited', () => {
    const w = tf.variable(tf.tensor1d([1, 2]), true, 'w');
    const optimizer = scheduleFreeAdan();
    optimizer.addVariables([w]);
    const promise = optimizer.saveCheckpoint() as unknown as Uint8Array;
    expect(() => optimizer.loadCheckpoint(promise, [w])).toThrow(
      'The checkpoint is [object Promise]; give a Uint8Array, such as saveCheckpoint() resolves to.',
    );
    optimizer.dispose();
  });
});
