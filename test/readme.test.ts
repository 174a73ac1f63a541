import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

// Snippets run as a reader would run them: each in a file of its own, in one folder, top to bottom.
const folder = join('test', '.snippets');
beforeAll(() => mkdirSync(folder, { recursive: true }));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const documents = [
  'README.md',
  'packages/core/README.md',
  'packages/conformance/README.md',
  'packages/tfjs/README.md',
  'packages/onnx/README.md',
];
const scripts: Record<string, string> = JSON.parse(readFileSync('package.json', 'utf8')).scripts;

for (const document of documents) {
  const text = readFileSync(document, 'utf8');
  const blocks = [...text.matchAll(/^```(\w*)\n([\s\S]*?)^```/gm)].map(([, language, code]) => ({
    language: language!,
    code: code!,
  }));
  describe(document, () => {
    blocks.forEach(({ language, code }, i) => {
      const first = code.split('\n')[0]!;
      test(`snippet ${i + 1}: ${first}`, { timeout: 120_000 }, () => {
        if (language === 'js') {
          const name =
            /^\/\/ (\S+\.mjs)$/.exec(first)?.[1] ?? `${document.replaceAll('/', '-')}-${i}.mjs`;
          const file = join(folder, name);
          writeFileSync(file, code);
          const output = execFileSync(process.execPath, [file], {
            encoding: 'utf8',
            stdio: 'pipe',
          });
          // A comment `// → text` promises what is printed.
          for (const [, promised] of code.matchAll(/\/\/ → (.+)$/gm))
            expect(output).toContain(promised);
          return;
        }
        if (language === 'sh') {
          for (const line of code.trim().split('\n')) {
            for (const [, name] of line.matchAll(/npm run ([\w:]+)/g))
              expect(scripts).toHaveProperty([name!]);
            if (line.startsWith('npm run conformance -- --subject reference')) {
              const output = execFileSync(line, { encoding: 'utf8', shell: true, stdio: 'pipe' });
              expect(output).toMatch(/\d+ passed, 0 failed/);
            }
          }
          return;
        }
        // What is not run must not look like code to be run.
        expect(language).toBe('text');
      });
    });
  });
}
