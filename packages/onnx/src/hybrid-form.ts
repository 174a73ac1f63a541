import { scheduleFreeAdan } from '@schedule-free-adan/core';
import { HostBackend, type HostTensor } from '@schedule-free-adan/core/host';
import { meanGradients, openGradients } from './gradients.js';
import type { Arena } from './layout.js';
import type { Context, Form } from './trainer.js';

/** The runtime computes gradients; the optimizer of the core steps the arenas in place. */
export async function hybridForm(context: Context, arenas: readonly Arena[]): Promise<Form> {
  const session = await openGradients(context, arenas);
  const backend = new HostBackend();
  const optimizer = scheduleFreeAdan(backend, {}, context.options);
  const values = new Map(context.parameters.map((p) => [p.name, p.values]));
  /** The gradient of each parameter, in the arena of its group. */
  const gradients = new Map<string, HostTensor>();
  /** y of each group, as the runtime reads it. */
  const points = arenas.map(({ places, length }) => {
    const [point, gradient] = [backend.make([length]), backend.make([length])];
    for (const { name, shape, start } of places) {
      const part = backend.part(point, shape, start);
      part.data.set(values.get(name)!);
      gradients.set(name, backend.part(gradient, shape, start));
      optimizer.addCell(name, {
        get: () => part,
        set(tensor) {
          part.data.set(tensor.data);
          backend.dispose(tensor);
        },
      });
    }
    return point;
  });
  return {
    optimizer,
    runner: session.runner,
    arenas,
    get bytes() {
      return backend.bytes;
    },
    async step(batches, frozen) {
      const result = await meanGradients(
        context,
        session,
        points.map(({ data }) => data),
        batches,
        (name) => gradients.get(name)!.data,
      );
      const present = [...gradients].filter(([name]) => !frozen.has(name));
      optimizer.step(Object.fromEntries(present));
      return result;
    },
    async points(which) {
      const tensors = which === 'x' ? optimizer.evalParameters() : optimizer.trainParameters();
      const copies = Object.entries(tensors).map(([name, tensor]) => {
        const data = tensor.data.slice();
        backend.dispose(tensor);
        return [name, data] as const;
      });
      return Object.fromEntries(copies);
    },
    save: () => optimizer.save(),
    async dispose() {
      optimizer.dispose();
      await session.runner.release();
    },
  };
}
