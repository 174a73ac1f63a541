import type { Backend } from '@schedule-free-adan/core';
import { type Check, type Context, ensure } from '../check.js';
import { normals, randomNumbers } from '../samples.js';
import { largest } from '../ulps.js';

type Binary = 'add' | 'sub' | 'mul' | 'div';
const exact: Record<Binary, (a: number, b: number) => number> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
};
/** Division and square root may be 2.5 ulp off in WGSL; sums, differences and products are exact. */
const allowed: Record<Binary, number> = { add: 1, sub: 1, mul: 1, div: 3 };

const operands: Record<string, readonly [readonly number[], readonly number[]]> = {
  'same shape': [
    [5, 7],
    [5, 7],
  ],
  'scalar right': [[5, 7], []],
  'scalar left': [[], [35]],
  'two scalars': [[], []],
  empty: [[0], [0]],
  'empty and scalar': [[0], []],
};

async function binary(context: Context, op: Binary): Promise<void> {
  const backend = await context.target.backend!();
  const random = randomNumbers(context.seed);
  for (const [name, [shapeA, shapeB]] of Object.entries(operands)) {
    const values = [shapeA, shapeB].map((shape) =>
      normals(
        shape.reduce((a, b) => a * b, 1),
        random,
      ),
    ) as [Float32Array, Float32Array];
    const [a, b] = values;
    const [ta, tb] = [backend.upload(a, shapeA), backend.upload(b, shapeB)];
    const result = backend[op](ta, tb);
    const shape = shapeA.length > 0 ? shapeA : shapeB;
    const found = backend.inspect(result).shape;
    ensure(
      String(found) === String(shape),
      `${op} of ${name} has shape [${found}], not [${shape}]`,
    );
    const size = shape.reduce((x, y) => x * y, 1);
    const at = (array: Float32Array, i: number) => array[array.length === 1 ? 0 : i]!;
    const expected = Array.from({ length: size }, (_, i) => exact[op](at(a, i), at(b, i)));
    for (const [tensor, before] of [
      [ta, a],
      [tb, b],
    ] as const) {
      const after = await backend.download(tensor);
      ensure(
        after.every((value, i) => value === before[i]),
        `${op} wrote to its argument`,
      );
      backend.dispose(tensor);
    }
    // The operands are gone: the result must not live in their memory.
    context.compare(`${op} of ${name}`, await backend.download(result), expected, {
      ulps: allowed[op],
      scale: 0,
    });
    backend.dispose(result);
  }
}

const withBackend =
  (body: (backend: Backend<unknown>, context: Context) => Promise<void>) =>
  async (context: Context) =>
    body(await context.target.backend!(), context);

const scalarOf = async (backend: Backend<unknown>, tensor: unknown): Promise<number> => {
  const { shape } = backend.inspect(tensor);
  ensure(shape.length === 0, `a reduction has shape [${shape}]; it should be a scalar, []`);
  return (await backend.download(tensor))[0]!;
};

export const primitiveChecks: readonly Check[] = [
  ...(Object.keys(exact) as Binary[]).map(
    (op): Check => ({ id: `primitives/${op}`, tier: 2, run: (context) => binary(context, op) }),
  ),
  {
    id: 'primitives/sqrt',
    tier: 2,
    run: withBackend(async (backend, context) => {
      const values = normals(101, randomNumbers(context.seed)).map((v) => v * v);
      values[0] = 0;
      const roots = backend.sqrt(backend.upload(values, [101]));
      context.compare('sqrt', await backend.download(roots), Array.from(values, Math.sqrt), {
        ulps: 3,
        scale: 0,
      });
    }),
  },
  {
    id: 'primitives/constant',
    tier: 2,
    run: withBackend(async (backend, context) => {
      for (const value of [0, 1, -0.1, 1e-8, 123456.789]) {
        const found = await scalarOf(backend, backend.constant(value));
        context.compare(`constant(${value})`, Float64Array.of(found), [value], {
          ulps: 0.5,
          scale: 0,
        });
      }
    }),
  },
  {
    id: 'primitives/minimum',
    tier: 2,
    run: withBackend(async (backend) => {
      for (const [a, b] of [
        [1, 2],
        [2, 1],
        [-1, 1],
        [0, 1],
        [3, 3],
      ] as const) {
        const found = await scalarOf(
          backend,
          backend.minimum(backend.constant(a), backend.constant(b)),
        );
        ensure(found === Math.min(a, b), `minimum(${a}, ${b}) is ${found}`);
      }
    }),
  },
  {
    id: 'primitives/sum-of-squares',
    tier: 2,
    run: withBackend(async (backend, context) => {
      for (const shape of [[], [0], [1], [7, 9], [4097], [70_001]]) {
        const size = shape.reduce((a, b) => a * b, 1);
        const values = normals(size, randomNumbers(context.seed));
        const found = await scalarOf(backend, backend.sumOfSquares(backend.upload(values, shape)));
        const expected = values.reduce((sum, v) => sum + v * v, 0);
        context.compare(`sumOfSquares of ${size} values`, Float64Array.of(found), [expected], {
          ulps: 4 + 4 * Math.sqrt(size),
          scale: 0,
        });
      }
    }),
  },
  {
    id: 'primitives/all-finite',
    tier: 2,
    run: withBackend(async (backend) => {
      const largestFinite = backend.dtype === 'float32' ? 3.4028234663852886e38 : Number.MAX_VALUE;
      const cases: [string, readonly number[], number][] = [
        ['ordinary values', [1, -2, 0, 3, 5], 1],
        ['nothing', [], 1],
        ['the largest finite numbers', [largestFinite, -largestFinite, largestFinite], 1],
        ['NaN', [1, 2, Number.NaN], 0],
        ['Infinity first', [Number.POSITIVE_INFINITY, 1], 0],
        ['-Infinity last', [1, 1, 1, 1, 1, 1, Number.NEGATIVE_INFINITY], 0],
        ['infinities of both signs', [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY], 0],
      ];
      for (const [name, values, expected] of cases) {
        const tensor = backend.upload(Float64Array.from(values), [values.length]);
        const found = await scalarOf(backend, backend.allFinite(tensor));
        ensure(found === expected, `allFinite of ${name} is ${found}, not ${expected}`);
      }
    }),
  },
  {
    id: 'primitives/select',
    tier: 2,
    run: withBackend(async (backend, context) => {
      const values = [
        normals(19, randomNumbers(context.seed)),
        normals(19, randomNumbers(7)),
      ] as const;
      values[1][3] = Number.NaN;
      for (const condition of [1, 0]) {
        const [a, b] = values.map((v) => backend.upload(v, [19]));
        const chosen = backend.select(backend.constant(condition), a, b);
        backend.dispose(a);
        backend.dispose(b);
        const found = await backend.download(chosen);
        const expected = values[1 - condition]!;
        ensure(
          found.every((value, i) => Object.is(value, expected[i])),
          `select(${condition}, a, b) is not a copy of ${condition ? 'a' : 'b'}`,
        );
      }
    }),
  },
  {
    id: 'primitives/wide-range',
    tier: 2,
    run: withBackend(async (backend, context) => {
      const values = Float32Array.of(1e-30, 1e30, -1e-12, 1e12, 3, -0.5);
      const square = backend.mul(
        backend.upload(values, [6]),
        backend.upload(
          values.map((v) => 1 / v),
          [6],
        ),
      );
      const expected = Array.from(values, (v) => v * Math.fround(1 / v));
      ensure(largest(expected) < 2, 'the sample is wrong');
      context.compare('a · (1/a)', await backend.download(square), expected, { ulps: 1, scale: 0 });
    }),
  },
];
