import type { RuleForm } from '@schedule-free-adan/core/rule';

/** A short name for a form with x in the parameter: f for Schedule-Free, m and v for the moments. */
export const formKey = ({ scheduleFree, firstMoment, gradientDifference, decay }: RuleForm) =>
  `${scheduleFree ? 'f' : ''}${firstMoment ? 'm' : ''}${gradientDifference ? 'v' : ''}${decay}`;
