import type { Kernel } from '../kernel.js';
import { atom, printer, wgsl } from '../printer.js';

/** The text of a shader, or of a part of one: what is false is left out. */
export const shader = (...parts: readonly (string | false | undefined)[]): string =>
  parts.filter(Boolean).join('\n');

/** A number that a shader has at hand, and need not read. */
export const literal = (value: number): string => `${Math.fround(value)}f`;

/** An array in storage: as long as what is bound to it, unless its length is known beforehand. */
export const storage = (
  binding: number,
  access: 'read' | 'read_write',
  name: string,
  type: string,
  length?: number,
): string =>
  `@group(0) @binding(${binding}) var<storage, ${access}> ${name}: array<${type}${length ? `, ${length}` : ''}>;`;

export const uniform = (binding: number, name: string, type: string): string =>
  `@group(0) @binding(${binding}) var<uniform> ${name}: ${type};`;

/**
 * The head of a shader that does something for every `i`, in the workgroups of a {@link grid}.
 * @param size Invocations of a workgroup. By default what the pipeline says: an override constant.
 */
export const forEach = (i = 'i', size: number | string = 'workgroupSize'): string =>
  `@compute @workgroup_size(${size})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let ${i} = (group.y * groups.x + group.x) * ${size} + lane;`;

/** How many workgroups to dispatch, [x, y]: two-dimensional where one dimension has not enough of them. */
export function grid(invocations: number, size: number): [number, number] {
  const workgroups = Math.ceil(invocations / size);
  // What every device can do.
  const rows = Math.ceil(workgroups / 65_535);
  return [Math.ceil(workgroups / rows), rows];
}

/** Four of an array's numbers as a vector. Past the end, WebGPU gives some number. */
export const vectorAt = (array: string, first: string, offset = 0): string =>
  `vec4f(${[0, 1, 2, 3].map((k) => `${array}[${first} + ${offset + k}]`).join(', ')})`;

/**
 * How a shader reaches the four numbers at `i` of an array: one of `vec4f`; one of `f32`, which may end amid
 * them; or one of `vec2u`, pairs of float16 (see {@link halves}).
 */
export function fourOf(name: string, type: 'vec4f' | 'f32' | 'vec2u') {
  if (type === 'f32') {
    return {
      read: vectorAt(name, '4 * i'),
      write: (value: string) => `let moved = ${value};
  for (var k = 0u; k < 4 && 4 * i + k < arrayLength(&${name}); k++) { ${name}[4 * i + k] = moved[k]; }`,
    };
  }
  const half = type === 'vec2u';
  return {
    read: half ? `wide(${name}[i])` : `${name}[i]`,
    write: (value: string) => `${name}[i] = ${half ? `narrow(${value})` : value};`,
  };
}

/** Functions for arrays of float16. What is too large for it becomes the largest number that is not. */
export const halves = `fn wide(v: vec2u) -> vec4f { return vec4f(unpack2x16float(v.x), unpack2x16float(v.y)); }
fn narrow(values: vec4f) -> vec2u {
  let v = clamp(values, vec4f(-65504), vec4f(65504));
  return vec2u(pack2x16float(v.xy), pack2x16float(v.zw));
}`;

/** Turns an array of `vec4f`, bound to 0, into one of float16, bound to 1: for every vector of that. */
export const packShader = (): string =>
  shader(
    storage(0, 'read', 'numbers', 'vec4f'),
    storage(1, 'read_write', 'pairs', 'vec2u'),
    halves,
    forEach(),
    '  if (i < arrayLength(&pairs)) { pairs[i] = narrow(numbers[i]); }\n}',
  );

/**
 * A kernel's numbers in a uniform array of `Numbers`, of which there may be a few sets: the struct, and
 * where a number is in the set that is `which`. Constant indices are quick to read, and one that is
 * computed is not.
 */
export const numberSets = (array: string, names: readonly string[], sets: number) => ({
  struct: `struct Numbers { @align(16) ${names.map((name) => `${name}: f32`).join(', ')} }`,
  read(name: string): string {
    if (sets > 4) return `${array}[which].${name}`;
    let text = `${array}[0].${name}`;
    for (let k = 1; k < sets; k++) text = `select(${text}, ${array}[${k}].${name}, which == ${k})`;
    return text;
  },
});

/** A kernel that names nothing on its way, as one expression. */
export function expression(kernel: Kernel, value: (name: string) => string): string {
  const [result] = Object.values(kernel.run(printer(wgsl), (name) => atom(value(name))));
  return result!.text;
}

/**
 * A kernel as statements, for one number of each array or for a vector of them.
 * @param read Where a number or an input is.
 * @param write The statement that keeps an output.
 */
export function statements(
  kernel: Kernel,
  read: (name: string) => string,
  write: (name: string, value: string) => string,
): string {
  const rule = printer(wgsl);
  const local = (name: string) => (name === 'g' ? 'previous' : name);
  const result = kernel.run(rule, (name) => atom(local(name)));
  return [
    ...[...kernel.numbers, ...kernel.inputs].map((name) => `let ${local(name)} = ${read(name)};`),
    ...rule.lines,
    ...kernel.outputs.map((name) => write(name, result[name]!.text)),
  ]
    .map((line) => `  ${line}`)
    .join('\n');
}

/**
 * `squares_ARRAY(start, length, share, shares)`: looks at `length` numbers of an array, or at every
 * `shares`-th unit of 16 of them, without meeting other invocations. Gives the sum of squares, and whether
 * a number is not finite, as 1. Who sums what depends on the arguments alone, so that every layout and
 * workgroup size gives the same bits. `start` is counted in units.
 * @param whole The array is of `mat4x4f`, read at once, and not of `f32`.
 * @param checking Look for what is not finite.
 */
export function sumOfSquares(array: string, whole: boolean, checking: boolean): string {
  // A compiler may assume that NaN does not occur: only the exponent's bits tell. Squares that are too
  // large look like it in the sum, and then every number is looked at.
  const high = (number: string) => `(bitcast<u32>(${number}) & 0x7f800000) == 0x7f800000`;
  const number = whole ? `${array}[j / 16][j / 4 % 4][j % 4]` : `${array}[j]`;
  return shader(
    `fn squares_${array}(start: u32, length: u32, share: u32, shares: u32) -> vec2f {
  let end = 16 * start + length;
  var sum = 0f;
  var k = start + share;
  for (; k < end / 16; k += shares) {`,
    `    let ${whole ? `unit = ${array}[k]` : 'at = 16 * k'};`,
    ...[0, 1, 2, 3].map(
      (q) => `    let g${q} = ${whole ? `unit[${q}]` : vectorAt(array, 'at', 4 * q)};`,
    ),
    `    sum += (dot(g0, g0) + dot(g1, g1)) + (dot(g2, g2) + dot(g3, g3));
  }
  for (var j = 16 * k; j < end; j++) { sum += ${number} * ${number}; }
  var bad = 0f;`,
    checking &&
      `  if (${high('sum')}) {
    for (k = start + share; 16 * k < end; k += shares) {
      for (var j = 16 * k; j < min(16 * k + 16, end); j++) {
        if (${high(number)}) { bad = 1; }
      }
    }
  }`,
    `  return vec2f(sum, bad);
}`,
  );
}

export interface Sum {
  /** What is bound, and functions. */
  readonly declarations: readonly (string | false)[];
  /** How many shares there are, and the k-th, a `vec2f`: sum of squares, and how many are not finite. */
  readonly count: string;
  readonly share: string;
  /** Statements before shares are put together: a third number may be added to `share.z`. */
  readonly before?: string;
  /** Statements that keep `total`, in every `lane` of 64. */
  readonly after: string;
}

/** Puts shares together, in one workgroup. */
export const total = ({ declarations, count, share, before, after }: Sum): string =>
  shader(
    ...declarations,
    `var<workgroup> shares: array<vec3f, 64>;
@compute @workgroup_size(64) fn main(@builtin(local_invocation_index) lane: u32) {
  var share = vec3f();
  for (var k = lane; k < ${count}; k += 64) { share += vec3f(${share}, 0); }`,
    before,
    `  shares[lane] = share;
  workgroupBarrier();
  var total = vec3f();
  for (var k = 0; k < 64; k++) { total += shares[k]; }`,
    after,
    '}',
  );

/** What a total means, as statements: whether the step is taken, the `norm`, and the factor `clip`. */
export const verdict = `  let finite = total.y == 0;
  let norm = sqrt(total.x);
  let clip = min(1.0, request.maxGradNorm / (norm + request.epsilon));`;
