import { backendTarget, referenceTarget } from '@schedule-free-adan/conformance';
import { testConformance } from '@schedule-free-adan/conformance/vitest';
import { HostBackend } from '@schedule-free-adan/core/host';

testConformance(referenceTarget, { runs: 50 });
testConformance(backendTarget({ name: 'host', backend: () => new HostBackend() }));
