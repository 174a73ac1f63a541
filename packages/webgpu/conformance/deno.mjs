// Runs in Deno: the conformance of every target on wgpu, a second implementation of WebGPU and WGSL.
import { report, runChecks } from '@schedule-free-adan/conformance';
import { webgpuTargets } from './targets.mjs';

const adapter = await navigator.gpu.requestAdapter();
if (!adapter) throw new Error('Deno has no WebGPU adapter.');
const device = await adapter.requestDevice();
console.log(`Deno ${Deno.version.deno}: ${adapter.info.vendor} ${adapter.info.description}`);
for (const target of Object.values(webgpuTargets(async () => device))) {
  const results = [];
  for await (const result of runChecks(target)) {
    results.push(result);
    if (result.status === 'failed') console.log(`failed: ${result.id}: ${result.message}`);
  }
  const { passed, failed, skipped } = report(target.name, results).summary;
  console.log(`${target.name}: ${passed} passed, ${failed} failed, ${skipped} skipped`);
  if (failed > 0) Deno.exitCode = 1;
}
