import type { Algebra, Placement } from '../../update-rule.js';
import { pointKernel } from '../kernel.js';
import { expression, forEach, literal, shader, storage, sumOfSquares, total } from './shader.js';

/**
 * The arithmetic of a backend that runs shaders: all of a backend's primitives but memory. Whoever extends
 * it says how to run a shader on tensors.
 */
export abstract class WgslPrimitives<T> implements Algebra<T> {
  /**
   * Runs a shader with the operands bound to it in order, and then a new tensor, which it returns: for
   * every element of that one invocation, in workgroups of the override constant `workgroupSize`.
   * @param ofNone Given: the new tensor is a scalar, and this if the operand has no elements. Left out: it
   * has the shape of the operands, of which those that are scalars meet every element of the others.
   */
  protected abstract run(code: string, operands: readonly T[], ofNone?: number): T;

  add(a: T, b: T): T {
    return this.#each('a + b', a, b);
  }
  sub(a: T, b: T): T {
    return this.#each('a - b', a, b);
  }
  mul(a: T, b: T): T {
    return this.#each('a * b', a, b);
  }
  div(a: T, b: T): T {
    return this.#each('a / b', a, b);
  }
  minimum(a: T, b: T): T {
    return this.#each('min(a, b)', a, b);
  }
  sqrt(a: T): T {
    return this.#each('sqrt(a)', a);
  }
  select(condition: T, a: T, b: T): T {
    return this.#each('select(b, a, c != 0)', a, b, condition);
  }
  sumOfSquares(a: T): T {
    return this.#all('total.x', a, 0);
  }
  allFinite(a: T): T {
    return this.#all('f32(total.y == 0)', a, 1);
  }
  point(from: T, z: T, momentum: number, to: Placement): T {
    const numbers: Record<string, string> = { from: 'a', z: 'b' };
    const number = (name: string) => literal(name === 'momentum' ? momentum : 1 - momentum);
    const text = expression(pointKernel(to), (name) => numbers[name] ?? number(name));
    return this.#each(text, from, z);
  }

  /** `text`, of a, b and c, for every element. */
  #each(text: string, ...operands: T[]): T {
    const names = ['a', 'b', 'c'].slice(0, operands.length);
    const code = shader(
      ...names.map((name, k) => storage(k, 'read', `all_${name}`, 'f32')),
      storage(names.length, 'read_write', 'result', 'f32'),
      forEach(),
      '  if (i >= arrayLength(&result)) { return; }',
      ...names.map((name) => `  let ${name} = all_${name}[min(i, arrayLength(&all_${name}) - 1)];`),
      `  result[i] = ${text};
}`,
    );
    return this.run(code, operands);
  }

  /** `text`, of the `total` of all elements, in a single workgroup: the plain way. */
  #all(text: string, operand: T, ofNone: number): T {
    const code = total({
      declarations: [
        storage(0, 'read', 'values', 'f32'),
        storage(1, 'read_write', 'result', 'f32'),
        sumOfSquares('values', false, true),
      ],
      count: '64',
      share: 'squares_values(0, arrayLength(&values), k, 64)',
      after: `  result[0] = ${text};`,
    });
    return this.run(code, [operand], ofNone);
  }
}
