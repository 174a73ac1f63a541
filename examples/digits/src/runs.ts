import { learningRateOf, optimizersOf, type Settings, type TfjsBackendName } from './settings.js';
import type { Run } from './train.js';

/** A fresh run for every optimizer. What a backend needs is loaded for that one only. */
export async function startRuns(settings: Settings): Promise<Run[]> {
  const { model, backend, seed } = settings;
  const options = optimizersOf(settings).map((optimizer) => ({
    model,
    optimizer,
    learningRate: learningRateOf(settings, optimizer),
    seed,
  }));
  if (backend !== 'webgpu') return startTfjs(backend, options);
  const { startDevice } = await import('./webgpu/device.js');
  const { WebGpuRun } = await import('./webgpu/run.js');
  const device = await startDevice();
  return Promise.all(options.map((one) => WebGpuRun.create(device, one)));
}

async function startTfjs(backend: TfjsBackendName, options: readonly Run['options'][]) {
  const { startBackend } = await import('./backends.js');
  const { TfjsRun } = await import('./train.js');
  await startBackend(backend);
  return options.map((one) => new TfjsRun(one));
}
