import {
  type AttributeValue,
  type Model,
  makeNode,
  makeTensor,
  makeValueInfo,
  type Node,
  type Tensor,
} from '@schedule-free-adan/onnx/model';
import type { Shape } from './settings.js';

/** Appends nodes and tensors to a graph, in the order in which they are computed. */
class Builder {
  readonly nodes: Node[] = [];
  readonly tensors: Tensor[] = [];
  /** Begins the names of what is appended. */
  scope = '';

  op(opType: string, input: string[], attributes?: Record<string, AttributeValue>): string {
    const output = `${this.scope}${opType}_${this.nodes.length}`;
    this.nodes.push(makeNode(opType, input, [output], attributes, { name: output }));
    return output;
  }
  parameter(name: string, ...shape: number[]): string {
    const size = shape.reduce((a, b) => a * b, 1);
    this.tensors.push(makeTensor(name, 'float32', shape, new Float32Array(size)));
    return name;
  }
  number(name: string, value: number): string {
    this.tensors.push(makeTensor(name, 'float32', [], [value]));
    return name;
  }
  shape(value: string, ...extents: number[]): string {
    const name = `[${extents}]`;
    if (!this.tensors.some((t) => t.name === name)) {
      this.tensors.push(makeTensor(name, 'int64', [extents.length], extents));
    }
    return this.op('Reshape', [value, name]);
  }
  /** y = x · W + b */
  linear(name: string, x: string, from: number, to: number): string {
    const product = this.op('MatMul', [x, this.parameter(`${name}.weight`, from, to)]);
    return this.op('Add', [product, this.parameter(`${name}.bias`, to)]);
  }
  norm(name: string, x: string, width: number): string {
    const scale = this.parameter(`${name}.scale`, width);
    const bias = this.parameter(`${name}.bias`, width);
    return this.op('LayerNormalization', [x, scale, bias], { axis: -1 });
  }
}

/**
 * A decoder-only transformer in standard operators (operator set 20), its weights all zero: characters
 * [n, context] to the logits of the characters that follow, [n, context, characters]. The embedding is
 * also the matrix that the logits are made with.
 */
export function languageModel(characters: number, { context, width, heads, layers }: Shape): Model {
  const b = new Builder();
  const depth = width / heads;
  // What a character may look at: itself and what stands before it.
  b.tensors.push(
    makeTensor(
      'mask',
      'float32',
      [context, context],
      Array.from({ length: context ** 2 }, (_, k) =>
        k % context > Math.floor(k / context) ? -1e9 : 0,
      ),
    ),
  );
  b.number('scale', 1 / Math.sqrt(depth));
  const embedding = b.parameter('embedding', characters, width);
  const positions = b.parameter('positions', context, width);
  let x = b.op('Add', [b.op('Gather', [embedding, 'tokens']), positions]);
  for (let layer = 0; layer < layers; layer++) {
    const name = `layer${layer}`;
    b.scope = `${name}/`;
    const seen = b.norm(`${name}.attention.norm`, x, width);
    const all = b.linear(`${name}.attention.in`, seen, width, 3 * width);
    const split = b.op('Transpose', [b.shape(all, -1, context, 3 * heads, depth)], {
      perm: [0, 2, 1, 3],
    });
    const [q, k, v] = ['q', 'k', 'v'].map((part) => `${name}.${part}`) as [string, string, string];
    const thirds = { axis: 1, num_outputs: 3 };
    b.nodes.push(makeNode('Split', [split], [q, k, v], thirds, { name: `${name}/split` }));
    const products = b.op('MatMul', [q, b.op('Transpose', [k], { perm: [0, 1, 3, 2] })]);
    const scores = b.op('Add', [b.op('Mul', [products, 'scale']), 'mask']);
    const mixed = b.op('MatMul', [b.op('Softmax', [scores], { axis: -1 }), v]);
    const joined = b.shape(b.op('Transpose', [mixed], { perm: [0, 2, 1, 3] }), -1, context, width);
    x = b.op('Add', [x, b.linear(`${name}.attention.out`, joined, width, width)]);
    const rested = b.norm(`${name}.mlp.norm`, x, width);
    const hidden = b.op('Gelu', [b.linear(`${name}.mlp.in`, rested, width, 4 * width)]);
    x = b.op('Add', [x, b.linear(`${name}.mlp.out`, hidden, 4 * width, width)]);
  }
  b.scope = '';
  const turned = b.op('Transpose', [embedding], { perm: [1, 0] });
  const features = b.norm('norm', x, width);
  b.nodes.push(makeNode('MatMul', [features, turned], ['logits'], {}, { name: 'logits' }));
  return {
    irVersion: 9,
    opsetImport: [{ domain: '', version: 20 }],
    graph: {
      name: 'language model',
      node: b.nodes,
      initializer: b.tensors,
      input: [makeValueInfo('tokens', 'int32', ['n', context])],
      output: [makeValueInfo('logits', 'float32', ['n', context, characters])],
    },
  };
}

/** Those of its initializers that are trained. */
export const isParameter = (name: string): boolean => !/^(mask|scale|\[)/.test(name);
