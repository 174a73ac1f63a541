import { backendTarget } from '@schedule-free-adan/conformance';
import { testConformance } from '@schedule-free-adan/conformance/vitest';
import { ReferenceBackend } from '@schedule-free-adan/core/reference';

// What the core must also do right: x in the parameters between steps, and a device that can't be
// read at once, so that whether a step was skipped is not known on the host.
testConformance(
  backendTarget({
    name: 'reference with x in the parameters',
    dtype: 'float64',
    placement: 'x',
    backend: () => new ReferenceBackend(),
  }),
);

class AsynchronousBackend extends ReferenceBackend {
  override async download(a: Parameters<ReferenceBackend['download']>[0]) {
    const data = a.data.slice();
    await new Promise((resolve) => setTimeout(resolve));
    return data;
  }
}
Object.defineProperty(AsynchronousBackend.prototype, 'downloadSync', { value: undefined });

for (const placement of ['y', 'x'] as const) {
  testConformance(
    backendTarget({
      name: `reference read asynchronously, ${placement} in the parameters`,
      dtype: 'float64',
      placement,
      backend: () => new AsynchronousBackend(),
    }),
    { runs: 5 },
  );
}
