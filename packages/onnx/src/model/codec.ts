import { OnnxFormatError } from '../errors.js';
import { type Field, type Int, isMessage, type MessageName, type Model, schema } from './schema.js';

/** Messages within messages beyond this are refused: no graph is that deep, and no stack endless. */
const MAX_DEPTH = 100;

/** Fields that the schema does not name, with their tags. */
const unknown = Symbol('unknown');
/** Repeated numbers that were not written as the schema says: packed, or one by one. */
const packing = Symbol('packing');
type Message = {
  [name: string]: unknown;
  [unknown]?: { readonly number: number; readonly bytes: Uint8Array }[];
  [packing]?: Map<number, boolean>;
};

/** Arrays of numbers that are written as they lie in memory: little-endian wherever JavaScript runs today. */
const reals: Readonly<Record<string, Float32ArrayConstructor | Float64ArrayConstructor>> = {
  float: Float32Array,
  double: Float64Array,
};

/** `offset` is where in the file it shows; -1 when writing. */
function refuse(what: string, why: string, offset: number, value?: unknown): never {
  throw new OnnxFormatError(`${what} ${why}`, offset, what, value);
}

function checkDepth(name: MessageName, depth: number, offset: number): void {
  if (depth > MAX_DEPTH) refuse(name, `is nested more than ${MAX_DEPTH} deep`, offset);
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

const exact = (value: bigint): Int => (Number.isSafeInteger(Number(value)) ? Number(value) : value);

/** What came piece by piece, as one list. The usual case, a tensor's values in one piece, costs nothing. */
function together({ type }: Field, pieces: readonly ArrayLike<unknown>[]): unknown {
  if (pieces.length === 1) return pieces[0];
  const all = pieces.flatMap((piece) => Array.from(piece));
  return reals[type]?.from(all as number[]) ?? all;
}

/**
 * Reads an ONNX file. Fields that the schema does not name are kept and written again. Bytes of the
 * file are shared, not copied: `rawData` and other bytes look into it.
 * @throws OnnxFormatError with the offset, for anything that is no protobuf message of this schema.
 */
export function decodeModel(bytes: Uint8Array): Model {
  let at = 0;

  function varint(end: number, what: string): Int {
    const start = at;
    let low = 0;
    let high = 0;
    for (let scale = 1; scale < 2 ** 70; scale *= 128) {
      if (at >= end) refuse(what, 'is cut short', start);
      const byte = bytes[at++]!;
      const part = (byte & 0x7f) * scale;
      // A number has 53 bits: those of seven bytes are exact, and those above them too.
      if (scale < 2 ** 49) low += part;
      else high += part;
      if (byte < 0x80 && high < 2 ** 64) return high ? exact(BigInt(high) + BigInt(low)) : low;
    }
    return refuse(what, 'has more than 64 bits', start);
  }

  /** The values of a field that lie up to `stop`: of one that is packed several. */
  function values(field: Field, stop: number, start: number): ArrayLike<unknown> {
    const { type, what, wire } = field;
    if (wire === 0) {
      const integers: Int[] = [];
      while (at < stop) {
        let value = varint(stop, what);
        if (typeof value === 'bigint' && type !== 'uint64') value = exact(BigInt.asIntN(64, value));
        if (type === 'int32') {
          if (value < -(2 ** 31) || value >= 2 ** 32) {
            refuse(what, `is ${value}, beyond 32 bits`, start, value);
          }
          // Five bytes with the top bit set are how some writers put a negative 32-bit number.
          value = Number(value) | 0;
        }
        integers.push(value);
      }
      return integers;
    }
    const content = bytes.subarray(at, stop);
    if (type === 'bytes') return [content];
    const Reals = reals[type];
    if (!Reals) {
      try {
        return [utf8.decode(content)];
      } catch {
        refuse(what, 'is not UTF-8', at);
      }
    }
    const { length } = content;
    if (length % Reals.BYTES_PER_ELEMENT) refuse(what, `is ${length} bytes long`, start, length);
    // A copy, as typed arrays need an aligned start; a Buffer's slice would be none.
    return new Reals(new Uint8Array(content).buffer);
  }

  function decode(name: MessageName, end: number, depth: number, message: Message): Message {
    checkDepth(name, depth, at);
    const lists = new Map<Field, ArrayLike<unknown>[]>();
    while (at < end) {
      const start = at;
      const tag = Number(varint(end, 'a tag'));
      const wire = tag % 8;
      const number = (tag - wire) / 8;
      if (number === 0 || number >= 2 ** 29) {
        refuse(name, `has a field with number ${number}`, start, number);
      }
      const field = schema[name][number];
      const what = field?.what ?? `field ${number} of ${name}`;
      const fits = field
        ? wire === field.wire || (wire === 2 && field.repeated)
        : wire < 3 || wire === 5;
      if (!fits) {
        refuse(what, `has wire type ${wire}${field ? `, not ${field.wire}` : ''}`, start, wire);
      }
      // A varint is the value itself, or the length of what follows.
      const begin = at;
      const given = wire === 1 ? 8 : wire === 5 ? 4 : varint(end, what);
      const stop = wire === 0 ? at : at + Number(given);
      if (stop > end) {
        refuse(what, `is ${given} bytes long where ${end - at} are left`, start, given);
      }
      if (wire === 0) at = begin;
      if (!field) {
        message[unknown] ??= [];
        message[unknown].push({ number, bytes: bytes.slice(start, stop) });
      } else {
        const { name: key, type, repeated, packed } = field;
        const before = message[key];
        const pieces = isMessage(type)
          ? [decode(type, stop, depth + 1, repeated ? {} : ((before ?? {}) as Message))]
          : values(field, stop, start);
        if (repeated) {
          if (field.wire !== 2 && (wire === 2) !== packed) {
            message[packing] ??= new Map();
            message[packing].set(number, wire === 2);
          }
          const list = lists.get(field) ?? (before ? [before as ArrayLike<unknown>] : []);
          lists.set(field, list);
          list.push(pieces);
        } else message[key] = pieces[0];
      }
      at = stop;
    }
    for (const [field, pieces] of lists) message[field.name] = together(field, pieces);
    return message;
  }

  return decode('Model', bytes.length, 0, {}) as Model;
}

const encoder = new TextEncoder();

function wrongValue(what: string, value: unknown, wanted: string): never {
  const shown = Object(value) === value ? 'an object' : String(value);
  return refuse(what, `is ${shown}, not ${wanted}`, -1, value);
}

function varint(value: Int): number[] {
  const bytes: number[] = [];
  let rest = value < 0 ? BigInt.asUintN(64, BigInt(value)) : value;
  while (rest >= 128) {
    if (typeof rest === 'bigint') {
      bytes.push(Number(rest & 127n) | 128);
      rest = exact(rest >> 7n);
    } else {
      bytes.push((rest % 128) | 128);
      rest = Math.floor(rest / 128);
    }
  }
  bytes.push(Number(rest));
  return bytes;
}

/** The bytes of one value that is no message, without tag and length. */
function scalar({ type, what, wire }: Field, value: unknown): ArrayLike<number> {
  if (type === 'bytes') {
    return value instanceof Uint8Array ? value : wrongValue(what, value, 'a Uint8Array');
  }
  if (type === 'string') {
    return typeof value === 'string' ? encoder.encode(value) : wrongValue(what, value, 'a string');
  }
  if (wire > 0) {
    return typeof value === 'number'
      ? new Uint8Array(reals[type]!.of(value).buffer)
      : wrongValue(what, value, 'a number');
  }
  const most = 2 ** (type === 'int32' ? 31 : type === 'int64' ? 63 : 64);
  const whole = Number.isSafeInteger(value) || typeof value === 'bigint';
  if (!whole || (value as Int) < (type === 'uint64' ? 0 : -most) || (value as Int) >= most) {
    wrongValue(what, value, `an integer of ${type}, beyond 2^53 as a bigint`);
  }
  return varint(value as Int);
}

/**
 * Writes an ONNX file: what {@link decodeModel} read comes out as the same bytes, if the fields of each
 * message were in the order of their numbers, as the usual writers put them.
 * @throws OnnxFormatError for a value that does not fit its field, naming it.
 */
export function encodeModel(model: Model): Uint8Array {
  // From the end to the start, since lengths stand before what has them.
  let bytes = new Uint8Array(1024);
  let written = 0;

  function put(content: ArrayLike<number>): void {
    written += content.length;
    if (written > bytes.length) {
      const larger = new Uint8Array(2 * written);
      larger.set(bytes, larger.length - bytes.length);
      bytes = larger;
    }
    bytes.set(content, bytes.length - written);
  }

  function encode(name: MessageName, message: Message, depth: number): void {
    checkDepth(name, depth, -1);
    // Unknown fields go where their numbers put them, as the usual writers do.
    const others = [...(message[unknown] ?? [])].sort((a, b) => a.number - b.number);
    for (let number = schema[name].length - 1; number > 0; number--) {
      while (others.length > 0 && others.at(-1)!.number > number) put(others.pop()!.bytes);
      const field = schema[name][number];
      const value = field && message[field.name];
      if (!field || value === undefined) continue;
      const { type, what, wire, repeated, packed } = field;
      if (repeated && !Array.isArray(value) && !ArrayBuffer.isView(value)) {
        wrongValue(what, value, 'a list');
      }
      const isPacked = repeated && wire !== 2 && (message[packing]?.get(number) ?? packed);
      let start = written;
      const finish = (as: number) => {
        if (as === 2) put(varint(written - start));
        put(varint(8 * number + as));
        start = written;
      };
      const Reals = reals[type];
      if (isPacked && Reals && value instanceof Reals) {
        put(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
      } else {
        for (const item of repeated ? [...(value as unknown[])].reverse() : [value]) {
          if (!isMessage(type)) put(scalar(field, item));
          else if (Object(item) !== item) wrongValue(what, item, 'a message');
          else encode(type, item as Message, depth + 1);
          if (!isPacked) finish(wire);
        }
      }
      if (isPacked) finish(2);
    }
    for (const one of others.reverse()) put(one.bytes);
  }

  encode('Model', model as Message, 0);
  return bytes.slice(bytes.length - written);
}
