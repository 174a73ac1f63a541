import type { StepGroup, StepRequest } from '@schedule-free-adan/core';
import {
  atom,
  type Expression,
  glsl,
  type Kernel,
  pointKernel,
  printer,
  stepKernel,
} from '@schedule-free-adan/core/interpreters';
import { coefficients, type StateKey } from '@schedule-free-adan/core/rule';
import type { KernelBackend, Tensor, TensorInfo } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { formKey } from './form-key.js';
import type { Fused } from './index.js';
import { adopt, replace, share } from './private.js';

interface Program {
  readonly variableNames: string[];
  readonly outputShape: number[];
  readonly userCode: string;
  readonly packedInputs: boolean;
  readonly packedOutput: boolean;
  readonly customUniforms?: { name: string; arrayIndex: number; type: 'float' }[];
}

interface TextureData {
  readonly texture?: unknown;
  readonly values?: unknown;
  readonly texShape?: readonly number[];
  readonly isPacked?: boolean;
  readonly slice?: unknown;
}

interface WebGlBackend extends KernelBackend {
  readonly texData: { get(dataId: object): TextureData };
  compileAndRun(
    program: Program,
    inputs: Tensor[],
    dtype: 'float32',
    uniforms?: number[][],
  ): TensorInfo;
}

const isWebGl = (backend: KernelBackend): backend is WebGlBackend => {
  const { texData, compileAndRun } = backend as Partial<WebGlBackend>;
  return texData !== undefined && typeof compileAndRun === 'function';
};

/** What the rule calls a new value that another pass has written. */
const labels: Readonly<Record<string, string>> = { newM: 'm', newV: 'v', newN: 'n', newZ: 'z' };
/** The order of the passes: each may read what came before. */
const order = ['m', 'v', 'n', 'g', 'z', 'parameter', 'to'];

interface Pass {
  readonly output: string;
  /** Tensors that are read, by name; what begins with `next_` is an earlier pass's. */
  readonly inputs: readonly string[];
  readonly body: string;
}

const scalars = ['clip', 'finite', 'seen', 'value'];
/** `direct`: the texture of an input is laid out as that of the output. */
const sampler = (name: string, direct: boolean): string => {
  if (scalars.includes(name)) return `vec4(get${name[0]!.toUpperCase()}${name.slice(1)}().x)`;
  return direct
    ? `texelFetch(${name}, ivec2(gl_FragCoord.xy), 0)`
    : `get${name[0]!.toUpperCase()}${name.slice(1)}AtOutCoords()`;
};

/** A kernel as passes with one output each, which is all that WebGL's float textures give. */
function passesOf(kernel: Kernel, checking: boolean, clipping: boolean, unseen: boolean): Pass[] {
  const outputs = order.filter((name) => kernel.outputs.includes(name));
  return outputs.map((output, at) => {
    const done = outputs.slice(0, at);
    const text = printer(glsl);
    const inputs = new Set<string>();
    const read = (name: string): Expression => {
      inputs.add(name);
      return atom(`_${name}`);
    };
    const value = (name: string): Expression => {
      if (kernel.inputs.includes(name)) {
        if (name !== 'g' || !unseen) return read(name);
        const { text: g } = read('g');
        return atom(
          `(${read('seen').text}.x > 0.5 ? ${g} : ${clipping ? 'clipped' : '_gradient'})`,
        );
      }
      if (name === 'clip') return read('clip');
      return atom(`c[${kernel.numbers.indexOf(name)}]`);
    };
    const results = kernel.run(
      {
        ...text,
        name(label, expression) {
          const key = labels[label];
          return key !== undefined && done.includes(key)
            ? read(`next_${key}`)
            : text.name!(label, expression);
        },
      },
      value,
    );
    // Only the lines that this output stands on.
    let result = results[output]!.text;
    if (checking) result = `${read('finite').text}.x > 0.5 ? ${result} : ${read(output).text}`;
    const lines: string[] = [];
    let needed = result;
    for (const line of [...text.lines].reverse()) {
      const name = /^vec4 (\w+)/.exec(line)![1]!;
      if (!new RegExp(`\\b${name}\\b`).test(needed)) continue;
      lines.unshift(line);
      needed += `\n${line}`;
    }
    const used = [...inputs].filter((name) => new RegExp(`\\b_${name}\\b`).test(needed));
    return {
      output,
      inputs: used,
      body: [...lines, `vec4 result = ${result};`].join('\n'),
    };
  });
}

const convert: Pass = { output: 'value', inputs: ['value'], body: 'vec4 result = _value;' };

const channels = ['x', 'y', 'z', 'w', 'u', 'v'];

/** Zeros in the lanes of a texel that no element owns, where tfjs' own operations may read them. */
function masked(shape: readonly number[]): string {
  const rank = shape.length;
  if (shape.every((extent) => extent === 1)) return 'result.yzw = vec3(0.0);';
  if (rank === 1) {
    return `if (getOutputCoords() + 1 >= ${shape[0]}) result.y = 0.0;\nresult.zw = vec2(0.0);`;
  }
  return `ivec${rank} at = getOutputCoords();
if (at.${channels[rank - 1]} + 1 >= ${shape[rank - 1]}) result.yw = vec2(0.0);
if (at.${channels[rank - 2]} + 1 >= ${shape[rank - 2]}) result.zw = vec2(0.0);`;
}

const SHARE = 64;

/**
 * A share of a gradient's sum of squares for each output, or −1 where an element is not finite. Read
 * texel by texel: two by two elements of a matrix, of which some may be none.
 */
function partialSums(shape: readonly number[]): Program {
  const columns = shape.at(-1) ?? 1;
  const rows = shape.at(-2) ?? 1;
  const matrices = tf.util.sizeFromShape(shape.slice(0, -2));
  const across = Math.ceil(columns / 2);
  const down = Math.ceil(rows / 2);
  const texels = matrices * across * down;
  const shares = Math.min(2048, Math.ceil(texels / SHARE));
  return {
    variableNames: ['gradient'],
    outputShape: [shares],
    packedInputs: true,
    packedOutput: false,
    // Divisions are slow: none for each texel where every texel is full.
    userCode: `void main() {
  int width = textureSize(gradient, 0).x;
  float sum = 0.0;
  bool bad = false;
  int first = getOutputCoords();
  ivec2 at = ivec2(first % width, first / width);
  ivec2 stride = ivec2(${shares} % width, ${shares} / width);
  for (int t = first; t < ${texels}; t += ${shares}) {
    vec4 g = texelFetch(gradient, at, 0);
    at += stride;
    if (at.x >= width) at += ivec2(-width, 1);
    bool right = ${columns % 2 === 0 ? 'true' : `2 * (t % ${across}) + 1 < ${columns}`};
    bool below = ${rows % 2 === 0 ? 'true' : rows === 1 ? 'false' : `2 * ((t / ${across}) % ${down}) + 1 < ${rows}`};
    g = vec4(g.x, right ? g.y : 0.0, below ? g.z : 0.0, right && below ? g.w : 0.0);
    uvec4 bits = floatBitsToUint(g) & uvec4(0x7f800000u);
    bad = bad || any(equal(bits, uvec4(0x7f800000u)));
    sum += dot(g, g);
  }
  setOutput(bad ? -1.0 : sum);
}`,
  };
}

/** Passes over textures through the backend's own compileAndRun. Nothing is written in place there. */
export function webgl(backend: KernelBackend): Fused | undefined {
  if (!isWebGl(backend)) return undefined;
  // Bits of a float32 are only there in WebGL 2 with float textures.
  const env = tf.env();
  if (env.getNumber('WEBGL_VERSION') !== 2 || !env.getBool('WEBGL_RENDER_FLOAT32_ENABLED')) {
    return undefined;
  }

  const plans = new Map<string, { kernel: Kernel; passes: Pass[] }>();
  const plan = (key: string, describe: () => Kernel, options: [boolean, boolean, boolean]) => {
    let found = plans.get(key);
    if (!found) {
      const kernel = describe();
      found = { kernel, passes: passesOf(kernel, ...options) };
      plans.set(key, found);
    }
    return found;
  };
  const run = (
    { output, inputs, body }: Pass,
    shape: number[],
    tensor: (name: string) => Tensor,
    numbers: number[],
  ): [string, Tensor] => {
    const tensors = inputs.map(tensor);
    const layouts = tensors.flatMap(({ dataId }, i) => {
      if (scalars.includes(inputs[i]!)) return [];
      const { texture, texShape, isPacked, slice } = backend.texData.get(dataId);
      return texture != null && isPacked && slice == null ? String(texShape) : 'unknown';
    });
    const direct = layouts.every((layout) => layout === layouts[0] && layout !== 'unknown');
    const visible = output === 'parameter' || output === 'to';
    const program: Program = {
      variableNames: [...inputs],
      outputShape: shape,
      packedInputs: true,
      packedOutput: true,
      customUniforms: [{ name: 'c', arrayIndex: numbers.length, type: 'float' }],
      userCode: [
        'void main() {',
        ...inputs.map((name) => `vec4 _${name} = ${sampler(name, direct)};`),
        body,
        visible && masked(shape),
        'setOutput(result);\n}',
      ]
        .filter(Boolean)
        .join('\n'),
    };
    const info = backend.compileAndRun(program, tensors, 'float32', [numbers]);
    return [output, adopt(info)];
  };
  /** A scalar that the host knows, without waiting. */
  const known = ({ dataId }: Tensor) => {
    const { texture, values } = backend.texData.get(dataId);
    return texture == null ? (values as Float32Array | undefined)?.[0] : undefined;
  };

  const step = (request: StepRequest<Tensor>): void => {
    const { metrics, maxGradNorm, epsilon, skipNonFinite } = request;
    const entries = request.entries.filter(({ gradient }) => gradient.size > 0);
    const clipping = maxGradNorm > 0;
    const held: Tensor[] = [];
    const hold = (make: () => Tensor): Tensor => {
      const tensor = tf.keep(tf.tidy(make));
      held.push(tensor);
      return tensor;
    };
    /** A scalar as the kernels read it: or tfjs would convert it again for every pass. */
    const packed = (make: () => Tensor): Tensor => {
      const value = hold(make);
      const [, tensor] = run(convert, [], () => value, [0]);
      held.push(tensor);
      return tensor;
    };
    let clip: Tensor | undefined;
    let finite: Tensor | undefined;
    if ((clipping || skipNonFinite) && entries.length > 0) {
      const partials = hold(() =>
        tf.concat(
          entries.map(({ gradient }) =>
            tf
              .engine()
              .makeTensorFromTensorInfo(
                backend.compileAndRun(partialSums(gradient.shape), [gradient], 'float32'),
              ),
          ) as tf.Tensor1D[],
        ),
      );
      if (clipping) {
        const norm = hold(() => tf.sqrt(tf.sum(partials)));
        clip = packed(() => tf.minimum(1, tf.div(maxGradNorm, tf.add(norm, epsilon))));
        replace(metrics, 'gradientNorm', share(norm));
        replace(metrics, 'clipFactor', share(clip));
      }
      if (skipNonFinite) {
        finite = packed(() => tf.cast(tf.greaterEqual(tf.min(partials), 0), 'float32'));
        const verdict = finite;
        const skipped = hold(() => tf.add(metrics.skippedSteps, tf.sub(1, verdict)));
        replace(metrics, 'skippedSteps', share(skipped));
      }
    }

    // Parameters that were met together share one answer, whether they have had a gradient.
    const sights = new Map<unknown, Tensor>();
    const groups = new Map<StepGroup, Record<string, number>>();
    for (const { form, group, state, gradient } of request.entries) {
      const { seen } = state;
      const seenAlready = seen ? known(seen) : undefined;
      if (gradient.size > 0) {
        const unseen = seen !== undefined && seenAlready !== 1;
        const { kernel, passes } = plan(
          `${formKey(form)} ${clipping} ${unseen} ${finite !== undefined}`,
          () => stepKernel(form, { clipping, clipKnown: 'device' }),
          [finite !== undefined, clipping, unseen],
        );
        const c = groups.get(group) ?? { ...coefficients(group) };
        groups.set(group, c);
        const numbers = kernel.numbers.map((name) => c[name] ?? 0);
        const next = new Map<string, Tensor>();
        const tensor = (name: string): Tensor => {
          if (name === 'gradient') return gradient;
          if (name === 'clip') return clip!;
          if (name === 'finite') return finite!;
          if (name.startsWith('next_')) return next.get(name.slice(5))!;
          return state[name as StateKey]!;
        };
        for (const pass of passes) next.set(...run(pass, gradient.shape, tensor, numbers));
        for (const [name, tensor] of next) {
          if (name === 'parameter') state.parameter = tensor;
          else replace(state, name as StateKey, tensor);
        }
      }
      if (!seen || seenAlready === 1) continue;
      const key = seenAlready ?? seen.dataId;
      let after = sights.get(key);
      if (!after) {
        after = packed(() => (finite ? tf.maximum(seen, finite) : tf.scalar(1, 'float32')));
        sights.set(key, after);
      }
      replace(state, 'seen', share(after));
    }
    tf.dispose(held);
  };

  return {
    step,
    point(from, z, momentum, to) {
      if (from.size === 0) return share(from);
      const { kernel, passes } = plan(to, () => pointKernel(to), [false, false, false]);
      const values: Record<string, number> = { momentum, oneMinusMomentum: 1 - momentum };
      const numbers = kernel.numbers.map((name) => values[name]!);
      return run(passes[0]!, from.shape, (name) => (name === 'z' ? z : from), numbers)[1];
    },
  };
}
