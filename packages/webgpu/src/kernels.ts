import type { CoefficientName, Coefficients, RuleForm } from '@schedule-free-adan/core/rule';
import {
  type ArrayLayout,
  arraysOf,
  forEach,
  halves,
  literal,
  numberSets,
  shader,
  stepArray,
  stepKernel,
  stepShader,
  storage,
  sumOfSquares,
  total,
  uniform,
  verdict,
} from '@schedule-free-adan/core/wgsl';

/** How a step is specialised, besides the form of the rule. */
export interface StepVariant extends ArrayLayout {
  readonly form: RuleForm;
  /** Multiply gradients by the clip factor. */
  readonly clipping: boolean;
  /** Do nothing where the verdict is so. */
  readonly checking: boolean;
  /** The dispatch spans one tensor: no table of blocks is read. */
  readonly single: boolean;
  /** Write x as well. */
  readonly averages: boolean;
  /** How many sets of coefficients there are. */
  readonly sets: number;
  /** Coefficients that are the same in all sets and steps: printed, not read. */
  readonly constants: Partial<Coefficients>;
  /** Words of the tables, where that is known beforehand. */
  readonly words?: number | undefined;
}

/** What the core's metrics are, at the beginning of the control buffer. */
export const METRICS = ['gradientNorm', 'clipFactor', 'skippedSteps'] as const;
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
 * What every kernel of a step is bound to. Of the control buffer: the metrics; what gradients are multiplied
 * by, below 0 if the step is not taken; whether it is and a tensor meets its first gradient; then `words`: who
 * has seen a gradient, a word for each tensor, then the tensors' rows, the other tables, and the norm's partial
 * sums.
 */
const bindings = (access: 'read' | 'read_write', sets = '', words = '') =>
  `struct Request {
  maxGradNorm: f32, epsilon: f32, partials: u32, tensors: u32,
  blocks: u32, items: u32, itemCount: u32, vectors: u32, tensor: u32, sums: u32,${sets}
}
struct Control {
  ${METRICS.join(': f32, ')}: f32, factor: f32, first: u32,
  words: array<u32${words}>,
}
@group(0) @binding(0) var<storage, ${access}> control: Control;
${uniform(1, 'request', 'Request')}
fn row(tensor: u32) -> u32 { return request.tensors + ${ROW} * tensor; }`;
/** Whom vector `i` belongs to. */
const tensorOf = ({ single }: StepVariant) =>
  single ? 'request.tensor' : 'control.words[request.blocks + i / 16]';

/**
 * The fused step, which is the rule of the core: the coefficients that it reads, the arrays that it is bound
 * to, and its text.
 */
export function fusedStep(variant: StepVariant) {
  const { form, clipping, checking, single, sets, constants, averages, words } = variant;
  const kernel = stepKernel(form, { clipping, clipKnown: 'device', averages });
  const names = (kernel.numbers as CoefficientName[]).filter(
    (name) => constants[name] === undefined && String(name) !== 'clip',
  );
  const coefficients = numberSets('request.sets', names, sets);
  const code = () =>
    stepShader({
      kernel,
      layout: variant,
      first: 2,
      declarations: [
        coefficients.struct,
        bindings(
          'read',
          `\n  @align(16) sets: array<Numbers, ${sets}>,`,
          words ? `, ${words}` : '',
        ),
      ],
      begin: shader(
        // One number read, and no branch of its own: both cost on some devices more than they save.
        clipping || checking ? '  let factor = control.factor;' : '  _ = &control;',
        `  if (i >= ${checking ? 'select(request.vectors, 0, factor < 0)' : 'request.vectors'}) { return; }`,
        !single &&
          `  let tensor = ${tensorOf(variant)};
  if (tensor == ${INACTIVE}u) { return; }`,
        sets > 1 && '  let which = control.words[row(tensor)];',
      ),
      number(name) {
        if (name === 'clip') return 'factor';
        const known = constants[name as CoefficientName];
        return known === undefined ? coefficients.read(name) : literal(known);
      },
    });
  return { names, arrays: arraysOf(kernel), code };
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
    forEach(),
    `  if (i >= request.itemCount) { return; }
  let tensor = row(control.words[request.items + 2 * i]);
  let share = control.words[request.items + 2 * i + 1];
  let squares = bitcast<vec2u>(squares_gradients(control.words[tensor + 2], control.words[tensor + 1], share, control.words[tensor + 4]));
  let to = request.sums + 2 * (control.words[tensor + 3] + share);
  control.words[to] = squares.x;
  control.words[to + 1] = squares.y;
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
    control.gradientNorm = norm;
    control.clipFactor = clip;
    control.skippedSteps += 1 - f32(finite);
    control.factor = select(-1, clip, finite);
    control.first = u32(finite && total.z > 0);
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
  const gradient = stepArray('gradient', variant);
  const previous = stepArray('g', variant);
  const clipped = `${variant.clipping ? 'control.factor * ' : ''}${gradient.read}`;
  return shader(
    bindings('read'),
    gradient.declare(2),
    previous.declare(3),
    variant.half && halves,
    forEach('thread'),
    `  for (var i = thread; i < request.vectors * control.first; i += groups.x * workgroupSize) {
    let tensor = ${tensorOf(variant)};
    if (tensor != ${INACTIVE}u && control.words[row(tensor) + ${ROW - 1}] == 1) {
      ${previous.write(clipped)}
    }
  }
}`,
  );
}
