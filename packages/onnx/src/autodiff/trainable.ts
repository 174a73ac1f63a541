import type { InferenceSession } from 'onnxruntime-common';
import { OnnxModelError } from '../errors.js';
import type { Value } from '../graph.js';
import { decodeModel } from '../model/codec.js';
import { attributeOf } from '../model/nodes.js';
import type { Model, Node, ValueInfo } from '../model/schema.js';
import {
  elementTypes,
  list,
  makeValueInfo,
  shapeOf,
  sizeOf,
  toldOf,
  toNumber,
  withFloatValues,
} from '../model/tensors.js';
import type { OrtModule } from '../runtime.js';
import type { GradientModel } from '../training-model.js';
import { isChosen, type NameChoice, type NodeChoice } from './choice.js';
import { checkRules, differentiate, pathOf, ruleOf } from './differentiate.js';
import { Emitter } from './emit.js';
import { initialValues, random } from './initialize.js';
import type { Loss } from './losses.js';
import { probe, settle } from './probe.js';
import { nothing, rules as ownRules, type Rule } from './rules.js';
import { trainingGraph } from './training-form.js';
import { upgrade } from './upgrade.js';
import { convolutionRules } from './windows.js';

type Choice = NameChoice<readonly number[]>;

export interface TrainableOptions {
  /** The runtime that probes shapes: `import * as ort from 'onnxruntime-web'` or `'onnxruntime-node'`. */
  readonly ort: OrtModule;
  /** {@link softmaxCrossEntropy} and the like, or the name of a value of the model: one number. */
  readonly loss: Loss | string;
  /**
   * Names, patterns or predicates of initializers that are trained; the others are frozen and cost no
   * gradient. Default: every float32 initializer of more than one element that the loss depends on, but
   * the statistics of BatchNormalization; in a model without initializers, its constants.
   */
  readonly trainable?: Choice | readonly Choice[];
  /**
   * Nodes by name, pattern or predicate, whose values are not kept for the gradients but computed again:
   * less memory, more time. Each choice is a segment of its own; what it passes on is kept.
   */
  readonly recompute?: NodeChoice | readonly NodeChoice[];
  /**
   * BatchNormalization and Dropout by name, pattern or predicate, which are trained in training form though
   * the model has them in inference form.
   */
  readonly trainingForm?: NodeChoice | readonly NodeChoice[];
  /** Decides what Dropout drops: an integer. Default 0. */
  readonly seed?: number;
  /** Gives trained parameters new values from a seed: for graphs that come untrained. */
  readonly initialize?: number;
  /** Extents of inputs, by symbol or as `input:axis`: a number fixes one, a name sets it free. */
  readonly dimensions?: Readonly<Record<string, number | string>>;
  /** Further rules, by operator: `Relu`, or `domain.Operator`. They go before those of this package. */
  readonly rules?: Readonly<Record<string, Rule>>;
  /** For the probing session. */
  readonly sessionOptions?: InferenceSession.SessionOptions;
}

/** What `OrtTrainer.create` and `appendOptimizer` take. */
export interface TrainableModel extends Required<GradientModel> {
  readonly model: Model;
  /** The model that was given, in the operator set of `model` and in inference form; initial values included. */
  readonly forward: Model;
}

const PREFIX = 'grad/';

const invalidOption = (option: string, value: unknown, remedy: string) => {
  const shown = typeof value === 'function' ? 'a function' : value;
  const message = `'${option}' is ${shown}; ${remedy}.`;
  return new OnnxModelError('invalid-option', message, option, value);
};

/** Nodes that some providers lack, in others' terms. */
function lowered(b: Emitter, node: Node): boolean {
  const [x = '', ...rest] = node.input ?? [];
  const [output = ''] = node.output ?? [];
  if (node.domain) return false;
  if (node.opType === 'LogSoftmax') {
    const axis = b.integers(toNumber(attributeOf(node, 'axis').i ?? -1));
    const shifted = b.sub(x, b.node('ReduceMax', [x, axis], { keepdims: 1 }));
    const sum = b.node('ReduceSum', [b.exp(shifted), axis], { keepdims: 1 });
    b.node('Sub', [shifted, b.node('Log', [sum])], {}, output);
    return true;
  }
  if (/^(Sum|Mean)$/.test(node.opType!)) {
    const sum = rest.reduce((a, v) => b.add(a, v), x);
    b.node('Mul', [sum, node.opType === 'Sum' ? 1 : 1 / (rest.length + 1)], {}, output);
    return true;
  }
  return false;
}

/**
 * Makes a forward model trainable: appends a loss and its gradients with respect to the parameters, in
 * ordinary operators. Reverse-mode differentiation; shapes come from one or two runs on zeros.
 * @throws OnnxModelError `unsupported-operator` before anything runs, naming node, operator, operator
 * set and remedy; `unknown-value`, `unsupported-model`, `invalid-option`
 */
export async function makeTrainable(
  source: Uint8Array | Model,
  {
    ort,
    loss,
    trainable,
    recompute = [],
    trainingForm = [],
    seed = 0,
    initialize,
    dimensions = {},
    rules = {},
    sessionOptions = {},
    ...unknown
  }: TrainableOptions,
): Promise<TrainableModel> {
  for (const [option, value] of Object.entries(unknown)) {
    throw invalidOption(option, value, 'makeTrainable has no such option');
  }
  if (!ort) {
    throw invalidOption(
      'ort',
      ort,
      "give the runtime, as from import * as ort from 'onnxruntime-web'",
    );
  }
  if (typeof loss !== 'string' && !loss?.append) {
    throw invalidOption(
      'loss',
      loss,
      'give meanSquaredError() or another loss, or the name of a value',
    );
  }
  const given = source instanceof Uint8Array ? decodeModel(source) : source;
  if (!given?.graph) {
    const message = `The model is ${given}; give the bytes of an .onnx file, or what decodeModel returns.`;
    throw new OnnxModelError('unsupported-model', message, 'model', given);
  }
  const raised = upgrade(given, PREFIX);
  const { opset, constants } = raised;
  const forward = settle(raised.model, dimensions);
  const forms = [trainingForm].flat() as NodeChoice[];
  const before = forward.graph!;
  const mode = trainingGraph(new Emitter(`${PREFIX}training/`), before, ownRules, forms, seed);
  const { node: own = [], initializer: values = [], input = [] } = mode.graph;
  const graph = { ...before, node: own, initializer: values, input };
  const evaluated = () => ({ ...forward, graph: mode.probed(graph) });

  const all = { ...ownRules, ...convolutionRules, ...mode.rules, ...rules };
  /** Nothing is looked for behind outputs that have no gradient. */
  const isStop = (node: Node) => ruleOf(node, all) === nothing;

  const half = (graph.initializer ?? []).find(({ dataType }) => dataType === elementTypes.float16);
  if (half) {
    const message = `'${half.name}' is float16; give the model in float32.`;
    throw new OnnxModelError('unsupported-model', message, half.name, 'float16');
  }

  // The loss is a part of the graph like any other.
  const lossBuilder = new Emitter(`${PREFIX}loss/`);
  const extra: ValueInfo[] = [];
  let lossValue: Value;
  const known = new Set((graph.node ?? []).flatMap(({ output = [] }) => output));
  const outputs = (given.graph?.output ?? []).map(({ name = '' }) => name);
  const target =
    typeof loss === 'string' ? loss : (loss.output ?? (outputs.length === 1 ? outputs[0]! : ''));
  if (!known.has(target)) {
    const message = `The loss is to be taken of '${target}', which is no value of the model; its outputs are ${list(outputs)}.`;
    throw new OnnxModelError('unknown-value', message, target);
  }

  const held = new Map((graph.initializer ?? []).map((t) => [t.name ?? '', t]));
  const statistics = new Set(
    (graph.node ?? []).flatMap(({ opType, input = [] }) =>
      opType === 'BatchNormalization' ? input.slice(3) : [],
    ),
  );
  const choices = trainable === undefined ? undefined : ([trainable].flat() as Choice[]);
  for (const choice of choices ?? []) {
    if (typeof choice === 'string' && !held.has(choice)) {
      const message = `'${choice}' is no initializer of the model; those are ${list(held.keys())}.`;
      throw new OnnxModelError('unknown-value', message, choice);
    }
  }
  const bare = !given.graph?.initializer?.length;
  const candidates = new Set(
    [...held.values()]
      .filter((tensor) => {
        const { name = '', dataType } = tensor;
        const shape = shapeOf(tensor);
        if (choices) return choices.some((choice) => isChosen(choice, name, shape));
        return (
          dataType === elementTypes.float32 &&
          sizeOf(shape) > 1 &&
          (!constants.has(name) || bare) &&
          !statistics.has(name)
        );
      })
      .map(({ name = '' }) => name),
  );
  const reached = pathOf(graph, candidates, target, isStop);
  checkRules(reached.nodes, all, opset);
  if (![...candidates].some((name) => reached.values.has(name))) {
    // Perhaps all parameters are inside of a node's subgraphs.
    const inputs = (graph.input ?? []).map(({ name = '' }) => name);
    const whole = new Set([...inputs, ...held.keys()]);
    checkRules(pathOf(graph, whole, target, () => false).nodes, all, opset);
    const message = 'The loss depends on no trainable parameter; look at `trainable` and `loss`.';
    throw new OnnxModelError('invalid-option', message, 'trainable');
  }

  // Everything is checked that can be without running. The output's shape decides the loss's inputs.
  if (typeof loss === 'string') lossValue = loss;
  else {
    const { shapes } = await probe(ort, evaluated(), sessionOptions);
    const symbols = new Map<string, string>();
    for (const info of graph.input ?? []) {
      toldOf(info).dims?.forEach(({ dimParam }, axis) => {
        const extent = shapes.get(info.name!)![axis]!;
        if (dimParam && typeof extent !== 'number') symbols.set(String(extent.probes), dimParam);
      });
    }
    const shape = shapes
      .get(target)!
      .map((e, i) =>
        typeof e === 'number' ? e : (symbols.get(String(e.probes)) ?? `${target}:${i}`),
      );
    lossValue = loss.append(lossBuilder, target, extra, shape);
  }
  graph.node = [...(graph.node ?? []), ...lossBuilder.nodes];
  graph.initializer = [...(graph.initializer ?? []), ...lossBuilder.constants.values()];
  graph.input = [...(graph.input ?? []), ...extra];

  const path = pathOf(graph, candidates, lossValue, isStop);
  const wanted = new Set([...candidates].filter((name) => path.values.has(name)));
  const missed = [...candidates].find((name) => !wanted.has(name) && choices?.includes(name));
  if (missed !== undefined) {
    const message = `The loss does not depend on '${missed}'; leave it out of \`trainable\`.`;
    throw new OnnxModelError('invalid-option', message, 'trainable', missed);
  }
  checkRules(path.nodes, all, opset);
  const probed = await probe(ort, evaluated(), sessionOptions);
  const builder = new Emitter(PREFIX);
  const found = differentiate(builder, graph, {
    loss: lossValue,
    wanted,
    probed,
    rules: all,
    opset,
    recompute: [recompute].flat() as NodeChoice[],
  });

  const names = [...wanted].filter((name) => found.has(name));
  let initializer = graph.initializer;
  if (initialize !== undefined) {
    const next = random(initialize);
    initializer = initializer.map((t) =>
      names.includes(t.name ?? '')
        ? withFloatValues(t, initialValues(t.name!, shapeOf(t), given.graph!, next))
        : t,
    );
  }
  const low = new Emitter(`${PREFIX}lowered/`);
  const shape = (value: Value) => probed.shapes.get(value)!;
  const nodes = [...graph.node, ...builder.nodes].flatMap((node) => {
    const start = low.nodes.length;
    const done = mode.lower(low, node, shape) || lowered(low, node);
    return done ? low.nodes.slice(start) : [node];
  });
  const plain = { ...graph, node: own, input, initializer: initializer.slice(0, values.length) };
  return {
    loss: lossValue,
    gradients: Object.fromEntries(names.map((name) => [name, found.get(name)!])),
    carried: mode.carried,
    averaged: mode.averaged,
    forward: { ...forward, graph: mode.inference(plain) },
    model: {
      ...forward,
      graph: {
        ...graph,
        node: nodes,
        initializer: [...initializer, ...low.constants.values(), ...builder.constants.values()],
        output: [
          makeValueInfo(lossValue, 'float32', probed.shapes.get(lossValue) as number[]),
          ...(graph.output ?? []).filter(({ name }) => name !== lossValue),
        ],
      },
    },
  };
}
