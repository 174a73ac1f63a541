import { testConformance } from '@schedule-free-adan/conformance/vitest';
import { tfjsCpu } from '../conformance/targets.mjs';

testConformance(await tfjsCpu());
