import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as ortNode from 'onnxruntime-node';
import * as ortWeb from 'onnxruntime-web';
import { describe, expect, test } from 'vitest';
import {
  makeTrainable,
  meanSquaredError,
  type NodeChoice,
  type TrainableModel,
} from '../src/autodiff/index.js';
import {
  decodeModel,
  encodeModel,
  type Model,
  makeNode,
  makeTensor,
  makeValueInfo,
  type Node,
} from '../src/model/index.js';
import type { OrtModule } from '../src/runtime.js';
import { noise } from './support.js';

ortWeb.env.wasm.numThreads = 1;

const [width, blocks] = [6, 3];

/** x → x + W·gelu(softmax(norm(x))·V), three times. */
function stack(): Model {
  const nodes: Node[] = [];
  const initializer = [];
  const weights = (name: string, shape: number[], seed: number) =>
    makeTensor(
      name,
      'float32',
      shape,
      noise(
        shape.reduce((a, b) => a * b, 1),
        seed,
      ),
    );
  const op = (block: number, opType: string, input: string[]) => {
    const output = `block${block}/${opType}_${nodes.length}`;
    nodes.push(makeNode(opType, input, [output], {}, { name: output }));
    return output;
  };
  let x = 'x';
  for (let k = 0; k < blocks; k++) {
    const [s, b, v, w] = ['s', 'b', 'v', 'w'].map((name) => `${name}${k}`);
    initializer.push(
      weights(s!, [width], 4 * k + 1),
      weights(b!, [width], 4 * k + 2),
      weights(v!, [width, 8], 4 * k + 3),
      weights(w!, [8, width], 4 * k + 4),
    );
    const hat = op(k, 'LayerNormalization', [x, s!, b!]);
    const hidden = op(k, 'Gelu', [op(k, 'MatMul', [op(k, 'Softmax', [hat]), v!])]);
    x = op(k, 'Add', [x, op(k, 'MatMul', [hidden, w!])]);
  }
  return {
    irVersion: 9,
    opsetImport: [{ domain: '', version: 20 }],
    graph: {
      name: 'stack',
      node: nodes,
      initializer,
      input: [makeValueInfo('x', 'float32', ['n', width])],
      output: [makeValueInfo(x, 'float32', ['n', width])],
    },
  };
}

/** The model with its gradients as outputs, as a file. */
const withGradients = ({ model, gradients, loss }: TrainableModel) =>
  encodeModel({
    ...model,
    graph: {
      ...model.graph,
      output: [loss, ...Object.values(gradients)].map((name) => ({ name })),
    },
  });

async function gradientsOf(ort: OrtModule, recompute: NodeChoice | readonly NodeChoice[]) {
  const trainable = await makeTrainable(stack(), { ort, loss: meanSquaredError(), recompute });
  const session = await ort.InferenceSession.create(withGradients(trainable));
  const tensor = (seed: number) => new ort.Tensor('float32', noise(5 * width, seed), [5, width]);
  const results = await session.run({ x: tensor(101), target: tensor(102) });
  await session.release();
  const found = Object.entries(trainable.gradients).map(([name, value]) => [
    name,
    [...(results[value]!.data as Float32Array)],
  ]);
  return { loss: results[trainable.loss]!.data[0], ...Object.fromEntries(found) };
}

describe.each([
  ['node', ortNode as OrtModule],
  ['wasm', ortWeb as OrtModule],
])('on %s', (_, ort) => {
  const choices: [string, NodeChoice | readonly NodeChoice[]][] = [
    ['each block', [/^block0/, /^block1/, /^block2/]],
    ['two of three blocks as one', /^block[01]/],
    ['one operator everywhere', (_name, opType) => opType === 'Softmax'],
    ['everything', () => true],
  ];
  test.each(choices)('recomputing %s gives the same gradients, bit for bit', async (_, choice) => {
    const kept = await gradientsOf(ort, []);
    expect(Object.keys(kept)).toHaveLength(1 + 4 * blocks);
    expect(await gradientsOf(ort, choice)).toEqual(kept);
  });
});

test('the runtime does not merge what is computed again with what was computed before', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'recompute-'));
  const count = async (recompute: NodeChoice[], opType: string) => {
    const trainable = await makeTrainable(stack(), {
      ort: ortNode,
      loss: meanSquaredError(),
      recompute,
      dimensions: { n: 5 },
    });
    const path = join(folder, 'optimized.onnx');
    const session = await ortNode.InferenceSession.create(withGradients(trainable), {
      graphOptimizationLevel: 'all',
      optimizedModelFilePath: path,
    });
    await session.release();
    const { graph } = decodeModel(readFileSync(path));
    return graph!.node!.filter((node) => node.opType!.includes(opType)).length;
  };
  try {
    expect(await count([], 'Softmax')).toBe(blocks);
    expect(await count([/^block0/, /^block1/, /^block2/], 'Softmax')).toBe(2 * blocks);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a choice that meets no node is refused', async () => {
  const run = makeTrainable(stack(), {
    ort: ortNode,
    loss: meanSquaredError(),
    recompute: ['block9'],
  });
  await expect(run).rejects.toMatchObject({ code: 'invalid-option', value: 'block9' });
});
