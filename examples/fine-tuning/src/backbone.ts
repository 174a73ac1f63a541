import * as tf from '@tensorflow/tfjs';
// A MobileNetV2 whose files are in the package. That library sorts photographs into kinds; here only
// what its convolutions have learned to see is of use.
import { MobileNetV2Model } from 'nsfwjs/models/mobilenet_v2';

/** Pixels of an image's side. The network was made for 224; its convolutions take any size. */
export const imageSize = 96;

interface LayerConfig {
  readonly name: string;
  readonly config: { batch_input_shape?: (number | null)[] };
}
interface Topology {
  model_config: { config: { layers: LayerConfig[]; output_layers: [string, number, number][] } };
}
interface Files {
  readonly modelTopology: Topology;
  readonly weightsManifest: readonly [{ readonly weights: tf.io.WeightsManifestEntry[] }];
}

/** The layer whose output the rest of the network makes its image of the world from. */
const lastBlock = 'block_16_project_BN';
/** The layers between that and the old head, which can be trained anew. */
const trainable = ['Conv_1', 'Conv_1_bn', 'out_relu'];

export interface Backbone {
  /** From images of 96 × 96 × 3, 0 to 1, to features of 3 × 3 × 320. */
  readonly frozen: tf.LayersModel;
  /** A convolution to 1280 channels, its BatchNormalization, a ReLU. */
  readonly last: readonly tf.layers.Layer[];
}

/** The pretrained network without its head. */
export async function loadBackbone(): Promise<Backbone> {
  const { default: files } = (await MobileNetV2Model.modelJson()) as { default: Files };
  const load = MobileNetV2Model.weightBundles as readonly (() => Promise<{ default: string }>)[];
  const bundles = await Promise.all(load.map((bundle) => bundle()));
  const weightData = Uint8Array.from(
    Buffer.concat(bundles.map(({ default: base64 }) => Buffer.from(base64, 'base64'))),
  ).buffer;

  const modelTopology = structuredClone(files.modelTopology);
  const { config } = modelTopology.model_config;
  const end = config.layers.findIndex(({ name }) => name === trainable.at(-1));
  config.layers.length = end + 1;
  config.output_layers = [[config.layers[end]!.name, 0, 0]];
  config.layers[0]!.config.batch_input_shape = [null, imageSize, imageSize, 3];

  const weightSpecs = files.weightsManifest[0].weights;
  const handler = tf.io.fromMemory({ modelTopology, weightSpecs, weightData });
  // The weights of the old head are left over.
  const model = await tf.loadLayersModel(handler, { strict: false });
  const frozen = tf.model({
    inputs: model.inputs,
    outputs: model.getLayer(lastBlock).output as tf.SymbolicTensor,
  });
  return { frozen, last: trainable.map((name) => model.getLayer(name)) };
}
