import type { Node } from '../model/schema.js';

/** Values that are no tensors, which a run can't give. */
export function sequences(nodes: readonly Node[]): ReadonlySet<string> {
  const found = new Set<string>();
  for (const { opType = '', input = [], output = [] } of nodes) {
    if (/^(Sequence(Empty|Construct|Insert|Erase)|SplitToSequence|Optional)$/.test(opType)) {
      for (const name of output) found.add(name);
    }
    // What a loop carries comes after its count and condition.
    const from = { Loop: 2, Identity: 0 }[opType];
    if (from === undefined) continue;
    output.forEach((name, i) => {
      if (found.has(input[i + from] ?? '')) found.add(name);
    });
  }
  return found;
}
