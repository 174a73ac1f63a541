import { stepKernel } from '@schedule-free-adan/core/interpreters';
import {
  initialScalars,
  type RuleForm,
  ruleForm,
  scheduleFreeDefaults,
} from '@schedule-free-adan/core/rule';
import {
  grid,
  jointForms,
  numberSets,
  statements,
  sumOfSquares,
  WgslPrimitives,
} from '@schedule-free-adan/core/wgsl';
import { describe, expect, test } from 'vitest';

const form = ruleForm(scheduleFreeDefaults, 'y');

describe('WGSL', () => {
  test('of a kernel: numbers, inputs, the rule in words of its own, outputs', () => {
    const kernel = stepKernel(form, { clipping: true, clipKnown: 'device', averages: true });
    const text = statements(
      kernel,
      (name) => `read_${name}`,
      (name, value) => `write_${name}(${value});`,
    );
    const lines = text.split('\n').map((line) => line.trim());
    for (const name of [...kernel.numbers, ...kernel.inputs]) {
      expect(lines).toContain(`let ${name === 'g' ? 'previous' : name} = read_${name};`);
    }
    expect(lines).toContain('let clipped = clip * gradient;');
    expect(lines).toContain('let difference = clipped - previous;');
    expect(lines.at(-1)).toBe('write_x((newParameter - oneMinusMomentum * newZ) / momentum);');
    expect(lines.filter((line) => line.startsWith('write_'))).toHaveLength(6);
  });

  test('reads a number of one set in place, of a few by choice, of many by index', () => {
    const read = (sets: number) => numberSets('c', ['beta2'], sets).read('beta2');
    expect(read(1)).toBe('c[0].beta2');
    expect(read(3)).toBe(
      'select(select(c[0].beta2, c[1].beta2, which == 1), c[2].beta2, which == 2)',
    );
    expect(read(5)).toBe('c[which].beta2');
  });

  test('of a sum of squares looks at the bits of exponents only when asked to, and meets nobody', () => {
    expect(sumOfSquares('values', true, true)).toContain('0x7f800000');
    expect(sumOfSquares('values', true, false)).not.toContain('0x7f800000');
    expect(sumOfSquares('values', false, true)).not.toMatch(/Barrier|mat4x4/);
  });

  test.each([1, 64, 65_535 * 64, 65_535 * 64 + 1, 2 ** 31])('a grid of %i invocations', (count) => {
    const [x, y] = grid(count, 64);
    expect(Math.max(x, y)).toBeLessThanOrEqual(65_535);
    expect(x * y * 64).toBeGreaterThanOrEqual(count);
    expect(x * y * 64 - count).toBeLessThan(64 * y);
  });

  test('primitives are shaders that a backend runs', () => {
    class Recorder extends WgslPrimitives<string> {
      protected override run(code: string, operands: readonly string[], ofNone?: number): string {
        return `${code}\n// ${operands} ${ofNone}`;
      }
    }
    const backend = new Recorder();
    expect(backend.add('p', 'q')).toMatch(/result\[i\] = a \+ b;[\s\S]*\/\/ p,q undefined$/);
    expect(backend.select('s', 'p', 'q')).toMatch(/select\(b, a, c != 0\)[\s\S]*\/\/ p,q,s/);
    expect(backend.sumOfSquares('p')).toMatch(/result\[0\] = total\.x;[\s\S]*\/\/ p 0$/);
    expect(backend.allFinite('p')).toMatch(/\/\/ p 1$/);
    expect(backend.point('y', 'z', 0.5, 'x')).toContain('result[i] = (a - 0.5f * b) / 0.5f;');
    expect(backend.point('x', 'z', 0.5, 'y')).toContain('result[i] = 0.5f * a + 0.5f * b;');
  });
});

describe('forms of several groups', () => {
  const group = () => ({ hyperparameters: scheduleFreeDefaults, scalars: initialScalars });
  const joined = (...decays: RuleForm['decay'][]) =>
    [...jointForms(decays.map((decay) => ({ group: group(), form: { ...form, decay } })))].map(
      ([, { decay }]) => decay,
    );

  test('without decay join those with decay, if these agree', () => {
    expect(joined('none', 'none')).toEqual(['none', 'none']);
    expect(joined('none', 'z', 'z')).toEqual(['z', 'z', 'z']);
    expect(joined('none', 'z', 'y')).toEqual(['none', 'z', 'y']);
  });
});
