import { atom, type Expression, printer, wgsl } from '@schedule-free-adan/core/interpreters';
import {
  type CoefficientName,
  type Coefficients,
  type ElementState,
  type RuleForm,
  type StateKey,
  stateKeys,
  updateRule,
} from '@schedule-free-adan/core/rule';

/** How a step kernel is specialised, besides the form of the rule. */
export interface StepVariant {
  readonly form: RuleForm;
  /** Multiply gradients by the clip factor. */
  readonly clipping: boolean;
  /** Do nothing when a gradient is not finite. */
  readonly checking: boolean;
  /** A tensor may meet its first gradient: the previous one is none then. */
  readonly fresh: boolean;
  /** The dispatch spans one tensor: no table of blocks is read. */
  readonly single: boolean;
  /** The parameter's and the gradient's buffers hold whole vectors of four. */
  readonly packed: boolean;
  /** m, v and the previous gradient are pairs of float16. */
  readonly half: boolean;
  /** Room for that many sets of coefficients. */
  readonly groups: number;
  /** Vectors in every array, where that is known beforehand: saves looking up each array's length. */
  readonly vectors?: number | undefined;
  /** Words of the control buffer, likewise. */
  readonly words?: number | undefined;
  /** Coefficients that are the same in all sets and steps: printed, not read. */
  readonly constants?: Partial<Coefficients>;
}

/** The state that a kernel has an array of, in the order of its bindings from 4 on. */
export const tensorKeys = (form: RuleForm): StateKey[] =>
  stateKeys(form).filter((key) => key !== 'seen');
export const halfKeys: readonly StateKey[] = ['m', 'v', 'g'];
/** Words of the control buffer before the tables: norm, clip factor, skipped steps, finite. */
export const HEADER = 4;
/** Words of a tensor's row: form and coefficients, length, start, first item, first partial, shares. */
export const ROW = 6;
export const INACTIVE = 0xffffffff;

/** `blocks` and `items` say where in the control buffer this dispatch's tables begin. */
const range = `struct Range {
  tensors: u32, blocks: u32, items: u32, firstItem: u32,
  itemCount: u32, vectors: u32, tensor: u32, form: u32,
}
fn row(tensor: u32) -> u32 { return ${HEADER} + 2 * range.tensors + ${ROW} * tensor; }
fn first(tensor: u32) -> u32 { return ${HEADER} + range.tensors + tensor; }`;

const request = (names: readonly string[], groups: number) => `struct Coefficients {
  @align(16) ${names.map((name) => `${name}: f32`).join(', ')},
}
struct Request {
  maxGradNorm: f32, epsilon: f32, partials: u32, tensors: u32,
  groups: array<Coefficients, ${groups}>,
}`;

const invocation = `@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32`;
const index = 'let i = (group.y * groups.x + group.x) * workgroupSize + lane;';

const storage = (
  binding: number,
  access: string,
  name: string,
  type: string,
  length?: number | undefined,
) =>
  `@group(0) @binding(${binding}) var<storage, ${access}> ${name}: array<${type}${length ? `, ${length}` : ''}>;`;
const sized = 'override workgroupSize: u32 = 256;';
const tree = (combine: string) => `for (var width = 32u; width > 0; width /= 2) {
    workgroupBarrier();
    if (lane < width) { shares[lane] = ${combine}; }
  }`;
const uniform = (binding: number, name: string, type: string) =>
  `@group(0) @binding(${binding}) var<uniform> ${name}: ${type};`;

/** Reads four numbers. Beyond the end of a buffer, WebGPU gives some number: nobody looks at it. */
const loader = (name: string, packed: boolean) =>
  `fn load_${name}(i: u32) -> vec4f { return ${
    packed
      ? `${name}[i]`
      : `vec4f(${name}[4 * i], ${name}[4 * i + 1], ${name}[4 * i + 2], ${name}[4 * i + 3])`
  }; }`;
const storer = (name: string, packed: boolean) =>
  `fn store_${name}(i: u32, values: vec4f) { ${
    packed
      ? `${name}[i] = values;`
      : `for (var k = 0u; k < 4 && 4 * i + k < arrayLength(&${name}); k++) { ${name}[4 * i + k] = values[k]; }`
  } }`;

/** The fused step: the rule of the core, written down for four numbers at a time. */
export function stepKernel(variant: StepVariant, coefficients: Coefficients): string {
  const { form, packed, vectors, constants = {} } = variant;
  const names = Object.keys(coefficients) as CoefficientName[];
  const keys = tensorKeys(form);
  const half = (key: StateKey) => variant.half && halfKeys.includes(key);
  const c = Object.fromEntries(
    names.map((name) => {
      const value = constants[name];
      return [name, atom(value === undefined ? `c.${name}` : `${Math.fround(value)}f`)];
    }),
  );
  const state = Object.fromEntries(keys.map((key) => [key, atom(key === 'g' ? 'previous' : key)]));
  const rule = printer(wgsl);
  const next = updateRule(
    rule,
    form,
    c as unknown as Coefficients<Expression>,
    state as unknown as ElementState<Expression>,
    atom('gradient'),
  );
  const read = (key: StateKey) =>
    key === 'parameter' ? 'load_parameters(i)' : `${half(key) ? 'wide' : ''}(state_${key}[i])`;
  const write = (key: StateKey) => {
    const value = next[key]!.text;
    return key === 'parameter'
      ? `store_parameters(i, ${value});`
      : `state_${key}[i] = ${half(key) ? 'narrow' : ''}(${value});`;
  };
  return lines(
    range,
    request(names, variant.groups),
    storage(0, 'read', 'control', 'u32', variant.words),
    uniform(1, 'request', 'Request'),
    uniform(2, 'range', 'Range'),
    storage(3, 'read', 'gradients', packed ? 'vec4f' : 'f32', vectors),
    ...keys.map((key, k) =>
      key === 'parameter'
        ? storage(4 + k, 'read_write', 'parameters', packed ? 'vec4f' : 'f32', vectors)
        : storage(4 + k, 'read_write', `state_${key}`, half(key) ? 'vec2u' : 'vec4f', vectors),
    ),
    sized,
    loader('gradients', packed),
    loader('parameters', packed),
    storer('parameters', packed),
    keys.some(half) &&
      `fn wide(v: vec2u) -> vec4f { return vec4f(unpack2x16float(v.x), unpack2x16float(v.y)); }
fn narrow(values: vec4f) -> vec2u {
  let v = clamp(values, vec4f(-65504), vec4f(65504));
  return vec2u(pack2x16float(v.xy), pack2x16float(v.zw));
}`,
    `@compute @workgroup_size(workgroupSize) fn main(${invocation}) {
  ${index}
  _ = &control;
  if (i >= range.vectors) { return; }`,
    variant.checking && '  if (control[3] == 0) { return; }',
    variant.single
      ? variant.fresh && '  let tensor = range.tensor;'
      : `  let tensor = control[range.blocks + i / 16];
  let key = control[row(tensor)];
  if (key >> 16 != range.form) { return; }`,
    // A constant index, where there is but one: looking it up for every vector costs as much as the rule.
    `  let c = &request.groups[${variant.groups === 1 ? '0' : `${variant.single ? 'range.form' : 'key'} & 0xffff`}];
  let gradient = load_gradients(i)${variant.clipping ? ' * bitcast<f32>(control[1])' : ''};`,
    ...keys.map((key) =>
      key === 'g' && variant.fresh
        ? `  let previous = select(${read('g')}, gradient, control[first(tensor)] == 1);`
        : `  let ${key === 'g' ? 'previous' : key} = ${read(key)};`,
    ),
    ...rule.lines.map((line) => `  ${line}`),
    ...keys.map((key) => `  ${write(key)}`),
    '}',
  );
}

/**
 * First pass over the gradients: every thread sums its share of one tensor, without meeting others.
 * Who sums what depends on the tensors alone, so that every layout and workgroup size gives the same bits.
 */
export function normKernel(
  clipping: boolean,
  checking: boolean,
  packed: boolean,
  vectors?: number | undefined,
): string {
  return lines(
    range,
    storage(0, 'read', 'control', 'u32'),
    uniform(1, 'range', 'Range'),
    storage(2, 'read', 'gradients', packed ? 'vec4f' : 'f32', vectors),
    storage(3, 'read_write', 'partials', 'vec2f'),
    sized,
    loader('gradients', packed),
    `@compute @workgroup_size(workgroupSize) fn main(${invocation}) {
  ${index}
  if (i >= range.itemCount) { return; }
  let at = row(control[range.items + i]);
  let length = control[at + 1];
  let start = control[at + 2];
  let share = range.firstItem + i - control[at + 3];
  let shares = control[at + 5];
  let full = length / 4;
  // Shares go in blocks of up to 64, and a block's reads lie side by side.
  let block = share / 64 * 64;
  let width = min(64, shares - block);
  let count = (full + shares - 1) / shares;
  var sum = vec4f();
  var highest = vec4u();
  for (var k = 0u; k < count; k++) {
    let j = block * count + k * width + share - block;
    if (j >= full) { break; }
    let g = load_gradients(start + j);`,
    clipping && '    sum += g * g;',
    // A compiler may assume that NaN does not occur: only the exponent's bits tell.
    checking && '    highest = max(highest, bitcast<vec4u>(g) & vec4u(0x7f800000));',
    `  }
  if (share == 0 && 4 * full < length) {
    let g = select(vec4f(), load_gradients(start + full), vec4u(0, 1, 2, 3) < vec4u(length % 4));`,
    clipping && '    sum += g * g;',
    checking && '    highest = max(highest, bitcast<vec4u>(g) & vec4u(0x7f800000));',
    `  }
  let bad = any(highest == vec4u(0x7f800000));
  partials[control[at + 4] + share] = vec2f((sum.x + sum.y) + (sum.z + sum.w), select(0.0, 1.0, bad));
}`,
  );
}

/** Second pass, one workgroup: norm, clip factor, the flag, and which tensors meet their first gradient. */
export function verdictKernel(
  clipping: boolean,
  checking: boolean,
  coefficients: Coefficients,
  groups: number,
): string {
  return lines(
    range,
    request(Object.keys(coefficients), groups),
    storage(0, 'read_write', 'control', 'u32'),
    uniform(1, 'request', 'Request'),
    uniform(2, 'range', 'Range'),
    storage(3, 'read', 'partials', 'vec2f'),
    `var<workgroup> shares: array<vec2f, 64>;
@compute @workgroup_size(64) fn main(@builtin(local_invocation_index) lane: u32) {
  var sum = vec2f();
  for (var i = lane; i < request.partials; i += 64) { sum += partials[i]; }
  shares[lane] = sum;
  ${tree('shares[lane] + shares[lane + width]')}
  workgroupBarrier();
  let total = shares[0];
  let finite = ${checking ? 'total.y == 0' : 'true'};
  if (lane == 0) {`,
    clipping &&
      `    let norm = sqrt(total.x);
    control[0] = bitcast<u32>(norm);
    control[1] = bitcast<u32>(min(1.0, request.maxGradNorm / (norm + request.epsilon)));`,
    checking && '    if (!finite) { control[2] = bitcast<u32>(bitcast<f32>(control[2]) + 1); }',
    `    control[3] = select(0u, 1u, finite);
  }
  for (var k = lane; k < request.tensors; k += 64) {
    let seen = control[${HEADER} + k];
    control[first(k)] = select(0u, 1u, seen == 0);
    if (finite && control[row(k)] != ${INACTIVE}u) {
      control[${HEADER} + k] = bitcast<u32>(1f);
    }
  }
}`,
  );
}

/** A pair of float16 out of two float32, as the text of a primitive with whole numbers. */
export const packText =
  'pack2x16float(clamp(vec2f(a_[2 * i], a_[2 * i + 1]), vec2f(-65504), vec2f(65504)))';

/** A primitive, element by element; an operand of one element meets every element of the others. */
export const elementwiseKernel = (operands: number, text: string, type = 'f32'): string => {
  const names = ['a', 'b', 'c'].slice(0, operands);
  return lines(
    ...names.map((name, k) => storage(k, 'read', `${name}_`, 'f32')),
    storage(operands, 'read_write', 'result', type),
    sized,
    `@compute @workgroup_size(workgroupSize) fn main(${invocation}) {
  ${index}
  if (i >= arrayLength(&result)) { return; }`,
    ...names.map((name) => `  let ${name} = ${name}_[min(i, arrayLength(&${name}_) - 1)];`),
    `  result[i] = ${text};
}`,
  );
};

/** A primitive that makes one number of many, in a single workgroup: the plain way. */
export const reductionKernel = (map: string, combine: string, initial: string): string =>
  lines(
    storage(0, 'read', 'values', 'f32'),
    storage(1, 'read_write', 'result', 'f32'),
    `var<workgroup> shares: array<f32, 64>;
fn combine(a: f32, b: f32) -> f32 { return ${combine}; }
@compute @workgroup_size(64) fn main(@builtin(local_invocation_index) lane: u32) {
  var share = ${initial};
  for (var i = lane; i < arrayLength(&values); i += 64) {
    let a = values[i];
    share = combine(share, ${map});
  }
  shares[lane] = share;
  ${tree('combine(shares[lane], shares[lane + width])')}
  if (lane == 0) { result[0] = shares[0]; }
}`,
  );

function lines(...parts: (string | false)[]): string {
  return `${parts.filter(Boolean).join('\n')}\n`;
}
