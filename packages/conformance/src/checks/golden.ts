import type { FloatArray } from '@schedule-free-adan/core';
import type { StoredKey } from '@schedule-free-adan/core/checkpoints';
import type { Check, Context } from '../check.js';
import type { GoldenCase, GoldenFile, GoldenKey } from '../golden/format.js';
import { stepWith } from '../samples.js';
import { isPoint, MOMENTS, Scales, scaleOf, snapshot } from '../state.js';
import type { SubjectSpec } from '../target.js';
import { budget } from '../ulps.js';

const nameOf = (index: number) => `p${index}`;

/** A golden case's parameters and hyperparameters as the suite asks a target for them. */
export function goldenSpec({ config, shapes, initial }: GoldenCase): SubjectSpec {
  const { groups, ...options } = config;
  return {
    parameters: initial.map((values, i) => ({
      name: nameOf(i),
      shape: shapes[i]!,
      values: Float64Array.from(values),
    })),
    options: {
      ...options,
      ...(groups && {
        groups: groups.map(({ params, ...own }) => ({ ...own, parameters: params.map(nameOf) })),
      }),
    },
  };
}

async function follow(context: Context, golden: GoldenCase): Promise<void> {
  const spec = goldenSpec(golden);
  const subject = await context.create(spec);
  const { config, learningRateFactor, restartBeforeStep } = golden;
  const rates = [config, ...(config.groups ?? [])].map(
    (g) => g.learningRate ?? config.learningRate,
  );
  const scales = new Scales();
  for (const { name, values } of spec.parameters) scales.update(name, values);
  const expected = new Map(golden.expected.map((e) => [e.step, e]));

  for (let step = 1; step <= golden.steps; step++) {
    const factor = learningRateFactor?.[step - 1];
    if (factor !== undefined) {
      rates.forEach((rate, group) => {
        if (rate !== undefined) subject.setLearningRate(rate * factor, group);
      });
    }
    if (restartBeforeStep?.includes(step)) subject.restart();
    const gradients = golden.gradients[step - 1]!.map((values, i) => [
      nameOf(i),
      values && Float64Array.from(values),
    ]);
    await stepWith(subject, spec, Object.fromEntries(gradients));
    const reference = expected.get(step);
    if (!reference) continue;
    const state = await snapshot(subject);
    for (const key of ['x', 'y', 'z', 'm', 'v', 'n', 'param'] as GoldenKey[]) {
      reference[key]?.forEach((values, i) => {
        const stored: { readonly [K in StoredKey]?: FloatArray } = state.get(nameOf(i)) ?? {};
        const actual = stored[key === 'param' ? 'x' : key];
        // A moment that this form of the rule does not keep has nothing to be compared with.
        if (!values || (actual === undefined && 'mv'.includes(key))) return;
        context.compare(`p${i}.${key} after step ${step}`, actual, values, {
          ulps: budget(step) * (isPoint(key) ? 1 : MOMENTS),
          scale: scales.update(scaleOf(nameOf(i), key), values),
        });
      });
    }
  }
}

export const goldenChecks = (golden: GoldenFile): readonly Check[] =>
  golden.cases.map((c) => ({
    id: `golden/${c.name}`,
    tier: 4,
    run: (context) => follow(context, c),
  }));
