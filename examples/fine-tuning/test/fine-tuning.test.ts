import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const program = fileURLToPath(new URL('../dist/main.js', import.meta.url));
const run = (...args: string[]) =>
  execFileSync(process.execPath, [program, ...args], { encoding: 'utf8', stdio: 'pipe' });

test('a pretrained network learns a new task from a few digits', () => {
  const output = run('--digits', '300', '--test', '200', '--epochs', '4', '--json');
  const { before, head, unfrozen } = JSON.parse(output);
  expect(before).toBeLessThan(0.3);
  expect(head).toBeGreaterThan(0.5);
  expect(unfrozen).toBeGreaterThan(0.5);
  expect(unfrozen).not.toBe(head);
}, 120_000);

test('a wrong number is told in a line', () => {
  expect(() => run('--digits', 'many')).toThrow(
    "error: --digits is 'many'; give an integer from 1 to 60000.",
  );
});
