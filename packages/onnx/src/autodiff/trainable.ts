import type { InferenceSession } from 'onnxruntime-common';
import { refuse } from '../errors.js';
import type { Value } from '../graph.js';
import { decodeModel } from '../model/codec.js';
import type { Model, Node, ValueInfo } from '../model/schema.js';
import {
  byName,
  elementTypes,
  list,
  makeValueInfo,
  shapeOf,
  sizeOf,
  toldOf,
} from '../model/tensors.js';
import type { OrtModule } from '../runtime.js';
import type { GradientModel } from '../training-model.js';
import { invalidOption, isChosen, type NameChoice, type NodeChoice } from './choice.js';
import { checkRules, differentiate, pathOf, ruleOf } from './differentiate.js';
import { Emitter } from './emit.js';
import { initialized } from './initialize.js';
import type { Loss } from './losses.js';
import { lower, trainingRules } from './lower.js';
import { checkTypes, probe, settle, type WholeGraph } from './probe.js';
import { nothing, rules as ownRules, type Rule } from './rules.js';
import { trainingForm } from './training-form.js';
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
    trainingForm: forms = [],
    seed = 0,
    initialize,
    dimensions = {},
    rules = {},
    sessionOptions = {},
    ...unknown
  }: TrainableOptions,
): Promise<TrainableModel> {
  const [other] = Object.entries(unknown);
  if (other) invalidOption(...other, 'makeTrainable has no such option');
  if (!ort) {
    const remedy = "give the runtime, as from import * as ort from 'onnxruntime-web'";
    invalidOption('ort', ort, remedy);
  }
  if (typeof loss !== 'string' && !loss?.append) {
    const remedy = 'give meanSquaredError() or another loss, or the name of a value';
    invalidOption('loss', loss, remedy);
  }
  const given = source instanceof Uint8Array ? decodeModel(source) : source;
  if (!given?.graph) {
    const message = `The model is ${given}; give the bytes of an .onnx file, or what decodeModel returns.`;
    refuse('unsupported-model', message, 'model', given);
  }
  const { model, opset, constants } = upgrade(given, PREFIX);
  const plain = settle(model, dimensions);
  checkTypes(plain.graph);
  const builder = new Emitter(PREFIX);
  const [training, node, runnable, initializer, states] = trainingForm(
    builder,
    plain.graph,
    forms,
    seed,
  );
  const graph = { ...plain.graph, node, initializer };
  const forward = { ...plain, graph };

  // The loss is a part of the graph like any other.
  const lossPart = new Emitter(`${PREFIX}loss/`);
  const lossInputs: ValueInfo[] = [];
  const withLoss = (node: Node[]): WholeGraph => ({
    ...graph,
    node: [...node, ...lossPart.nodes],
    initializer: [...graph.initializer, ...lossPart.constants.values()],
    input: [...graph.input, ...lossInputs],
  });
  const probed = () => probe(ort, { ...forward, graph: withLoss(runnable) }, sessionOptions);

  const outputs = [...byName(graph.output).keys()];
  const only = outputs.length === 1 ? outputs[0]! : '';
  const target = typeof loss === 'string' ? loss : (loss.output ?? only);
  if (!training.some(({ output = [] }) => output.includes(target))) {
    const message = `'${target}' is no value of the model; its outputs are ${list(outputs)}.`;
    refuse('unknown-value', message, target);
  }

  const held = byName(graph.initializer);
  const statistics = graph.node.flatMap(({ opType, input = [] }) =>
    opType === 'BatchNormalization' ? input.slice(3) : [],
  );
  const bare = !given.graph.initializer?.length;
  const usual = (name: string, shape: readonly number[]) =>
    held.get(name)!.dataType === elementTypes.float32 &&
    sizeOf(shape) > 1 &&
    (bare || !constants.has(name)) &&
    !statistics.includes(name);
  const choices = [trainable ?? usual].flat() as Choice[];
  for (const choice of choices) {
    if (typeof choice === 'string' && !held.has(choice)) {
      const message = `'${choice}' is no initializer of the model; those are ${list(held.keys())}.`;
      refuse('unknown-value', message, choice);
    }
  }
  const candidates = [...held.keys()].filter((name) =>
    choices.some((choice) => isChosen(choice, name, shapeOf(held.get(name)!))),
  );

  const all = { ...ownRules, ...convolutionRules, ...trainingRules, ...rules };
  /** What the value depends on, through nodes that all have rules. */
  const reached = (value: Value, from: readonly string[], stops: (node: Node) => boolean) => {
    const [nodes, values] = pathOf(withLoss(training), from, value, stops);
    checkRules(nodes, all, opset);
    return values;
  };
  /** Those that it depends on; nothing is looked for behind outputs that have no gradient. */
  const trained = (value: Value) => {
    const values = reached(value, candidates, (node) => ruleOf(node, all) === nothing);
    return candidates.filter((name) => values.has(name));
  };
  if (trained(target).length === 0) {
    // Perhaps all parameters are inside of a node's subgraphs.
    reached(target, [...byName(graph.input).keys(), ...held.keys()], () => false);
    const remedy = 'the loss depends on no such parameter; choose others, or look at `loss`';
    invalidOption('trainable', trainable, remedy);
  }

  // Everything is checked that can be without running. The output's shape decides the loss's inputs.
  let lossValue = target;
  if (typeof loss !== 'string') {
    const infos = byName(graph.input);
    const { shapes } = await probed();
    const shape = shapes.get(target)!.map((extent, axis) => {
      if (typeof extent === 'number') return extent;
      const symbol = toldOf(infos.get(extent.of) ?? {}).dims?.[extent.axis]?.dimParam;
      return symbol ?? `${target}:${axis}`;
    });
    lossValue = loss.append(lossPart, target, lossInputs, shape);
  }
  const wanted = trained(lossValue);
  const missed = candidates.find((name) => !wanted.includes(name) && choices.includes(name));
  if (missed !== undefined) {
    invalidOption('trainable', missed, 'leave it out, since the loss does not depend on it');
  }
  const known = await probed();
  const found = differentiate(
    builder,
    withLoss(training),
    lossValue,
    wanted,
    known,
    all,
    opset,
    recompute,
  );

  const names = wanted.filter((name) => found.has(name));
  if (initialize !== undefined) graph.initializer = initialized(graph, names, initialize);
  const low = new Emitter(`${PREFIX}lowered/`);
  const full = withLoss(training);
  const nodes = [...full.node, ...builder.nodes].flatMap((one) => lower(low, one, known.shapes));
  full.initializer.push(...low.constants.values(), ...builder.constants.values());
  const output = [
    makeValueInfo(lossValue, 'float32', known.shapes.get(lossValue) as number[]),
    ...graph.output.filter(({ name }) => name !== lossValue),
  ];
  return {
    loss: lossValue,
    gradients: Object.fromEntries(names.map((name) => [name, found.get(name)!])),
    ...states,
    forward,
    model: { ...forward, graph: { ...full, node: nodes, output } },
  };
}
