import { testConformance } from '@schedule-free-adan/conformance/vitest';
import { webgpu, webgpuArena, webgpuOwnBuffers } from '../conformance/node.mjs';

testConformance(await webgpu());
testConformance(await webgpuArena());
testConformance(await webgpuOwnBuffers());
