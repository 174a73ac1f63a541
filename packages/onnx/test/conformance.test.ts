import { testConformance } from '@schedule-free-adan/conformance/vitest';
import { onnxNodeGraph, onnxNodeHybrid } from '../conformance/targets.mjs';

testConformance(await onnxNodeHybrid());
testConformance(await onnxNodeGraph());
