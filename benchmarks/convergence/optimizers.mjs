// The optimizers that are compared. Each trains one flat array of parameters:
//
//     const run = create(initial, settings, { steps, warmup, watch })
//     run.point()     where the next gradient is to be taken
//     run.gradient()  the array that takes it
//     run.step()
//     run.answer()    where the model is evaluated
//
// What the library has runs through the library, on the backend that ONNX models are trained with; the
// other peers are written here, from their papers.
import { scheduleFreeAdan } from '@schedule-free-adan/core';
import { HostBackend } from '@schedule-free-adan/core/host';

/** Linear warmup over a twentieth of the steps, then half a cosine to 0 at the known end. */
export function cosine(learningRate, steps) {
  const warmup = Math.max(1, Math.round(0.05 * steps));
  return (t) =>
    t <= warmup
      ? (learningRate * t) / warmup
      : (learningRate / 2) * (1 + Math.cos((Math.PI * (t - warmup)) / (steps - warmup)));
}

const linear = (learningRate, warmup) => (t) => learningRate * Math.min(1, t / Math.max(1, warmup));

/** The library's optimizer over one parameter. `rateAt` replaces the learning rate, step by step. */
export function library(initial, options, rateAt, backend = new HostBackend()) {
  const shape = [initial.length];
  const parameter = backend.upload(initial, shape);
  const optimizer = scheduleFreeAdan(backend, { parameter }, options);
  backend.dispose(parameter);
  const gradient = backend.make(shape);
  let t = 0;
  const copy = (tensor) => {
    const values = tensor.data.slice();
    backend.dispose(tensor);
    return values;
  };
  return {
    // With x between steps y is computed.
    point: () =>
      options.placement === 'x'
        ? copy(optimizer.trainParameters().parameter)
        : optimizer.parameter('parameter').data,
    gradient: () => gradient.data,
    step() {
      t++;
      if (rateAt) optimizer.groups[0].learningRate = rateAt(t);
      optimizer.step({ parameter: gradient });
    },
    answer: () => copy(optimizer.evalParameters().parameter),
  };
}

/** Adam (Kingma & Ba, arXiv 1412.6980, algorithm 1); with decay AdamW (arXiv 1711.05101, algorithm 2). */
export function adam(initial, rateAt, { weightDecay = 0, beta1 = 0.9, beta2 = 0.999 } = {}) {
  const w = initial.slice();
  const [m, n, gradient] = [0, 0, 0].map(() => new Float32Array(w.length));
  let t = 0;
  return {
    point: () => w,
    gradient: () => gradient,
    answer: () => w,
    step() {
      t++;
      const rate = rateAt(t);
      const [b1, b2] = [1 - beta1 ** t, 1 - beta2 ** t];
      const keep = 1 - rate * weightDecay;
      for (let i = 0; i < w.length; i++) {
        const g = gradient[i];
        m[i] = beta1 * m[i] + (1 - beta1) * g;
        n[i] = beta2 * n[i] + (1 - beta2) * g * g;
        w[i] = keep * w[i] - (rate * (m[i] / b1)) / (Math.sqrt(n[i] / b2) + 1e-8);
      }
    },
  };
}

/**
 * What two published ports of Schedule-Free to Adan compute: `AdanScheduleFree` of traiNNer-redux
 * (`rawGradient: false`) and `adan_sf` of neosr (`true`). Both have one β1 = 0.98 for Adan's first
 * moment and for Schedule-Free's momentum, put warmup into the averaging weights alone, and move y by
 * (1 − c) of the step where 1 − β(1 − c) is right. The second steps z with the raw gradient,
 * multiplies by a bias correction where it has to divide, and decays y alone.
 */
export function port(initial, { learningRate, weightDecay, rawGradient }, { warmup, watch }) {
  const [beta1, beta2, beta3] = [0.98, 0.92, rawGradient ? 0.987 : 0.99];
  const [y, z] = [initial.slice(), initial.slice()];
  const [m, v, n, before, gradient] = [0, 0, 0, 0, 0].map(() => new Float32Array(y.length));
  let [t, weightSum, rateMax] = [0, 0, 0];
  /** What x has to be by its definition: the weighted mean of all z so far. */
  const mean = Float64Array.from(initial);
  const answer = () => y.map((value, i) => (value - (1 - beta1) * z[i]) / beta1);
  return {
    point: () => y,
    gradient: () => gradient,
    answer,
    /** How far x is from that mean, in units of how far the newest z is from it: 0 if x is the mean. */
    offAverage() {
      const length = (of) => Math.sqrt(mean.reduce((sum, _, i) => sum + of(i) ** 2, 0));
      const x = answer();
      return length((i) => x[i] - mean[i]) / length((i) => z[i] - mean[i]);
    },
    step() {
      t++;
      const [b1, b2, b3] = [1 - beta1 ** t, 1 - beta2 ** t, 1 - beta3 ** t];
      const rate = learningRate * Math.min(1, t / Math.max(1, warmup));
      rateMax = Math.max(rateMax, rawGradient ? rate * Math.sqrt(b3) : rate);
      weightSum += rateMax ** 2;
      const c = rateMax ** 2 / weightSum;
      const keep = 1 - learningRate * weightDecay;
      for (let i = 0; i < y.length; i++) {
        const g = gradient[i];
        const difference = t === 1 ? 0 : g - before[i];
        m[i] = beta1 * m[i] + (1 - beta1) * g;
        v[i] = beta2 * v[i] + (1 - beta2) * difference;
        n[i] = beta3 * n[i] + (1 - beta3) * (g + beta2 * difference) ** 2;
        before[i] = g;
        const scale = Math.sqrt(n[i] / b3) + 1e-8;
        const ofDifference = ((beta2 / b2) * v[i]) / scale;
        if (rawGradient) {
          const towards = (1 - c) * keep * y[i] + c * z[i];
          y[i] = towards - learningRate * (1 - c) * ((b1 * m[i]) / scale + ofDifference);
          z[i] -= learningRate * g;
        } else {
          const direction = m[i] / b1 / scale + ofDifference;
          y[i] = keep * ((1 - c) * y[i] + c * z[i]) - learningRate * (1 - c) * direction;
          z[i] = keep * z[i] - learningRate * direction;
        }
        if (watch) mean[i] += c * (z[i] - mean[i]);
      }
    },
  };
}

/**
 * The library's backend with another average or momentum than the library has: `share(t, c)` is the share
 * of the new z in x where the rule has c, `momentum(t)` the β of step t. The rule itself is the core's.
 */
class VariantBackend extends HostBackend {
  #t = 1;
  constructor({ share, momentum }) {
    super();
    this.share = share;
    this.momentum = momentum;
  }
  step(request) {
    const t = this.#t++;
    const entries = request.entries.map((entry) => {
      const { scalars, hyperparameters: h } = entry.group;
      const weight = scalars.step ** h.r * scalars.learningRateMax ** h.weightLrPower;
      const share =
        this.share?.(t, weight / scalars.weightSum, weight) ?? weight / scalars.weightSum;
      const momentum = this.momentum?.(t) ?? h.momentum;
      const group = {
        scalars: { ...scalars, weightSum: weight / share },
        hyperparameters: { ...h, momentum },
      };
      return { ...entry, group };
    });
    super.step({ ...request, entries });
  }
  point(from, z, momentum, to) {
    return super.point(from, z, this.momentum?.(this.#t) ?? momentum, to);
  }
}

/** What might do better than the library; by name, with what it takes. */
const variants = {
  /** x averages from step `from` on, and is z before. */
  'average-from': ({ from }) => {
    let sum = 0;
    return {
      share(t, _, weight) {
        if (t <= from) return 1;
        sum += weight;
        return weight / sum;
      },
    };
  },
  /** The momentum grows from `first` to `last`, half of the way after `half` steps. */
  'annealed-momentum': ({ first, last, half }) => ({
    momentum: (t) => last - (last - first) * (half / (half + t)),
  }),
  /** A shorter window: the share of the new z is `factor` times as large (arXiv 2507.09846, C(1 − β)). */
  refined: ({ factor }) => ({ share: (_, c) => Math.min(1, factor * c) }),
};

function variant(initial, { variant: { name, ...of }, ...settings }, { warmup }) {
  const backend = new VariantBackend(variants[name](of));
  const options = { warmupSteps: warmup, placement: 'x', ...settings };
  return library(initial, options, undefined, backend);
}

const grid = (learningRates, weightDecays) =>
  learningRates.flatMap((learningRate) =>
    weightDecays.map((weightDecay) => ({ learningRate, weightDecay })),
  );
const withoutDecay = grid([0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064], [0]);
const adamw = grid([0.001, 0.003, 0.01, 0.03], [0.1, 1]);
const adan = grid([0.001, 0.003, 0.01, 0.03], [0, 0.2]);
const scheduleFree = grid([0.003, 0.01, 0.03, 0.1], [0, 0.1]);
const ofPorts = grid([0.001, 0.003, 0.01, 0.03], [0, 0.1]);

/**
 * By name: a title; whether it needs to know its end; eight settings to tune among; and how to make it.
 * A task multiplies all learning rates by a factor of its own.
 */
export const optimizers = {
  'schedule-free-adan': {
    title: 'Schedule-Free Adan',
    grid: scheduleFree,
    create: (initial, settings, { warmup }) =>
      library(initial, { warmupSteps: warmup, ...settings }),
  },
  /** Not a peer: ideas for the library, tried around its own setting. */
  variant: { title: 'variant of Schedule-Free Adan', create: variant },
  'schedule-free-adamw': {
    title: 'Schedule-Free AdamW',
    grid: scheduleFree,
    // Without a first moment and without differences, the direction is g / (√n̂ + ε).
    create: (initial, settings, { warmup }) =>
      library(initial, { warmupSteps: warmup, betas: [0, 0, 0.999], ...settings }),
  },
  'adam-constant': {
    title: 'Adam, constant rate',
    grid: withoutDecay,
    create: (initial, { learningRate }, { warmup }) => adam(initial, linear(learningRate, warmup)),
  },
  'adam-cosine': {
    title: 'Adam, cosine',
    knowsItsEnd: true,
    grid: withoutDecay,
    create: (initial, { learningRate }, { steps }) => adam(initial, cosine(learningRate, steps)),
  },
  'adamw-cosine': {
    title: 'AdamW, cosine',
    knowsItsEnd: true,
    grid: adamw,
    create: (initial, { learningRate, weightDecay }, { steps }) =>
      adam(initial, cosine(learningRate, steps), { weightDecay }),
  },
  'adan-cosine': {
    title: 'Adan, cosine',
    knowsItsEnd: true,
    grid: adan,
    create: (initial, settings, { steps }) =>
      library(initial, { scheduleFree: false, ...settings }, cosine(settings.learningRate, steps)),
  },
  'port-one-beta': {
    title: 'port: one β1 for both roles',
    grid: ofPorts,
    create: (initial, settings, of) => port(initial, { ...settings, rawGradient: false }, of),
  },
  'port-raw-gradient': {
    title: 'port: z steps with the raw gradient',
    grid: ofPorts,
    create: (initial, settings, of) => port(initial, { ...settings, rawGradient: true }, of),
  },
};
