import type { ScheduleFreeAdan } from '@schedule-free-adan/core';
import type { Subject } from './target.js';

type Shared = 'train' | 'eval' | 'withEvalParameters' | 'restart' | 'metrics';

/**
 * The methods of a {@link Subject} that an optimizer has itself, if it names them as the core does. They
 * are handed on; the author of a subject writes the rest.
 */
export const ownMethods = (
  optimizer: Pick<ScheduleFreeAdan<unknown>, Shared | 'groups'>,
): Pick<Subject, Shared | 'setLearningRate'> => ({
  train: () => optimizer.train(),
  eval: () => optimizer.eval(),
  withEvalParameters: (fn) => optimizer.withEvalParameters(fn),
  setLearningRate: (value, group) => {
    optimizer.groups[group]!.learningRate = value;
  },
  restart: () => optimizer.restart(),
  metrics: () => optimizer.metrics(),
});
