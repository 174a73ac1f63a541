// Checks the packages as their users get them: packs each one, looks at the tarball, installs all
// tarballs in a project of their own outside of the workspace, and uses them there. Build first.
//
//     npm run build && npm run check:packages              every package
//     npm run check:packages -- tfjs                       some, with the siblings that they need
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const temporary = mkdtempSync(join(tmpdir(), 'check-packages-'));
const KiB = 1024;

/** Anything larger got in by accident, or wants a second thought here. */
const maxFile = (path) => (path.includes('/golden/') ? 512 * KiB : 96 * KiB);
const maxUnpacked = { conformance: 2048 * KiB, onnx: 896 * KiB };
const maxUnpackedElsewhere = 768 * KiB;

/** Entry points that only load inside of the runner they bind to. */
const needsRunner = new Set(['@schedule-free-adan/conformance/vitest']);

const strangers = [
  [/(^|\/)(tests?|__tests__|coverage)\//, 'a test'],
  [/\.(test|spec|bench)\.[a-z.]+$/, 'a test'],
  [/\.tsbuildinfo$/, 'build information'],
  [/^(?!dist\/|src\/|(package\.json|README\.md|LICENSE|CHANGELOG\.md)$)/, 'unexpected'],
];

let passed = 0;
let failed = 0;

/** Runs one check. It fails by throwing, or by returning problems. */
function check(name, run) {
  let problems;
  try {
    problems = run() ?? [];
  } catch (error) {
    problems = [error.message];
  }
  if (problems.length === 0) passed++;
  else failed++;
  console.log(`${problems.length === 0 ? 'ok  ' : 'FAIL'}  ${name}`);
  for (const problem of problems) console.log(problem.replace(/^/gm, '      '));
  return problems.length === 0;
}

/** Output of a command that must end with 0. Settings of a surrounding `npm run` don't reach it. */
function run(cwd, command, ...args) {
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([key]) => !key.startsWith('npm_')),
  );
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd,
    env: { ...env, NO_COLOR: '1', FORCE_COLOR: '0' },
    encoding: 'utf8',
    shell: process.platform === 'win32',
  });
  if (error) throw error;
  if (status !== 0) {
    throw new Error(`${command} ${args.join(' ')} ended with ${status}\n${stdout}${stderr}`.trim());
  }
  return stdout;
}

const tool = (name) => join(root, 'node_modules', '.bin', name);
const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'));

/** Every path that `exports` or `bin` promises, as in `./dist/index.js`. */
const targets = (value) =>
  typeof value === 'string' ? [value] : Object.values(value ?? {}).flatMap(targets);

/** The specifiers that a user may import, data left out. */
const specifiers = ({ name, exports }) =>
  Object.keys(exports)
    .filter((key) => !key.endsWith('.json'))
    .map((key) => posix.join(name, key));

function checkPackage({ folder, directory, manifest }) {
  let packed;
  const packs = check(`${folder}: packs`, () => {
    [packed] = JSON.parse(run(directory, 'npm', 'pack', '--json', '--pack-destination', temporary));
  });
  if (!packs) return undefined;
  const tarball = join(temporary, packed.filename);
  const files = packed.files.map(({ path }) => path);

  check(`${folder}: holds LICENSE, README.md and every file that package.json names`, () =>
    ['LICENSE', 'README.md', ...targets(manifest.exports), ...targets(manifest.bin)]
      .map((path) => posix.normalize(path))
      .filter((path) => !files.includes(path))
      .map((path) => `${path} is missing; write it, or build`),
  );
  check(`${folder}: has the license of the repository`, () => {
    const [ours, theirs] = [root, directory].map((at) => readFileSync(join(at, 'LICENSE'), 'utf8'));
    return ours === theirs ? [] : ['LICENSE differs from the one at the root; copy it'];
  });
  check(`${folder}: holds no tests and nothing unexpected`, () =>
    files.flatMap((path) =>
      strangers
        .filter(([pattern]) => pattern.test(path))
        .map(([, what]) => `${path} is ${what}; see "files" in package.json`),
    ),
  );
  check(`${folder}: holds the sources that its source maps name`, () =>
    files
      .filter((path) => path.endsWith('.map'))
      .flatMap((path) =>
        readJson(join(directory, path))
          .sources.map((source) => posix.join(posix.dirname(path), source))
          .filter((source) => !files.includes(source))
          .map(
            (source) =>
              `${path} names ${source}; it is stale or left out, so remove packages/*/dist and .turbo, and build`,
          ),
      ),
  );
  check(`${folder}: is as small as expected (${Math.ceil(packed.unpackedSize / KiB)} KiB)`, () => {
    const limit = maxUnpacked[folder] ?? maxUnpackedElsewhere;
    const problems = packed.files
      .filter(({ path, size }) => size > maxFile(path))
      .map(({ path, size }) => `${path} has ${size} bytes of at most ${maxFile(path)}`);
    if (packed.unpackedSize > limit) {
      problems.push(`unpacked, it has ${packed.unpackedSize} bytes of at most ${limit}`);
    }
    return problems;
  });
  check(`${folder}: publint`, () => {
    run(temporary, tool('publint'), 'run', tarball, '--strict');
  });
  check(`${folder}: are the types wrong?`, () => {
    const plain = ['--no-emoji', '--no-color', '--format', 'ascii', '--no-definitely-typed'];
    run(temporary, tool('attw'), tarball, '--profile', 'esm-only', ...plain);
  });
  return { folder, manifest, tarball };
}

/** Names of what the packages need from elsewhere, with everything that those need in turn. */
function thirdParties(manifests) {
  const found = new Set();
  const visit = ({ dependencies = {}, peerDependencies = {}, peerDependenciesMeta = {} }) => {
    for (const name of Object.keys({ ...dependencies, ...peerDependencies })) {
      const path = join(root, 'node_modules', name, 'package.json');
      const skip = name.startsWith('@schedule-free-adan/') || peerDependenciesMeta[name]?.optional;
      if (skip || found.has(name) || !existsSync(path)) continue;
      found.add(name);
      visit(readJson(path));
    }
  };
  manifests.forEach(visit);
  return [...found];
}

// One step by hand: betas [0, 0, β3] make the first direction the sign of the gradient, and the first
// average is z itself, so x = 1 − 0.5·sign(2).
const useCore = `
const backend = new ReferenceBackend();
const w = backend.upload(Float64Array.of(1), [1]);
const optimizer = scheduleFreeAdan(
  backend,
  { w },
  { learningRate: 0.5, betas: [0, 0, 0.99], epsilon: 1e-12, warmupSteps: 0 },
);
optimizer.step({ w: backend.upload(Float64Array.of(2), [1]) });
const x = backend.downloadSync(optimizer.evalParameters()['w']!)[0]!;
if (Math.abs(x - 0.5) > 1e-9) throw new Error('x = ' + x + ' after one step, not 0.5');
`;
const useCoreInJavaScript = useCore.replaceAll(']!', ']');

function checkConsumer(packages) {
  const consumer = join(temporary, 'consumer');
  const write = (name, text) => writeFileSync(join(consumer, name), text);
  const node = (name, text) => {
    write(name, text);
    run(consumer, process.execPath, '--disable-warning=ExperimentalWarning', name);
  };
  const installs = check('consumer: installs the tarballs', () => {
    mkdirSync(join(consumer, 'node_modules'), { recursive: true });
    for (const name of thirdParties(packages.map(({ manifest }) => manifest))) {
      const path = join('node_modules', name);
      cpSync(join(root, path), join(consumer, path), { recursive: true, dereference: true });
    }
    const dependencies = packages.map(({ manifest: { name }, tarball }) => [
      name,
      `file:${tarball}`,
    ]);
    write(
      'package.json',
      JSON.stringify({ private: true, dependencies: Object.fromEntries(dependencies) }),
    );
    const quiet = ['--no-audit', '--no-fund', '--ignore-scripts', '--no-save'];
    run(consumer, 'npm', 'install', '--offline', ...quiet);
    return packages
      .filter(({ manifest: { name, version } }) => {
        const installed = readJson(join(consumer, 'node_modules', name, 'package.json'));
        return installed.version !== version;
      })
      .map(({ manifest: { name } }) => `${name} is not the version that was packed`);
  });
  if (!installs) return;

  for (const { folder, manifest } of packages) {
    const loadable = specifiers(manifest).filter((name) => !needsRunner.has(name));
    // An entry that is imported for what it does may export nothing.
    const silent = new Set(
      (manifest.sideEffects || []).map((path) =>
        path.replace('./dist', manifest.name).slice(0, -3),
      ),
    );
    const empty = (name, keys) => (silent.has(name) ? '' : `if (!${keys}) throw '${name}';`);
    check(`consumer: import() of ${folder}`, () =>
      node(
        `${folder}.mjs`,
        loadable
          .map(
            (name, i) =>
              `const m${i} = await import('${name}');${empty(name, `Object.keys(m${i}).length`)}`,
          )
          .join('\n'),
      ),
    );
    check(`consumer: require() of ${folder}`, () =>
      node(
        `${folder}.cjs`,
        loadable
          .map(
            (name, i) =>
              `const m${i} = require('${name}');${empty(name, `Object.keys(m${i}).length`)}`,
          )
          .join('\n'),
      ),
    );
    // The core's own typings must stand without DOM, without Node's types, and without skipLibCheck.
    const strictest = folder === 'core';
    for (const [module, resolution] of [
      ['nodenext', 'nodenext'],
      ['esnext', 'bundler'],
    ]) {
      const how = `${resolution}${strictest ? ', skipLibCheck false, no DOM' : ''}`;
      check(`consumer: TypeScript with ${folder} (${how})`, () => {
        const imports = specifiers(manifest)
          .filter((name) => !needsRunner.has(name))
          .map((name, i) => `import * as entry${i} from '${name}';\nexport { entry${i} };`);
        const body = strictest
          ? `import { scheduleFreeAdan } from '@schedule-free-adan/core';
import { ReferenceBackend } from '@schedule-free-adan/core/reference';
${useCore}`
          : '';
        write(`${folder}.mts`, `${imports.join('\n')}\n${body}`);
        const compilerOptions = {
          module,
          moduleResolution: resolution,
          target: 'es2022',
          lib: strictest ? ['es2022'] : ['es2022', 'dom', 'dom.iterable'],
          types: [],
          strict: true,
          noUncheckedIndexedAccess: true,
          exactOptionalPropertyTypes: true,
          skipLibCheck: !strictest,
          noEmit: true,
        };
        const config = `tsconfig.${folder}.${resolution}.json`;
        write(config, JSON.stringify({ compilerOptions, files: [`${folder}.mts`] }));
        run(consumer, tool('tsc'), '-p', config);
      });
    }
  }
  if (packages.some(({ folder }) => folder === 'core')) {
    check('consumer: a step from an ES module', () =>
      node(
        'step.mjs',
        `import { scheduleFreeAdan } from '@schedule-free-adan/core';
import { ReferenceBackend } from '@schedule-free-adan/core/reference';
${useCoreInJavaScript}`,
      ),
    );
    check('consumer: a step from CommonJS', () =>
      node(
        'step.cjs',
        `const { scheduleFreeAdan } = require('@schedule-free-adan/core');
const { ReferenceBackend } = require('@schedule-free-adan/core/reference');
${useCoreInJavaScript}`,
      ),
    );
  }
}

try {
  const wanted = process.argv.slice(2);
  const packages = readdirSync(join(root, 'packages'))
    .map((folder) => ({ folder, directory: join(root, 'packages', folder) }))
    .filter(({ directory }) => existsSync(join(directory, 'package.json')))
    .map((found) => ({ ...found, manifest: readJson(join(found.directory, 'package.json')) }))
    .filter(({ manifest }) => !manifest.private);
  const folders = packages.map(({ folder }) => folder);
  for (const name of wanted.filter((name) => !folders.includes(name))) {
    check(`${name}: is a package`, () => [`There is ${folders.join(', ')}; name one of them.`]);
  }
  const needed = new Set(wanted.length === 0 ? folders : wanted);
  for (const folder of needed) {
    const { dependencies } = packages.find((one) => one.folder === folder)?.manifest ?? {};
    for (const sibling of packages) {
      if (dependencies?.[sibling.manifest.name]) needed.add(sibling.folder);
    }
  }
  const packed = packages
    .filter(({ folder }) => needed.has(folder))
    .map(checkPackage)
    .filter((result) => result !== undefined);
  if (packed.length > 0) checkConsumer(packed);
} finally {
  rmSync(temporary, { recursive: true, force: true });
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
