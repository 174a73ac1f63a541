import type { Node } from '../model/schema.js';

/** A choice by name, by pattern of names, or by name and something more. */
export type NameChoice<T> = string | RegExp | ((name: string, more: T) => boolean);

/** Nodes by name, pattern of names, or by name and operator. One without a name has that of its first output. */
export type NodeChoice = NameChoice<string>;

export function isChosen<T>(choice: NameChoice<T>, name: string, more: T): boolean {
  if (typeof choice === 'string') return choice === name;
  return choice instanceof RegExp ? name.search(choice) >= 0 : choice(name, more);
}

export const isNodeChosen = (choice: NodeChoice, { name, opType = '', output = [] }: Node) =>
  isChosen(choice, name || output[0]!, opType);
