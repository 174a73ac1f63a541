/** A buffer, and how many tensors live in it: the last one that goes takes it along. */
export class Storage {
  #tensors = 0;
  released = false;
  constructor(
    readonly buffer: GPUBuffer,
    /** Left out for a buffer that is somebody else's. */
    readonly release?: () => void,
  ) {}
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
/** Kernels move four numbers at a time: buffers of the library's own have room for that. */
export const padded = (length: number): number => Math.max(16, Math.ceil(length / 4) * 16);

/** A float32 tensor in a range of a GPU buffer. */
export class GpuTensor {
  readonly length: number;
  disposed = false;
  constructor(
    public storage: Storage,
    /** In bytes. */
    public offset: number,
    readonly shape: readonly number[],
    /** Kept as pairs of float16. */
    public half = false,
    /** The arena that it is a part of. */
    readonly chunk?: Chunk,
  ) {
    this.length = lengthOf(shape);
    storage.hold();
  }
  /** In bytes, without padding. */
  get size(): number {
    return this.length * (this.half ? 2 : 4);
  }
  /** Lives elsewhere from now on. Whoever moves it has copied the values. */
  moveTo(storage: Storage, offset: number, half: boolean): void {
    storage.hold();
    this.storage.drop();
    Object.assign(this, { storage, offset, half });
  }
  dispose(): void {
    if (!this.disposed) this.storage.drop();
    this.disposed = true;
  }
}

/** Parameters in one buffer and their gradients in another, at the same offsets. */
export interface Chunk {
  readonly parameters: Storage;
  readonly gradients: Storage;
  readonly bytes: number;
}
