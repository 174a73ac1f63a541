import { refuse } from '../errors.js';
import type { Node } from '../model/schema.js';

/** A choice by name, by pattern of names, or by name and something more. */
export type NameChoice<T> = string | RegExp | ((name: string, more: T) => boolean);

/** Nodes by name, pattern of names, or by name and operator. One without a name has that of its first output. */
export type NodeChoice = NameChoice<string>;

export function invalidOption(option: string, value: unknown, remedy: string): never {
  const shown = typeof value === 'function' ? 'a function' : value;
  const message = `'${option}' is ${shown}; ${remedy}.`;
  refuse('invalid-option', message, option, value);
}

export function isChosen<T>(choice: NameChoice<T>, name: string, more: T): boolean {
  if (typeof choice === 'string') return choice === name;
  return choice instanceof RegExp ? name.search(choice) >= 0 : choice(name, more);
}

/**
 * The nodes that are chosen, and which choice is the first that meets them: its place among all.
 * @throws OnnxModelError `invalid-option` for a choice that meets none
 */
export function chosenNodes(
  option: string,
  choices: NodeChoice | readonly NodeChoice[],
  nodes: readonly Node[],
): Map<Node, number> {
  const chosen = new Map<Node, number>();
  ([choices].flat() as NodeChoice[]).forEach((choice, place) => {
    const met = nodes.filter(({ name, opType = '', output = [] }) =>
      isChosen(choice, name || output[0]!, opType),
    );
    if (met.length === 0) {
      invalidOption(option, choice, "it meets no node; look at the names of the model's");
    }
    for (const node of met) if (!chosen.has(node)) chosen.set(node, place);
  });
  return chosen;
}
