import { OnnxFormatError } from '../errors.js';
import { type Field, type Int, isMessage, type MessageName, type Model, schema } from './schema.js';

/** Messages within messages beyond this are refused: no graph is that deep, and no stack endless. */
const MAX_DEPTH = 100;

/** What a message brought along that its fields don't tell. */
const extra = Symbol('extra');
interface Extra {
  /** Fields that the schema does not name, with their tags. */
  readonly unknown: { readonly number: number; readonly bytes: Uint8Array }[];
  /** Repeated numbers that were not written as the schema says: packed, or one by one. */
  readonly packing: Map<number, boolean>;
}
type Message = { [name: string]: unknown; [extra]?: Extra };

/** Varint 0, eight bytes 1, a length and bytes 2, four bytes 5. */
const wireTypes: Readonly<Record<string, number>> = {
  int32: 0,
  int64: 0,
  uint64: 0,
  double: 1,
  float: 5,
};
const wireType = (type: Field['type']) => wireTypes[type] ?? 2;

/** Arrays of numbers that are written as they lie in memory: little-endian wherever JavaScript runs today. */
const reals: Readonly<Record<string, Float32ArrayConstructor | Float64ArrayConstructor>> = {
  float: Float32Array,
  double: Float64Array,
};

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

class Reader {
  at = 0;
  constructor(readonly bytes: Uint8Array) {}

  varint(end: number, what: string): bigint | number {
    const start = this.at;
    let low = 0;
    let scale = 1;
    // Seven bytes fit in a number's 53 bits.
    for (let i = 0; i < 7; i++) {
      const byte = this.byte(end, start, what);
      low += (byte & 0x7f) * scale;
      if (byte < 0x80) return low;
      scale *= 128;
    }
    let value = BigInt(low);
    for (let i = 7; i < 10; i++) {
      const byte = this.byte(end, start, what);
      value |= BigInt(byte & 0x7f) << BigInt(7 * i);
      if (byte < 0x80) {
        if (value >> 64n) break;
        return value;
      }
    }
    throw new OnnxFormatError(`${what} has more than 64 bits`, start, what);
  }

  byte(end: number, start: number, what: string): number {
    if (this.at >= end) throw new OnnxFormatError(`${what} is cut short`, start, what);
    return this.bytes[this.at++]!;
  }

  /** Where a value ends, which must be within its message; `at` is where it begins then. */
  stop(end: number, wire: number, start: number, what: string): number {
    if (wire === 0) {
      const { at } = this;
      this.varint(end, what);
      const stop = this.at;
      this.at = at;
      return stop;
    }
    const length = wire === 2 ? this.varint(end, what) : wire === 1 ? 8 : 4;
    if (length > end - this.at) {
      const why = `${what} is ${length} bytes long where ${end - this.at} are left`;
      throw new OnnxFormatError(why, start, what, length);
    }
    return this.at + Number(length);
  }
}

const exact = (value: bigint | number): Int =>
  typeof value === 'number' || value > Number.MAX_SAFE_INTEGER || value < Number.MIN_SAFE_INTEGER
    ? value
    : Number(value);

function integer(value: bigint | number, type: Field['type'], at: number, what: string): Int {
  if (type === 'uint64') return exact(value);
  const signed = typeof value === 'number' ? value : exact(BigInt.asIntN(64, value));
  if (type === 'int64') return signed;
  // Five bytes with the top bit set are how some writers put a negative 32-bit number.
  if (signed >= 2 ** 31 && signed < 2 ** 32) return Number(signed) - 2 ** 32;
  if (signed < -(2 ** 31) || signed >= 2 ** 32) {
    throw new OnnxFormatError(`${what} is ${signed}, beyond 32 bits`, at, what, signed);
  }
  return signed;
}

/** The values of a field that lie from the reader's place to `stop`: of one that is packed several. */
function decodeValues(
  reader: Reader,
  { type }: Field,
  stop: number,
  start: number,
  what: string,
): ArrayLike<unknown> {
  const { at } = reader;
  const bytes = reader.bytes.subarray(at, stop);
  if (type === 'bytes') return [bytes];
  if (type === 'string') {
    try {
      return [utf8.decode(bytes)];
    } catch {
      throw new OnnxFormatError(`${what} is not UTF-8`, at, what);
    }
  }
  const Reals = reals[type];
  if (Reals) {
    if (bytes.length % Reals.BYTES_PER_ELEMENT !== 0) {
      const why = `${what} is ${bytes.length} bytes long`;
      throw new OnnxFormatError(why, start, what, bytes.length);
    }
    // A copy, as typed arrays need an aligned start; a Buffer's slice would be none.
    return new Reals(new Uint8Array(bytes).buffer);
  }
  const values: Int[] = [];
  while (reader.at < stop) {
    const where = reader.at;
    values.push(integer(reader.varint(stop, what), type, where, what));
  }
  return values;
}

/** What came piece by piece, as one list. The usual case, a tensor's values in one piece, costs nothing. */
function joined({ type }: Field, pieces: readonly ArrayLike<unknown>[]): unknown {
  if (pieces.length === 1) return pieces[0];
  const all = pieces.flatMap((piece) => Array.from(piece));
  return reals[type]?.from(all as number[]) ?? all;
}

function decodeMessage(
  reader: Reader,
  name: MessageName,
  end: number,
  depth: number,
  message: Message,
): Message {
  if (depth > MAX_DEPTH) {
    throw new OnnxFormatError(`${name} is nested more than ${MAX_DEPTH} deep`, reader.at, name);
  }
  const lists = new Map<Field, ArrayLike<unknown>[]>();
  while (reader.at < end) {
    const start = reader.at;
    const tag = Number(reader.varint(end, 'a tag'));
    const [number, wire] = [Math.floor(tag / 8), tag % 8];
    if (number === 0 || number >= 2 ** 29) {
      throw new OnnxFormatError(`${name} has a field with number ${number}`, start, name, number);
    }
    const field = schema[name].find((candidate) => candidate.number === number);
    const what = field ? `${name}.${field.name}` : `field ${number} of ${name}`;
    const expected = field && wireType(field.type);
    const fits = field
      ? wire === expected || (wire === 2 && field.repeated)
      : wire < 3 || wire === 5;
    if (!fits) {
      const why = `${what} has wire type ${wire}${field ? `, not ${expected}` : ''}`;
      throw new OnnxFormatError(why, start, what, wire);
    }
    const stop = reader.stop(end, wire, start, what);
    if (!field) {
      extraOf(message).unknown.push({ number, bytes: reader.bytes.slice(start, stop) });
    } else {
      const { name: key, type, repeated, packed } = field;
      let values: ArrayLike<unknown>;
      if (isMessage(type)) {
        const into = repeated ? {} : ((message[key] ?? {}) as Message);
        values = [decodeMessage(reader, type, stop, depth + 1, into)];
      } else values = decodeValues(reader, field, stop, start, what);
      if (repeated) {
        if (expected !== 2 && (wire === 2) !== packed) {
          extraOf(message).packing.set(number, wire === 2);
        }
        const before = message[key] as ArrayLike<unknown> | undefined;
        const list = lists.get(field) ?? (before ? [before] : []);
        lists.set(field, list);
        list.push(values);
      } else message[key] = values[0];
    }
    reader.at = stop;
  }
  for (const [field, pieces] of lists) message[field.name] = joined(field, pieces);
  return message;
}

function extraOf(message: Message): Extra {
  message[extra] ??= { unknown: [], packing: new Map() };
  return message[extra];
}

/**
 * Reads an ONNX file. Fields that the schema does not name are kept and written again. Bytes of the
 * file are shared, not copied: `rawData` and other bytes look into it.
 * @throws OnnxFormatError with the offset, for anything that is no protobuf message of this schema.
 */
export function decodeModel(bytes: Uint8Array): Model {
  return decodeMessage(new Reader(bytes), 'Model', bytes.length, 0, {}) as Model;
}

class Writer {
  bytes = new Uint8Array(1024);
  at = 0;

  room(length: number): void {
    if (this.at + length <= this.bytes.length) return;
    const larger = new Uint8Array(Math.max(2 * this.bytes.length, this.at + length));
    larger.set(this.bytes.subarray(0, this.at));
    this.bytes = larger;
  }
  put(bytes: Uint8Array): void {
    this.room(bytes.length);
    this.bytes.set(bytes, this.at);
    this.at += bytes.length;
  }
  varint(value: Int): void {
    this.room(10);
    let rest = value;
    if (rest < 0) rest = BigInt.asUintN(64, BigInt(rest));
    while (rest >= 128) {
      if (typeof rest === 'bigint') {
        this.bytes[this.at++] = Number(rest & 127n) | 128;
        rest >>= 7n;
        if (rest <= Number.MAX_SAFE_INTEGER) rest = Number(rest);
      } else {
        this.bytes[this.at++] = (rest % 128) | 128;
        rest = Math.floor(rest / 128);
      }
    }
    this.bytes[this.at++] = Number(rest);
  }
  /** A length, and what `write` writes. */
  within(write: () => void): void {
    const start = this.at;
    write();
    const length = this.at - start;
    const before = this.at;
    this.varint(length);
    const prefix = this.at - before;
    const digits = this.bytes.slice(before, this.at);
    this.bytes.copyWithin(start + prefix, start, before);
    this.bytes.set(digits, start);
  }
}

const encoder = new TextEncoder();

function wrongValue(what: string, value: unknown, wanted: string): never {
  const shown = typeof value === 'object' ? Object.prototype.toString.call(value) : String(value);
  throw new OnnxFormatError(`${what} is ${shown}, not ${wanted}`, -1, what, value);
}

const limits: Readonly<Record<string, readonly [bigint, bigint]>> = {
  int32: [-(2n ** 31n), 2n ** 31n - 1n],
  int64: [-(2n ** 63n), 2n ** 63n - 1n],
  uint64: [0n, 2n ** 64n - 1n],
};

function encodeScalar(writer: Writer, type: Field['type'], value: unknown, what: string): void {
  const Reals = reals[type];
  if (type === 'string' || type === 'bytes') {
    if (type === 'string' && typeof value !== 'string') wrongValue(what, value, 'a string');
    const bytes = type === 'string' ? encoder.encode(value as string) : value;
    if (!(bytes instanceof Uint8Array)) wrongValue(what, value, 'a Uint8Array');
    writer.varint(bytes.length);
    writer.put(bytes);
  } else if (Reals) {
    if (typeof value !== 'number') wrongValue(what, value, 'a number');
    writer.put(new Uint8Array(Reals.of(value).buffer));
  } else {
    const [least, most] = limits[type]!;
    const whole = Number.isSafeInteger(value) || typeof value === 'bigint';
    if (!whole || (value as Int) < least || (value as Int) > most) {
      wrongValue(what, value, `an integer of ${type}, beyond 2^53 as a bigint`);
    }
    writer.varint(value as Int);
  }
}

function encodeField(writer: Writer, owner: string, field: Field, message: Message, depth: number) {
  const value = message[field.name];
  if (value === undefined) return;
  const { number, type, repeated } = field;
  const what = `${owner}.${field.name}`;
  const tag = 8 * number + wireType(type);
  const one = (item: unknown) => {
    writer.varint(tag);
    if (!isMessage(type)) return encodeScalar(writer, type, item, what);
    if (typeof item !== 'object' || item === null) wrongValue(what, item, 'a message');
    writer.within(() => encodeMessage(writer, type, item as Message, depth + 1));
  };
  if (!repeated) return one(value);
  if (!Array.isArray(value) && !ArrayBuffer.isView(value)) wrongValue(what, value, 'a list');
  const items = value as unknown as ArrayLike<unknown> & Iterable<unknown>;
  const packing = message[extra]?.packing;
  const packed = wireType(type) !== 2 && (packing?.get(number) ?? field.packed);
  if (!packed) {
    for (const item of items) one(item);
    return;
  }
  writer.varint(8 * number + 2);
  writer.within(() => {
    const Reals = reals[type];
    if (Reals && value instanceof Reals) {
      writer.put(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
    } else for (const item of items) encodeScalar(writer, type, item, what);
  });
}

function encodeMessage(writer: Writer, name: MessageName, message: Message, depth: number): void {
  if (depth > MAX_DEPTH) {
    throw new OnnxFormatError(`${name} is nested more than ${MAX_DEPTH} deep`, -1, name);
  }
  // Unknown fields go where their numbers put them, as the usual writers do.
  const unknown = [...(message[extra]?.unknown ?? [])].sort((a, b) => a.number - b.number);
  for (const field of schema[name]) {
    while (unknown.length > 0 && unknown[0]!.number < field.number) {
      writer.put(unknown.shift()!.bytes);
    }
    encodeField(writer, name, field, message, depth);
  }
  for (const { bytes } of unknown) writer.put(bytes);
}

/**
 * Writes an ONNX file: what {@link decodeModel} read comes out as the same bytes, if the fields of each
 * message were in the order of their numbers, as the usual writers put them.
 * @throws OnnxFormatError for a value that does not fit its field, naming it.
 */
export function encodeModel(model: Model): Uint8Array {
  const writer = new Writer();
  encodeMessage(writer, 'Model', model as Message, 0);
  return writer.bytes.slice(0, writer.at);
}
