import {
  decodeSafetensors,
  encodeSafetensors,
  type StoredTensor,
} from '@schedule-free-adan/core/checkpoints';
import * as tf from '@tensorflow/tfjs-core';

/**
 * Adam's own running powers of β1 and β2. `setWeights` recomputes them as β^(t+1), which differs in
 * the last bits from the product that training builds up, and a resumed run would drift away.
 */
interface RunningPowers {
  readonly accBeta1: tf.Variable;
  readonly accBeta2: tf.Variable;
}
const powersOf = (adam: tf.AdamOptimizer) => adam as unknown as RunningPowers;

const stored = (tensor: tf.Tensor): StoredTensor => ({
  shape: tensor.shape,
  data: Float32Array.from(tensor.dataSync()),
});

/** The weights and the whole state of an adam run, exact to the bit, as a safetensors file. */
export async function saveAdam(
  adam: tf.AdamOptimizer,
  variables: readonly tf.Variable[],
): Promise<Uint8Array> {
  const tensors = new Map<string, StoredTensor>();
  for (const variable of variables) tensors.set(variable.name, stored(variable));
  const [iterations, ...moments] = await adam.getWeights();
  for (const { name, tensor } of moments) tensors.set(name, stored(tensor));
  const { accBeta1, accBeta2 } = powersOf(adam);
  tensors.set('accBeta1', stored(accBeta1));
  tensors.set('accBeta2', stored(accBeta2));
  const metadata = { format: 'tfjs-adam/1', iterations: String(iterations!.tensor.dataSync()[0]) };
  iterations!.tensor.dispose();
  return encodeSafetensors({ metadata, tensors });
}

/** The way back, into a fresh optimizer. */
export async function loadAdam(
  adam: tf.AdamOptimizer,
  bytes: Uint8Array,
  variables: readonly tf.Variable[],
): Promise<void> {
  const { metadata, tensors } = decodeSafetensors(bytes);
  const restored = (name: string) => {
    const tensor = tensors.get(name);
    if (!tensor) throw new Error(`The saved state of adam has no '${name}'.`);
    return tf.tensor(tensor.data, [...tensor.shape]);
  };
  const moments = (suffix: string) =>
    variables
      .map(({ name }) => name + suffix)
      .filter((name) => tensors.has(name))
      .map((name) => ({ name, tensor: restored(name) }));
  const assign = (variable: tf.Variable, name: string) => {
    const value = restored(name);
    variable.assign(value);
    value.dispose();
  };

  for (const variable of variables) assign(variable, variable.name);
  const iterations = tf.scalar(Number(metadata.iterations), 'int32');
  // setWeights wraps these tensors in variables of its own, which share their memory.
  const weights = [...moments('/m'), ...moments('/v')];
  await adam.setWeights([{ name: 'iter', tensor: iterations }, ...weights]);
  tf.dispose([iterations, weights.map(({ tensor }) => tensor)]);
  assign(powersOf(adam).accBeta1, 'accBeta1');
  assign(powersOf(adam).accBeta2, 'accBeta2');
}
