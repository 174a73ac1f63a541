import { readFileSync } from 'node:fs';
import { testConformance } from '@schedule-free-adan/conformance/vitest';
import { expect, test } from 'vitest';
import { plainArrays } from '../dist/target.js';

testConformance(plainArrays);

test('the whole backend takes under 80 lines', () => {
  const source = readFileSync(new URL('../src/backend.ts', import.meta.url), 'utf8');
  expect(source.split('\n').length).toBeLessThan(80);
});
