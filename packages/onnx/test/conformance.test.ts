import { testConformance } from '@schedule-free-adan/conformance/vitest';
import { onnxHost, onnxNodeGraph, onnxNodeHybrid } from '../conformance/targets.mjs';

testConformance(onnxHost);
testConformance(await onnxNodeHybrid());
testConformance(await onnxNodeGraph());
