import type { Algebra } from '../update-rule.js';
import type { Kernel } from './kernel.js';

/** Instructions that leave one value on the stack. */
type Code = readonly number[];

const I32 = 0x7f;
const F32 = 0x7d;
const F64 = 0x7c;
const V128 = 0x7b;

/** LEB128, unsigned. */
const leb = (value: number): number[] =>
  value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...leb(value >>> 7)];
const simd = (opcode: number) => [0xfd, ...leb(opcode)];
const get = (local: number) => [0x20, ...leb(local)];
const set = (local: number, value: Code) => [...value, 0x21, ...leb(local)];
const int = (value: number) => [0x41, value];
const add = (a: Code, b: Code) => [...a, ...b, 0x6a];
const counted = (items: readonly Code[]) => [...leb(items.length), ...items.flat()];
const sized = (bytes: Code) => [...leb(bytes.length), ...bytes];
const section = (id: number, items: readonly Code[]) => [id, ...sized(counted(items))];
const text = (name: string) => sized([...new TextEncoder().encode(name)]);

/** Arithmetic on one float32, or on four at a time. */
interface Lanes {
  readonly type: number;
  readonly bytes: number;
  readonly load: Code;
  readonly store: Code;
  readonly splat: Code;
  readonly add: Code;
  readonly sub: Code;
  readonly mul: Code;
  readonly div: Code;
  readonly sqrt: Code;
}
const four: Lanes = {
  type: V128,
  bytes: 16,
  load: simd(0x00),
  store: simd(0x0b),
  splat: simd(0x13),
  add: simd(0xe4),
  sub: simd(0xe5),
  mul: simd(0xe6),
  div: simd(0xe7),
  sqrt: simd(0xe3),
};
const one: Lanes = {
  type: F32,
  bytes: 4,
  load: [0x2a],
  store: [0x38],
  splat: [],
  add: [0x92],
  sub: [0x93],
  mul: [0x94],
  div: [0x95],
  sqrt: [0x91],
};
// Alignment 4, offset 0.
const access = [2, 0];

/** A function body under construction: its parameters come first, its locals are added by type. */
class Body {
  readonly #locals: number[] = [];
  constructor(readonly parameters: readonly number[]) {}
  local(type: number): number {
    return this.parameters.length + this.#locals.push(type) - 1;
  }
  bytes(code: Code): number[] {
    return sized([...counted(this.#locals.map((type) => [1, type])), ...code, 0x0b]);
  }
}

/** `while (at < end) { code; at += bytes }` */
const loop = (at: number, end: number, bytes: number, code: Code) => [
  ...[0x02, 0x40, 0x03, 0x40],
  ...[...get(at), ...get(end), 0x4f, 0x0d, 1],
  ...code,
  ...set(at, add(get(at), int(bytes))),
  ...[0x0c, 0, 0x0b, 0x0b],
];

/** All bytes of `count` numbers, and those of whole groups of four. */
const ends = (count: number) => ({
  all: [...get(count), ...int(2), 0x74],
  // int() writes one byte of signed LEB128: 0x70 is −16.
  groups: [...get(count), ...int(2), 0x74, ...int(0x70), 0x71],
});

/** A module of one function `run` that works on the memory `env.memory`. */
function wasmModule(
  parameters: readonly number[],
  results: readonly number[],
  body: Code,
  shared: boolean,
): Uint8Array<ArrayBuffer> {
  // Shared memory needs a limit: 65,536 pages are all that there can be.
  const limits = shared ? [3, 0, ...leb(65536)] : [0, 0];
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [[0x60, ...sized(parameters), ...sized(results)]]),
    ...section(2, [[...text('env'), ...text('memory'), 2, ...limits]]),
    ...section(3, [[0]]),
    ...section(7, [[...text('run'), 0, 0]]),
    ...section(10, [body]),
  ]);
}

/** What such a module does: addresses in bytes and numbers, as its printer orders them. */
export type WasmRun = (...operands: number[]) => number;

/**
 * The function of such a module, on a memory.
 * @param module a `WebAssembly.Module`, and `memory` a `WebAssembly.Memory`: names that typings without
 * the DOM do not know
 */
export const wasmRun = (module: object, memory: object): WasmRun =>
  new WebAssembly.Instance(module as WebAssembly.Module, {
    env: { memory: memory as WebAssembly.Memory },
  }).exports.run as WasmRun;

/**
 * A kernel as a WebAssembly module of one function, four numbers at a time:
 * `run(count, address of each input…, address of each output…, each number…)`. An output may be an
 * input. The module works on the memory that it imports as `env.memory`, shared or not.
 */
export function wasmKernel(kernel: Kernel, shared = false): Uint8Array<ArrayBuffer> {
  const { inputs, outputs, numbers } = kernel;
  const body = new Body([
    ...[I32, ...inputs, ...outputs].map(() => I32),
    ...numbers.map(() => F32),
  ]);
  const input = (name: string) => 1 + inputs.indexOf(name);
  const output = (name: string) => 1 + inputs.length + outputs.indexOf(name);
  const number = (name: string) => 1 + inputs.length + outputs.length + numbers.indexOf(name);
  const at = body.local(I32);
  const end = body.local(I32);

  const pass = (lanes: Lanes, last: Code): number[] => {
    const address = (base: number) => add(get(base), get(at));
    const before: number[] = [];
    const inside: number[] = [];
    const hold = (into: number[], value: Code) => {
      const local = body.local(lanes.type);
      into.push(...set(local, value));
      return get(local);
    };
    const algebra: Algebra<Code> = {
      add: (a, b) => [...a, ...b, ...lanes.add],
      sub: (a, b) => [...a, ...b, ...lanes.sub],
      mul: (a, b) => [...a, ...b, ...lanes.mul],
      div: (a, b) => [...a, ...b, ...lanes.div],
      sqrt: (a) => [...a, ...lanes.sqrt],
      name: (_, value) => hold(inside, value),
    };
    const known = new Map<string, Code>();
    const value = (name: string): Code => {
      let code = known.get(name);
      if (!code) {
        code = inputs.includes(name)
          ? hold(inside, [...address(input(name)), ...lanes.load, ...access])
          : hold(before, [...get(number(name)), ...lanes.splat]);
        known.set(name, code);
      }
      return code;
    };
    const results = Object.entries(kernel.run(algebra, value)).map(
      ([name, code]) => [name, hold(inside, code)] as const,
    );
    for (const [name, code] of results) {
      inside.push(...address(output(name)), ...code, ...lanes.store, ...access);
    }
    return [...before, ...set(end, last), ...loop(at, end, lanes.bytes, inside)];
  };

  const { all, groups } = ends(0);
  const code = [...pass(four, groups), ...pass(one, all)];
  return wasmModule(body.parameters, [], body.bytes(code), shared);
}

/**
 * A module whose `run(count, address)` is the sum of the squares of so many float32, added up in
 * float64. It is finite exactly when every one of them is.
 */
export function wasmSumOfSquares(shared = false): Uint8Array<ArrayBuffer> {
  const body = new Body([I32, I32]);
  const at = body.local(I32);
  const end = body.local(I32);
  const values = body.local(V128);
  const sums = [body.local(V128), body.local(V128)];
  const pair = body.local(V128);
  const last = body.local(F64);
  const total = body.local(F64);
  const address = add(get(1), get(at));
  const accumulate = (sum: number, values: Code) => [
    ...set(pair, [...values, ...simd(0x5f)]),
    ...set(sum, [...get(sum), ...get(pair), ...get(pair), ...simd(0xf2), ...simd(0xf0)]),
  ];
  const upper = [8, 9, 10, 11, 12, 13, 14, 15];
  const lane = (sum: number, k: number) => [...get(sum), ...simd(0x21), k];
  const { all, groups } = ends(0);
  const code = [
    ...set(end, groups),
    ...loop(at, end, 16, [
      ...set(values, [...address, ...four.load, ...access]),
      ...accumulate(sums[0]!, get(values)),
      ...accumulate(sums[1]!, [...get(values), ...get(values), ...simd(0x0d), ...upper, ...upper]),
    ]),
    ...set(end, all),
    ...loop(at, end, 4, [
      ...set(last, [...address, ...one.load, ...access, 0xbb]),
      ...set(total, [...get(total), ...get(last), ...get(last), 0xa2, 0xa0]),
    ]),
    ...get(total),
    ...sums.flatMap((sum) => [...lane(sum, 0), 0xa0, ...lane(sum, 1), 0xa0]),
  ];
  return wasmModule(body.parameters, [F64], body.bytes(code), shared);
}
