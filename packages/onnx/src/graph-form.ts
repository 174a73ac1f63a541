import { NonFiniteError } from '@schedule-free-adan/core';
import {
  decodeCheckpoint,
  encodeCheckpoint,
  type StoredKey,
  type StoredTensor,
} from '@schedule-free-adan/core/checkpoints';
import { HostBackend, hostTensor } from '@schedule-free-adan/core/host';
import { advance, type CoefficientName, coefficients } from '@schedule-free-adan/core/rule';
import type { Tensor } from 'onnxruntime-common';
import { refuseParameter } from './errors.js';
import { type Gradients, meanGradients, openGradients, overBatches } from './gradients.js';
import type { Value } from './graph.js';
import { hostOptimizer } from './hybrid-form.js';
import { unpacked } from './layout.js';
import { makeValueInfo, sizeOf } from './model/tensors.js';
import {
  type Feeds,
  openRunner,
  type Runner,
  tensorOf,
  webgpuProvider,
  withProvider,
} from './runtime.js';
import { arenaGroups, groupPrefix, type Layout, makeLayout } from './state-layout.js';
import { pick, type Schedule, type StepGraph, stepGraphOf, trainingStepOf } from './step-graph.js';
import type { Context, Form, StepResult } from './trainer.js';

/** The training step of one layout, and what several batches need: sessions that are open. */
interface Sessions extends StepGraph {
  readonly step: Runner;
  gradients?: Gradients;
  stepAlone?: Runner;
}

/**
 * Loss, gradients and step are one model: state goes in, and new state comes out. The counters stay on
 * the host, as some providers have no float64.
 */
export async function graphForm(context: Context): Promise<Form> {
  const { prefix, parameters, freezable, options, sessionOptions } = context;
  /** Has the groups, and counts their steps; the parameters are here. */
  const counter = hostOptimizer({ parameters: [], options });
  /** By the name of the input. */
  const state = new Map<string, Tensor>();
  /** What the last step reports. */
  const reported = new Map<string, Tensor>();
  let sessions!: Sessions;
  const webgpu = webgpuProvider(sessionOptions);

  /** The input with what the host feeds of the schedule: the coefficients of all groups. */
  const coefficientsName = `${prefix}coefficients`;
  const hostSchedule: Schedule = (b, { groups }, inputs) => {
    const names = Object.keys(coefficients(counter.groups[0]!));
    inputs.push(makeValueInfo(coefficientsName, 'float32', [groups.length * names.length]));
    return groups.map(
      (_, k) =>
        Object.fromEntries(
          names.map((name, i) => [name, pick(b, coefficientsName, k * names.length + i)]),
        ) as Record<CoefficientName, Value>,
    );
  };

  /** What nobody reads before the next step stays on the device. */
  const open = ({ model, layout, reports }: StepGraph) =>
    openRunner(
      context,
      model,
      webgpu && [...layout.state.map(({ output }) => output), ...Object.values(reports)],
    );

  /** Numbers of the state or of a report, which stay on the host until the next step. */
  const read = async (tensor: Tensor) => (await tensor.getData(true)) as Float32Array;
  const skippedSteps = () => state.get(`${prefix}skippedSteps`)!;
  /** Which elements of the state belong to which parameter, by the names of a checkpoint. */
  const parts = ({ layout }: Sessions) =>
    layout.state.flatMap(({ group, key, input }) => {
      const { form, places } = layout.groups[group]!;
      if (key === 'skippedSteps') return [];
      const tensor = state.get(input)!;
      return places.map((place, i) => {
        const own = { ...place, tensor, label: key as StoredKey };
        if (key === 'parameter') own.label = form.scheduleFree ? 'y' : 'x';
        if (key !== 'seen') return own;
        const start = layout.active ? i : 0;
        return { ...own, shape: [], start, end: start + 1 };
      });
    });

  /** Goes on from a checkpoint, or from the beginning. */
  async function load(checkpoint?: Uint8Array, restarted = false): Promise<void> {
    // The same training in the optimizer of the core: it knows what a checkpoint has to be.
    const mirror = hostOptimizer(context);
    if (checkpoint) mirror.load(checkpoint);
    if (restarted) mirror.restart();
    const training = decodeCheckpoint(await mirror.save());
    // Parameters that met their first gradients at different steps need memories of their own.
    const mixed = training.groups.some(
      ({ parameters: names }) =>
        new Set(names.map((name) => training.tensors.get(name)!.seen?.data[0])).size > 1,
    );
    const arenas = arenaGroups(prefix, parameters, training.groups);
    const layout = makeLayout(prefix, arenas, freezable || mixed);
    if (graphKey(layout) !== graphKey(sessions?.layout)) {
      const old = sessions;
      const graph = trainingStepOf(context.source, context, layout, hostSchedule);
      sessions = { ...graph, step: await open(graph) };
      await close(old);
    }
    discard(state);
    for (const { input, shape } of layout.state) {
      state.set(input, tensorOf(context, new Float32Array(sizeOf(shape)), shape));
    }
    for (const { name, label, tensor, start } of parts(sessions)) {
      const { data } = training.tensors.get(name)![label]!;
      (tensor.data as Float32Array).set(data, start);
    }
    (skippedSteps().data as Float32Array).fill(training.skippedSteps);
    const groups = training.groups.map((group) => ({ ...group, parameters: [] }));
    counter.load(encodeCheckpoint({ ...training, groups, tensors: new Map() }));
  }

  async function save(): Promise<Uint8Array> {
    const { layout } = sessions;
    // In the order in which the user named them.
    const tensors = new Map(
      parameters.map(({ name }): [string, Record<string, StoredTensor>] => [name, {}]),
    );
    for (const { name, label, tensor, shape, start, end } of parts(sessions)) {
      const data = await read(tensor);
      tensors.get(name)![label] = { shape, data: data.slice(start, end) };
    }
    const groups = counter.groups.map(({ hyperparameters, scalars }, k) => {
      const names = layout.groups[k]!.places.map(({ name }) => name);
      return { hyperparameters, scalars, parameters: names };
    });
    const [skipped] = await read(skippedSteps());
    return encodeCheckpoint({ groups, skippedSteps: skipped!, tensors });
  }

  await (webgpu ? withProvider(context, load) : load());
  return {
    /** A checkpoint may ask for another graph, so it is this form that passes for an optimizer. */
    optimizer: {
      groups: counter.groups,
      load,
      restart: async () => load(await save(), true),
      async metrics() {
        const clipping = counter.groups[0]!.hyperparameters.maxGradNorm > 0;
        const number = async (tensor: Tensor | undefined, before = 0) =>
          tensor ? (await read(tensor))[0]! : before;
        return {
          gradientNorm: clipping ? await number(reported.get('gradientNorm')) : null,
          clipFactor: clipping ? await number(reported.get('clipFactor'), 1) : null,
          skippedSteps: await number(skippedSteps()),
        };
      },
    },
    get arenas() {
      return sessions.layout.groups;
    },
    get bytes() {
      return [...state.values()].reduce((sum, { size }) => sum + 4 * size, 0);
    },

    async step(batches, frozen) {
      const { layout, reports, step } = sessions;
      const { active, names } = layout;
      const [name] = frozen;
      if (name !== undefined && !active) {
        const message = `'${name}' can't be frozen in this graph; create the trainer with freezable: true.`;
        refuseParameter('invalid-option', message, name);
      }
      const numbers = counter.groups.flatMap(({ hyperparameters, scalars }) => {
        const next = { hyperparameters, scalars: advance(scalars, hyperparameters) };
        return Object.values(coefficients(next));
      });
      const own: Record<string, Tensor> = {
        ...Object.fromEntries(state),
        [coefficientsName]: tensorOf(context, Float32Array.from(numbers)),
      };
      if (active) {
        const flags = names.map((parameter) => (frozen.has(parameter) ? 0 : 1));
        own[active] = tensorOf(context, Float32Array.from(flags));
      }
      let results: Feeds = {};
      let result: StepResult;
      if (batches.length === 1) {
        result = await overBatches(context, batches, async (feeds) => {
          results = await step.run(feeds, own);
          return results;
        });
      } else {
        sessions.gradients ??= await openGradients(context, layout.groups);
        sessions.stepAlone ??= await open(stepGraphOf(layout, hostSchedule));
        const sums = new Map(parameters.map(({ name, shape }) => [name, hostTensor(shape)]));
        result = await meanGradients(context, sessions.gradients, own, batches, sums);
        const gradients = [...sums].map(([name, { data, shape }]) => [
          name,
          tensorOf(context, data, shape),
        ]);
        results = await sessions.stepAlone.run(Object.fromEntries(gradients), own);
      }
      counter.step({});
      discard(state);
      discard(reported);
      for (const { input, output } of layout.state) state.set(input, results[output]!);
      for (const [key, value] of Object.entries(reports)) reported.set(key, results[value]!);
      const finite = reported.get('finite');
      const bad = finite && names[(await read(finite)).findIndex(Number.isNaN)];
      if (bad !== undefined) {
        const message = `The gradient of '${bad}' holds NaN or Infinity; try a lower learningRate.`;
        throw new NonFiniteError('non-finite-gradient', message, bad);
      }
      return result;
    },

    async points(which) {
      // In the order in which the user named them.
      const all = Object.fromEntries(parameters.map((p) => [p.name, p.values]));
      for (const [k, arena] of sessions.layout.groups.entries()) {
        const { form, places, length, name } = arena;
        if (places.length === 0) continue;
        let point = hostTensor([length], await read(state.get(name)!));
        if (which === 'x' && form.scheduleFree) {
          const z = hostTensor([length], await read(state.get(`${groupPrefix(prefix, k)}z`)!));
          const { momentum } = counter.groups[k]!.hyperparameters;
          // Of its own: a memory does not shrink.
          point = new HostBackend().point(point, z, momentum, 'x');
        }
        for (const [name, part] of unpacked(arena, point.data)) all[name] = part;
      }
      return all;
    },

    save,
    async dispose() {
      discard(state);
      discard(reported);
      await close(sessions);
    },
  };
}

/** Frees what lies on a device; what lies on the host loses its values. */
function discard(tensors: Map<string, Tensor>): void {
  for (const tensor of tensors.values()) tensor.dispose();
  tensors.clear();
}

/** What a graph depends on: equal for layouts with the same one. */
function graphKey(layout: Layout | undefined): string | undefined {
  return JSON.stringify(layout, (key, value) => (key === 'learningRate' ? 0 : value));
}

async function close({ step, gradients, stepAlone }: Partial<Sessions> = {}): Promise<void> {
  for (const runner of [step, gradients?.runner, stepAlone]) await runner?.release();
}
