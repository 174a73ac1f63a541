import { testConformance } from '@schedule-free-adan/conformance/vitest';
import { onnxWasmGraph, onnxWasmHybrid } from '../conformance/targets.mjs';

testConformance(await onnxWasmHybrid());
testConformance(await onnxWasmGraph());
