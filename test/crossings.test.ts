import { referenceTarget, Session, type Target } from '@schedule-free-adan/conformance';
import { describe, expect, test } from 'vitest';
import { plainArrays } from '../examples/custom-backend/dist/target.js';
import { onnxNodeGraph, onnxNodeHybrid } from '../packages/onnx/conformance/targets.mjs';
import { tfjsCpu } from '../packages/tfjs/conformance/targets.mjs';

const targets: Target[] = [
  referenceTarget,
  plainArrays,
  await tfjsCpu(),
  await onnxNodeHybrid(),
  await onnxNodeGraph(),
];

describe('a checkpoint moves training', () => {
  for (const target of targets) {
    const peers = targets.filter((peer) => peer !== target);
    const session = new Session(target, { peers });
    const crossings = session.checks.filter(({ id }) => id.includes('-and-back-'));
    test.each(crossings)(`from ${target.name}: $id`, async (check) => {
      expect(await session.run(check)).toMatchObject({ status: 'passed', message: '' });
    });
    test(`there are crossings from ${target.name} to every other`, () => {
      expect(crossings).toHaveLength(3 * peers.length);
    });
  }
});
