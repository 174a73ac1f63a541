import { type Kernel, pointKernel, stepKernel } from '@schedule-free-adan/core/interpreters';
import type {
  CoefficientName,
  Coefficients,
  Placement,
  RuleForm,
} from '@schedule-free-adan/core/rule';
import {
  expression,
  forEach,
  shader,
  statements,
  storage,
  sumOfSquares,
  total,
  uniform,
  vectorAt,
  verdict,
} from '@schedule-free-adan/core/wgsl';

/** How a step is specialised, besides the form of the rule. */
export interface StepVariant {
  readonly form: RuleForm;
  /** Multiply gradients by the clip factor. */
  readonly clipping: boolean;
  /** Do nothing where the verdict is so. */
  readonly checking: boolean;
  /** The dispatch spans one tensor: no table of blocks is read. */
  readonly single: boolean;
  /** The parameter's and the gradient's buffers hold whole vectors of four. */
  readonly packed: boolean;
  /** m, v and the previous gradient are pairs of float16. */
  readonly half: boolean;
  /** Write x as well. */
  readonly averages: boolean;
  /** How many sets of coefficients there are. */
  readonly sets: number;
  /** Coefficients that are the same in all sets and steps: printed, not read. */
  readonly constants: Partial<Coefficients>;
  /** Vectors in every array, where that is known beforehand: saves looking up each array's length. */
  readonly vectors?: number | undefined;
  /** Words of the tables, likewise. */
  readonly words?: number | undefined;
}

export const HALF = ['m', 'v', 'g'];
/** Words of the control buffer before the tables. */
export const HEADER = 5;
/** Words of a tensor's row: set of coefficients, length, start, first partial, shares, first gradient. */
export const ROW = 6;
export const INACTIVE = 0xffffffff;
/** Words of a request before the sets of coefficients, which take up to {@link SET} each. */
export const REQUEST = 12;
export const SET = 20;
/** Bytes of a request; requests lie side by side, where a binding may begin. */
export const requestBytes = (sets: number): number => Math.ceil((REQUEST + SET * sets) / 64) * 256;

/**
 * What every kernel of a step is bound to. Of the control buffer: the metrics; whether the step is taken,
 * and whether it is and a tensor meets its first gradient; then `words`: who has seen a gradient, a word for
 * each tensor, then the tensors' rows, the other tables, and the norm's partial sums.
 */
const bindings = (access: 'read' | 'read_write', { sets = '', words = '' } = {}) =>
  `struct Request {
  maxGradNorm: f32, epsilon: f32, partials: u32, tensors: u32,
  blocks: u32, items: u32, itemCount: u32, vectors: u32, tensor: u32, sums: u32,${sets}
}
struct Control {
  gradientNorm: f32, clipFactor: f32, skippedSteps: f32, taken: u32, first: u32,
  words: array<u32${words}>,
}
@group(0) @binding(0) var<storage, ${access}> control: Control;
${uniform(1, 'request', 'Request')}
fn row(tensor: u32) -> u32 { return request.tensors + ${ROW} * tensor; }`;
/** Every pipeline sets it. */
export const SIZE = 'workgroupSize';
const tensorOf = ({ single }: StepVariant, block: string) =>
  single ? 'request.tensor' : `control.words[request.blocks + ${block} / 16]`;

/** The step as the core tells it. */
export const ruleOf = ({ form, clipping, averages }: StepVariant): Kernel =>
  stepKernel(form, { clipping, clipKnown: 'device', averages });

/** The coefficients that a step reads. */
export const coefficientNames = (variant: StepVariant): CoefficientName[] =>
  (ruleOf(variant).numbers as CoefficientName[]).filter(
    (name) => variant.constants[name] === undefined && String(name) !== 'clip',
  );

const narrow = `fn narrow(values: vec4f) -> vec2u {
  let v = clamp(values, vec4f(-65504), vec4f(65504));
  return vec2u(pack2x16float(v.xy), pack2x16float(v.zw));
}`;
const wide = `fn wide(v: vec2u) -> vec4f { return vec4f(unpack2x16float(v.x), unpack2x16float(v.y)); }`;
const constant = (value: number) => `${Math.fround(value)}f`;

/** The arrays of a step, four numbers at a time: how they are declared, read and written. */
const arrays = ({ half, packed, vectors }: StepVariant) => {
  const isHalf = (name: string) => half && HALF.includes(name);
  const isSplit = (name: string) => !packed && (name === 'gradient' || name === 'parameter');
  return {
    declare: (name: string, k: number) =>
      storage(
        2 + k,
        name === 'gradient' ? 'read' : 'read_write',
        `all_${name}`,
        isHalf(name) ? 'vec2u' : isSplit(name) ? 'f32' : 'vec4f',
        vectors,
      ),
    read(name: string) {
      if (isSplit(name)) return vectorAt(`all_${name}`, '4 * i');
      return isHalf(name) ? `wide(all_${name}[i])` : `all_${name}[i]`;
    },
    write(name: string, value: string) {
      if (isSplit(name)) {
        return `let moved = ${value};
  for (var k = 0u; k < 4 && 4 * i + k < arrayLength(&all_${name}); k++) { all_${name}[4 * i + k] = moved[k]; }`;
      }
      return `all_${name}[i] = ${isHalf(name) ? `narrow(${value})` : value};`;
    },
  };
};

/** The fused step: the rule of the core, four numbers at a time. */
export function fusedKernel(variant: StepVariant): string {
  const { sets, constants, averages, words } = variant;
  const rule = ruleOf(variant);
  const names = coefficientNames(variant);
  const { declare, read, write } = arrays(variant);
  /** Which of a few sets: constant indices are quick to read, and one that is computed is not. */
  const coefficient = (name: string) => {
    if (sets > 4) return `request.sets[which].${name}`;
    let text = `request.sets[0].${name}`;
    for (let k = 1; k < sets; k++)
      text = `select(${text}, request.sets[${k}].${name}, which == ${k})`;
    return text;
  };
  return shader(
    `struct Coefficients { @align(16) ${names.map((name) => `${name}: f32`).join(', ')} }`,
    bindings('read', {
      sets: `\n  @align(16) sets: array<Coefficients, ${sets}>,`,
      words: words ? `, ${words}` : '',
    }),
    ...rule.inputs.map(declare),
    averages && declare('x', rule.inputs.length),
    variant.half && wide,
    variant.half && narrow,
    forEach(SIZE),
    // Arithmetic, since a branch costs more on some devices than what it saves.
    variant.checking
      ? '  if (i >= request.vectors * control.taken) { return; }'
      : '  _ = &control;\n  if (i >= request.vectors) { return; }',
    !variant.single &&
      `  let tensor = ${tensorOf(variant, 'i')};
  if (tensor == ${INACTIVE}u) { return; }`,
    sets > 1 && '  let which = control.words[row(tensor)];',
    statements(
      rule,
      (name) => {
        if (rule.inputs.includes(name)) return read(name);
        if (name === 'clip') return 'control.clipFactor';
        const known = constants[name as CoefficientName];
        return known === undefined ? coefficient(name) : constant(known);
      },
      write,
    ),
    '}',
  );
}

/**
 * First pass over the gradients: every thread sums its share of one tensor, without meeting others.
 * @param whole The array holds whole units of 16 numbers.
 * @param units How many, where that is known.
 */
export const normKernel = (checking: boolean, whole: boolean, units?: number): string =>
  shader(
    bindings('read_write'),
    storage(2, 'read', 'gradients', whole ? 'mat4x4f' : 'f32', units),
    sumOfSquares('gradients', whole, checking),
    forEach(SIZE),
    `  if (i >= request.itemCount) { return; }
  let tensor = row(control.words[request.items + 2 * i]);
  let share = control.words[request.items + 2 * i + 1];
  let squares = squares_gradients(control.words[tensor + 2], control.words[tensor + 1], share, control.words[tensor + 4]);
  let to = request.sums + 2 * (control.words[tensor + 3] + share);
  control.words[to] = bitcast<u32>(squares.x);
  control.words[to + 1] = bitcast<u32>(squares.y);
}`,
  );

/** Second pass, one workgroup: norm, clip factor, the verdict, and who meets a first gradient. */
export const verdictKernel = (): string =>
  total({
    declarations: [bindings('read_write')],
    count: 'request.partials',
    share:
      'bitcast<vec2f>(vec2u(control.words[request.sums + 2 * k], control.words[request.sums + 2 * k + 1]))',
    before: `  for (var k = lane; k < request.tensors; k += 64) {
    let first = control.words[row(k)] != ${INACTIVE}u && control.words[k] == 0;
    control.words[row(k) + ${ROW - 1}] = u32(first);
    share.z += f32(first);
  }`,
    after: `${verdict}
  if (lane == 0) {
    control.taken = u32(finite);
    control.first = u32(finite && total.z > 0);
    control.skippedSteps += 1 - f32(finite);
    if (request.maxGradNorm > 0) {
      control.gradientNorm = norm;
      control.clipFactor = clip;
    }
  }
  for (var k = lane; k < request.tensors; k += 64) {
    if (finite && control.words[row(k) + ${ROW - 1}] == 1) { control.words[k] = bitcast<u32>(1f); }
  }`,
  });

/**
 * Third pass, for tensors that meet their first gradient: it becomes the previous one, so that the
 * difference is none. Few threads, that mostly have nothing to do.
 */
export function firstKernel(variant: StepVariant): string {
  const { declare, read, write } = arrays(variant);
  const gradient = `${variant.clipping ? 'control.clipFactor * ' : ''}${read('gradient')}`;
  return shader(
    bindings('read'),
    declare('gradient', 0),
    declare('g', 1),
    variant.half && narrow,
    forEach(SIZE, 'thread'),
    `  for (var i = thread; i < request.vectors * control.first; i += groups.x * workgroupSize) {
    let tensor = ${tensorOf(variant, 'i')};
    if (tensor != ${INACTIVE}u && control.words[row(tensor) + ${ROW - 1}] == 1) {
      ${write('g', gradient)}
    }
  }
}`,
  );
}

/** A pair of float16 out of two float32, as the text of a primitive with whole numbers. */
export const packText =
  'pack2x16float(clamp(vec2f(all_a[2 * i], all_a[2 * i + 1]), vec2f(-65504), vec2f(65504)))';

/** One of x and y out of the other, a, and z, b, as the text of a primitive. */
export const pointText = (momentum: number, to: Placement): string =>
  expression(pointKernel(to), (name) => {
    if (name === 'from') return 'a';
    return name === 'z' ? 'b' : constant(name === 'momentum' ? momentum : 1 - momentum);
  });

/** A primitive, element by element; an operand of one element meets every element of the others. */
export const elementwiseKernel = (operands: number, text: string, type = 'f32'): string => {
  const names = ['a', 'b', 'c'].slice(0, operands);
  return shader(
    ...names.map((name, k) => storage(k, 'read', `all_${name}`, 'f32')),
    storage(operands, 'read_write', 'result', type),
    forEach(SIZE),
    '  if (i >= arrayLength(&result)) { return; }',
    ...names.map((name) => `  let ${name} = all_${name}[min(i, arrayLength(&all_${name}) - 1)];`),
    `  result[i] = ${text};\n}`,
  );
};

/** A primitive that makes one number of many, in a single workgroup: `text` says what of the `total`. */
export const reductionKernel = (text: string): string =>
  total({
    declarations: [
      storage(0, 'read', 'values', 'f32'),
      storage(1, 'read_write', 'result', 'f32'),
      sumOfSquares('values', false, true),
    ],
    count: '64',
    share: 'squares_values(0, arrayLength(&values), k, 64)',
    after: `  result[0] = ${text};`,
  });
