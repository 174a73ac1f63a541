import { referenceTarget } from '@schedule-free-adan/conformance';
import { testConformance } from '@schedule-free-adan/conformance/vitest';

testConformance(referenceTarget, { runs: 50 });
