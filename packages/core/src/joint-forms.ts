import type { StepEntry, StepGroup } from './backend.js';
import type { RuleForm } from './update-rule.js';

/**
 * The form that each group of a step may be stepped in, so that few kernels step all: without decay is the
 * same as with a decay of zero, so that those without it join the others, if these decay in one way.
 */
export function jointForms(
  entries: readonly Pick<StepEntry<unknown>, 'group' | 'form'>[],
): Map<StepGroup, RuleForm> {
  const forms = new Map(entries.map(({ group, form }) => [group, form]));
  const decays = [...forms.values()].flatMap(({ decay }) => (decay === 'none' ? [] : decay));
  const joint = new Set(decays).size === 1 && { decay: decays[0]! };
  return new Map([...forms].map(([group, form]) => [group, { ...form, ...joint }]));
}
