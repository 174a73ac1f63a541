/** A buffer, and how many tensors live in it: the last one that goes takes it along. */
export class Storage {
  readonly offset = 0;
  readonly size: number;
  released = false;
  /** Holds pairs of float16. */
  half = false;
  #tensors = 0;
  constructor(
    readonly buffer: GPUBuffer,
    /** Left out for a buffer that is somebody else's. */
    readonly release?: () => void,
  ) {
    this.size = buffer.size;
  }
  hold(): void {
    this.#tensors++;
  }
  drop(): void {
    if (--this.#tensors > 0 || this.released || !this.release) return;
    this.released = true;
    this.release();
  }
}

export const lengthOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
export const vectorsIn = (length: number): number => Math.ceil(length / 4);
/** Kernels move four numbers at a time: buffers of the library's own have room for that. */
export const padded = (length: number): number => Math.max(16, 16 * vectorsIn(length));

/** A tensor in a range of a GPU buffer. */
export class GpuTensor {
  readonly dtype = 'float32';
  readonly length: number;
  disposed = false;
  constructor(
    public storage: Storage,
    /** In bytes. */
    public offset: number,
    readonly shape: readonly number[],
    /** What it is a part of, if it stays where it is. */
    public chunk?: Chunk,
  ) {
    this.length = lengthOf(shape);
    storage.hold();
  }
  get buffer(): GPUBuffer {
    return this.storage.buffer;
  }
  get half(): boolean {
    return this.storage.half;
  }
  /** In bytes, without padding. */
  get size(): number {
    return this.length * (this.half ? 2 : 4);
  }
  /** Lives elsewhere from now on. Whoever moves it has copied the values. */
  moveTo(storage: Storage, offset: number): void {
    storage.hold();
    this.storage.drop();
    Object.assign(this, { storage, offset });
  }
  dispose(): void {
    if (!this.disposed) this.storage.drop();
    this.disposed = true;
  }
}

/** A range of a buffer, in bytes, as a kernel is bound to it. */
export type Range = Storage | GpuTensor | Required<GPUBufferBinding>;

/** Parameters that one dispatch can reach: many in an arena, or a single one in a buffer of its own. */
export interface Chunk {
  readonly single: boolean;
  /** Vectors of four numbers. */
  readonly vectors: number;
  /** Where its parameters are. */
  parameter: Range;
  /** Where their gradients are, at the same places. */
  gradient: Range;
  /** Buffers of the state, and of x when somebody evaluates, laid out as the parameters are. */
  readonly planes: Map<string, Storage>;
}
export const chunkOf = (
  parameter: Range,
  gradient: Range,
  vectors: number,
  single = false,
): Chunk => ({ parameter, gradient, vectors, single, planes: new Map() });

/** Where in its chunk a parameter begins, in bytes. */
export const placeIn = ({ parameter }: Chunk, { offset }: GpuTensor): number =>
  offset - parameter.offset;
