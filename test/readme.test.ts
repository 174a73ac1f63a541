import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

// Snippets run as a reader would run them: each in a file of its own, in one folder, top to bottom.
const folder = join('test', '.snippets');
const cli = resolve('packages/conformance/dist/cli.js');
/** Gives Node what a page has: `navigator.gpu`. */
const webgpu = pathToFileURL(resolve(folder, 'navigator-gpu.mjs')).href;
beforeAll(() => {
  mkdirSync(folder, { recursive: true });
  writeFileSync(
    fileURLToPath(webgpu),
    `import { useSwiftShader } from '../../tools/webgpu-runtime.mjs';
import { create, globals } from 'webgpu';
useSwiftShader();
const navigator = { gpu: create([]) };
Object.assign(globalThis, globals);
Object.defineProperty(globalThis, 'navigator', { value: navigator });`,
  );
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const documents = [
  'README.md',
  'packages/core/README.md',
  'packages/conformance/README.md',
  'packages/tfjs/README.md',
  'packages/onnx/README.md',
  'packages/webgpu/README.md',
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
          const withGpu = code.includes('navigator.gpu') ? ['--import', webgpu] : [];
          const output = execFileSync(process.execPath, [...withGpu, file], {
            encoding: 'utf8',
            stdio: 'pipe',
          });
          // A comment `// → text` promises a line of what is printed.
          for (const [, promised] of code.matchAll(/\/\/ → (.+)$/gm))
            expect(output.split('\n')).toContain(promised);
          return;
        }
        if (language === 'sh') {
          for (const line of code.trim().split('\n')) {
            for (const [, name] of line.matchAll(/npm run ([\w:]+)/g))
              expect(scripts).toHaveProperty([name!]);
            const own = line.replace('npx schedule-free-adan-conformance', `node ${cli}`);
            if (own !== line || line.startsWith('npm run conformance -- --subject reference')) {
              const cwd = own === line ? '.' : folder;
              const output = execFileSync(own, {
                encoding: 'utf8',
                shell: true,
                stdio: 'pipe',
                cwd,
              });
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
