import { captured, type Value } from '../graph.js';
import { attributeOf, makeAttribute, makeNode } from '../model/nodes.js';
import type { Node, Tensor } from '../model/schema.js';
import { byName, makeTensor, numbersOf, toNumber } from '../model/tensors.js';
import { isStandard } from '../training-model.js';
import { chosenNodes, type NodeChoice } from './choice.js';
import type { Emitter } from './emit.js';
import { STRIDES } from './lower.js';
import type { WholeGraph } from './probe.js';

/**
 * A graph whose BatchNormalization and Dropout are those of training: the nodes as they are trained, those
 * in training form being operators of the domain `training`; as they are evaluated; that again, as a runtime
 * reads it that optimizes nothing away; the initializers that all of them read; and what is carried.
 */
export type TrainingForm = readonly [
  training: Node[],
  inference: Node[],
  probed: Node[],
  initializer: Tensor[],
  states: Readonly<Record<'carried' | 'averaged', Readonly<Record<string, Value>>>>,
];

const MODE = 'training_mode';

/** Random 32 bits of a and b: the first factor of a mask's seed. */
function mixed(a: number, b: number): number {
  let h = Math.imul(a, STRIDES[0]!) + b + 1;
  for (let i = 0; i < 2; i++) h = Math.imul(h ^ (h >>> 16), STRIDES[2]!);
  return (h ^ (h >>> 16)) | 0;
}

/** A Dropout that drops nothing is none: the runtime of webgpu has no Dropout. */
const withoutDropout = (node: Node): Node => {
  const { opType, input = [], output = [] } = node;
  const idle = isStandard(node) && opType === 'Dropout' && !input[2] && !output[1];
  return idle ? makeNode('Identity', input.slice(0, 1), output.slice(0, 1)) : node;
};

/**
 * Finds the nodes that are in training form, or are chosen to be.
 *
 * A BatchNormalization gets further outputs: what its gradient reads, and the batch's own mean and
 * variance. A Dropout gets an output with what it kept, and a seed of its own; the number of runs so far
 * is carried.
 * @param b gets the counter of runs
 * @throws OnnxModelError `invalid-option` for a choice that meets no such node
 */
export function trainingForm(
  b: Emitter,
  { node: nodes, initializer, output: outputs }: WholeGraph,
  choices: NodeChoice | readonly NodeChoice[],
  seed: number,
): TrainingForm {
  const held = byName(initializer);
  const carried: Record<string, Value> = {};
  const averaged: Record<string, Value> = {};
  const counter = `${b.prefix}training/counter`;
  const modes = new Set<string>();
  const read = new Set([...byName(outputs).keys(), ...nodes.flatMap(({ input = [] }) => input)]);
  let drops = 0;
  const either = nodes.filter(
    (node) => isStandard(node) && /^(BatchNormalization|Dropout)$/.test(node.opType!),
  );
  const chosen = chosenNodes('trainingForm', choices, either);

  /** The node in training, and what stands for it in evaluation. */
  const forms = nodes.map((node): [Node, ...Node[]] => {
    const { opType, attribute = [], input = [], output = [] } = node;
    const [y = ''] = output;
    const own = (part: string) => `${b.prefix}training/${part}/${y}`;
    if (!either.includes(node)) return [node, node];
    if (opType === 'Dropout') {
      const [x = '', ratio = '', mode = ''] = input;
      const tensor = held.get(mode);
      if (tensor) modes.add(mode);
      const plain: Node = { ...node, input: [x, ratio].filter(Boolean) };
      if (!chosen.has(node)) {
        if (mode && !tensor) return [node, node];
        if (!numbersOf(tensor ?? {})[0]) return [plain, plain];
      }
      carried[counter] ??= b.add(counter, 1);
      const key = mixed(seed, Number(attributeOf(node, 'seed').i ?? drops++));
      const training = {
        ...node,
        domain: 'training',
        input: [x, ratio, counter],
        output: [y, output[1] || own('kept')],
        attribute: [makeAttribute('seed', key)],
      };
      return [training, plain];
    }
    if (!chosen.has(node) && !toNumber(attributeOf(node, MODE).i)) return [node, node];
    const statistics = input.slice(3);
    const running = statistics.map((_, k) => output[k + 1] || own(`running${k}`));
    const current = statistics.map((_, k) => own(`batch${k}`));
    // Two nodes may share them: the second renews what the first made.
    const before = statistics.map((name) => carried[name] ?? name);
    statistics.forEach((name, k) => {
      if (!held.has(name)) return;
      carried[name] = running[k]!;
      averaged[name] = current[k]!;
    });
    const training = {
      ...node,
      domain: 'training',
      input: [...input.slice(0, 3), ...before],
      output: [y, own('hat'), own('scale'), ...current, ...running],
    };
    const inference = {
      ...node,
      output: [y],
      attribute: attribute.filter(({ name }) => name !== MODE),
    };
    // Whoever reads running statistics finds those that the model has.
    const same = statistics.flatMap((name, k) =>
      read.has(running[k]!) ? makeNode('Identity', [name], [running[k]!]) : [],
    );
    return [training, inference, ...same];
  });
  if (carried[counter]) b.constants.set(counter, makeTensor(counter, 'float32', [], [0]));
  const inference = forms.flatMap(([, ...evaluated]) => evaluated);
  for (const node of inference) {
    for (const name of [...(node.input ?? []), ...captured(node)]) modes.delete(name);
  }
  return [
    forms.map(([node]) => withoutDropout(node)),
    inference,
    inference.map(withoutDropout),
    initializer.filter(({ name = '' }) => !modes.has(name)),
    { carried, averaged },
  ];
}
