import { type ScheduleFreeAdan, scheduleFreeAdan } from '@schedule-free-adan/core';
import { HostBackend, type HostTensor, hostTensor } from '@schedule-free-adan/core/host';
import { meanGradients, openGradients } from './gradients.js';
import { arenaOf } from './layout.js';
import { tensorOf } from './runtime.js';
import type { Context, Form } from './trainer.js';

/** The optimizer of the core, with the parameters of a model. */
export const hostOptimizer = (
  { parameters, options }: Pick<Context, 'parameters' | 'options'>,
  backend = new HostBackend(),
): ScheduleFreeAdan<HostTensor> =>
  scheduleFreeAdan(
    backend,
    parameters.map(({ name, shape, values }) => [name, hostTensor(shape, values)] as const),
    options,
  );

/** The runtime computes gradients; the optimizer of the core steps the parameters where the runtime reads them. */
export async function hybridForm(context: Context): Promise<Form> {
  const { parameters, prefix } = context;
  const backend = new HostBackend();
  const optimizer = hostOptimizer(context, backend);
  const arena = arenaOf(`${prefix}parameters`, parameters);
  /** y of all parameters in one: many inputs take the runtime longer. */
  const y = backend.make([arena.length]);
  for (const { name, shape, start } of arena.places) {
    const part = backend.part(y, shape, start);
    part.data.set(optimizer.parameter(name).data);
    optimizer.removeParameter(name);
    optimizer.addCell(name, {
      get: () => part,
      set(tensor) {
        part.data.set(tensor.data);
        backend.dispose(tensor);
      },
    });
  }
  const gradients = new Map(parameters.map(({ name, shape }) => [name, backend.make(shape)]));
  const arenas = [arena];
  const session = await openGradients(context, arenas);
  return {
    optimizer,
    arenas,
    get bytes() {
      return backend.bytes;
    },
    async step(batches, frozen) {
      const own = { [arena.name]: tensorOf(context, y.data) };
      const result = await meanGradients(context, session, own, batches, gradients);
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
