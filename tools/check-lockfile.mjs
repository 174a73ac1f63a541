// Fails when package-lock.json names a registry host, or lacks an entry for an optional dependency
// (npm drops those silently, and a cold `npm ci` then fails on another platform).
import { readFileSync } from 'node:fs';

const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8'));
const problems = [];
for (const [path, { resolved = '', optionalDependencies = {} }] of Object.entries(packages)) {
  if (resolved.startsWith('http')) problems.push(`${path} names a host: ${resolved}`);
  for (const name of Object.keys(optionalDependencies)) {
    const found = Object.keys(packages).some((key) => key.endsWith(`node_modules/${name}`));
    if (!found)
      problems.push(`${path} has an optional dependency ${name} that is not in the lock file`);
  }
}
for (const problem of problems) console.error(problem);
process.exitCode = problems.length > 0 ? 1 : 0;
