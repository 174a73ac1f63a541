import { testConformance } from '@schedule-free-adan/conformance/vitest';
import { tfjsWasm } from '../conformance/targets.mjs';

testConformance(await tfjsWasm());
