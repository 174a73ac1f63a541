// Printed by tools/print-onnx-kernels.mjs out of the core's rule: change that instead.
import type { Coefficients } from '@schedule-free-adan/core/rule';

export type Arrays = Readonly<Record<'parameter' | 'z' | 'm' | 'v' | 'n' | 'g', Float32Array>>;
export type Kernel = (
  c: Coefficients,
  state: Arrays,
  gradients: Float32Array,
  clip: number,
  first: boolean,
) => void;

export const kernels: Readonly<Record<string, Kernel>> = {
  'averaging-none': (c, state, gradients, clip) => {
    const { stepSize, average, keepAverage, follow, beta3, oneMinusBeta3, scaleN, epsilon } = c;
    const { parameter: parameters, z: zs, n: ns } = state;
    for (let i = 0; i < gradients.length; i++) {
      const gradient = gradients[i]! * clip;
      const parameter = parameters[i]!;
      const z = zs[i]!;
      const n = ns[i]!;
      const newN = beta3 * n + oneMinusBeta3 * (gradient * gradient);
      const direction = gradient / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = z - stepSize * direction;
      parameters[i] = keepAverage * parameter + average * z + follow * (newZ - z);
      zs[i] = newZ;
      ns[i] = newN;
    }
  },
  'averaging-y': (c, state, gradients, clip) => {
    const { stepSize, average, keepAverage, follow, beta3, oneMinusBeta3, scaleN, epsilon, decay } =
      c;
    const { parameter: parameters, z: zs, n: ns } = state;
    for (let i = 0; i < gradients.length; i++) {
      const gradient = gradients[i]! * clip;
      const parameter = parameters[i]!;
      const z = zs[i]!;
      const n = ns[i]!;
      const newN = beta3 * n + oneMinusBeta3 * (gradient * gradient);
      const direction = gradient / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = z - stepSize * (direction + decay * parameter);
      parameters[i] = keepAverage * parameter + average * z + follow * (newZ - z);
      zs[i] = newZ;
      ns[i] = newN;
    }
  },
  'averaging-z': (c, state, gradients, clip) => {
    const { stepSize, average, keepAverage, follow, beta3, oneMinusBeta3, scaleN, epsilon, decay } =
      c;
    const { parameter: parameters, z: zs, n: ns } = state;
    for (let i = 0; i < gradients.length; i++) {
      const gradient = gradients[i]! * clip;
      const parameter = parameters[i]!;
      const z = zs[i]!;
      const n = ns[i]!;
      const newN = beta3 * n + oneMinusBeta3 * (gradient * gradient);
      const direction = gradient / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * z - stepSize * direction;
      parameters[i] = keepAverage * parameter + average * z + follow * (newZ - z);
      zs[i] = newZ;
      ns[i] = newN;
    }
  },
  'averaging-prox': (c, state, gradients, clip) => {
    const { stepSize, average, keepAverage, follow, beta3, oneMinusBeta3, scaleN, epsilon, decay } =
      c;
    const { parameter: parameters, z: zs, n: ns } = state;
    for (let i = 0; i < gradients.length; i++) {
      const gradient = gradients[i]! * clip;
      const parameter = parameters[i]!;
      const z = zs[i]!;
      const n = ns[i]!;
      const newN = beta3 * n + oneMinusBeta3 * (gradient * gradient);
      const direction = gradient / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * (z - stepSize * direction);
      parameters[i] = keepAverage * parameter + average * z + follow * (newZ - z);
      zs[i] = newZ;
      ns[i] = newN;
    }
  },
  'averaging-v-none': (c, state, gradients, clip, first) => {
    const {
      stepSize,
      average,
      keepAverage,
      follow,
      beta2,
      oneMinusBeta2,
      beta3,
      oneMinusBeta3,
      scaleV,
      scaleN,
      epsilon,
    } = c;
    const { parameter: parameters, z: zs, v: vs, n: ns, g: gs } = state;
    for (let i = 0; i < gradients.length; i++) {
      const gradient = gradients[i]! * clip;
      const parameter = parameters[i]!;
      const z = zs[i]!;
      const v = vs[i]!;
      const n = ns[i]!;
      const previous = first ? gradient : gs[i]!;
      const difference = gradient - previous;
      const newV = beta2 * v + oneMinusBeta2 * difference;
      const nesterov = gradient + beta2 * difference;
      const newN = beta3 * n + oneMinusBeta3 * (nesterov * nesterov);
      const direction = (gradient + scaleV * newV) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = z - stepSize * direction;
      parameters[i] = keepAverage * parameter + average * z + follow * (newZ - z);
      zs[i] = newZ;
      vs[i] = newV;
      ns[i] = newN;
      gs[i] = gradient;
    }
  },
  'averaging-v-y': (c, state, gradients, clip, first) => {
    const {
      stepSize,
      average,
      keepAverage,
      follow,
      beta2,
      oneMinusBeta2,
      beta3,
      oneMinusBeta3,
      scaleV,
      scaleN,
      epsilon,
      decay,
    } = c;
    const { parameter: parameters, z: zs, v: vs, n: ns, g: gs } = state;
    for (let i = 0; i < gradients.length; i++) {
      const gradient = gradients[i]! * clip;
      const parameter = parameters[i]!;
      const z = zs[i]!;
      const v = vs[i]!;
      const n = ns[i]!;
      const previous = first ? gradient : gs[i]!;
      const difference = gradient - previous;
      const newV = beta2 * v + oneMinusBeta2 * difference;
      const nesterov = gradient + beta2 * difference;
      const newN = beta3 * n + oneMinusBeta3 * (nesterov * nesterov);
      const direction = (gradient + scaleV * newV) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = z - stepSize * (direction + decay * parameter);
      parameters[i] = keepAverage * parameter + average * z + follow * (newZ - z);
      zs[i] = newZ;
      vs[i] = newV;
      ns[i] = newN;
      gs[i] = gradient;
    }
  },
  'averaging-v-z': (c, state, gradients, clip, first) => {
    const {
      stepSize,
      average,
      keepAverage,
      follow,
      beta2,
      oneMinusBeta2,
      beta3,
      oneMinusBeta3,
      scaleV,
      scaleN,
      epsilon,
      decay,
    } = c;
    const { parameter: parameters, z: zs, v: vs, n: ns, g: gs } = state;
    for (let i = 0; i < gradients.length; i++) {
      const gradient = gradients[i]! * clip;
      const parameter = parameters[i]!;
      const z = zs[i]!;
      const v = vs[i]!;
      const n = ns[i]!;
      const previous = first ? gradient : gs[i]!;
      const difference = gradient - previous;
      const newV = beta2 * v + oneMinusBeta2 * difference;
      const nesterov = gradient + beta2 * difference;
      const newN = beta3 * n + oneMinusBeta3 * (nesterov * nesterov);
      const direction = (gradient + scaleV * newV) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * z - stepSize * direction;
      parameters[i] = keepAverage * parameter + average * z + follow * (newZ - z);
      zs[i] = newZ;
      vs[i] = newV;
      ns[i] = newN;
      gs[i] = gradient;
    }
  },
  'averaging-v-prox': (c, state, gradients, clip, first) => {
    const {
      stepSize,
      average,
      keepAverage,
      follow,
      beta2,
      oneMinusBeta2,
      beta3,
      oneMinusBeta3,
      scaleV,
      scaleN,
      epsilon,
      decay,
    } = c;
    const { parameter: parameters, z: zs, v: vs, n: ns, g: gs } = state;
    for (let i = 0; i < gradients.length; i++) {
      const gradient = gradients[i]! * clip;
      const parameter = parameters[i]!;
      const z = zs[i]!;
      const v = vs[i]!;
      const n = ns[i]!;
      const previous = first ? gradient : gs[i]!;
      const difference = gradient - previous;
      const newV = beta2 * v + oneMinusBeta2 * difference;
      const nesterov = gradient + beta2 * difference;
      const newN = beta3 * n + oneMinusBeta3 * (nesterov * nesterov);
      const direction = (gradient + scaleV * newV) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * (z - stepSize * direction);
      parameters[i] = keepAverage * parameter + average * z + follow * (newZ - z);
      zs[i] = newZ;
      vs[i] = newV;
      ns[i] = newN;
      gs[i] = gradient;
    }
  },
  'averaging-m-none': (c, state, gradients, clip) => {
    const {
      stepSize,
      average,
      keepAverage,
      follow,
      beta1,
      oneMinusBeta1,
      beta3,
      oneMinusBeta3,
      scaleM,
      scaleN,
      epsilon,
    } = c;
    const { parameter: parameters, z: zs, m: ms, n: ns } = state;
    for (let i = 0; i < gradients.length; i++) {
      const gradient = gradients[i]! * clip;
      const parameter = parameters[i]!;
      const z = zs[i]!;
      const m = ms[i]!;
      const n = ns[i]!;
      const newM = beta1 * m + oneMinusBeta1 * gradient;
      const newN = beta3 * n + oneMinusBeta3 * (gradient * gradient);
      const direction = (scaleM * newM) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = z - stepSize * direction;
      parameters[i] = keepAverage * parameter + average * z + follow * (newZ - z);
      zs[i] = newZ;
      ms[i] = newM;
      ns[i] = newN;
    }
  },
  'averaging-m-y': (c, state, gradients, clip) => {
    const {
      stepSize,
      average,
      keepAverage,
      follow,
      beta1,
      oneMinusBeta1,
      beta3,
      oneMinusBeta3,
      scaleM,
      scaleN,
      epsilon,
      decay,
    } = c;
    const { parameter: parameters, z: zs, m: ms, n: ns } = state;
    for (let i = 0; i < gradients.length; i++) {
      const gradient = gradients[i]! * clip;
      const parameter = parameters[i]!;
      const z = zs[i]!;
      const m = ms[i]!;
      const n = ns[i]!;
      const newM = beta1 * m + oneMinusBeta1 * gradient;
      const newN = beta3 * n + oneMinusBeta3 * (gradient * gradient);
      const direction = (scaleM * newM) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = z - stepSize * (direction + decay * parameter);
      parameters[i] = keepAverage * parameter + average * z + follow * (newZ - z);
      zs[i] = newZ;
      ms[i] = newM;
      ns[i] = newN;
    }
  },
  'averaging-m-z': (c, state, gradients, clip) => {
    const {
      stepSize,
      average,
      keepAverage,
      follow,
      beta1,
      oneMinusBeta1,
      beta3,
      oneMinusBeta3,
      scaleM,
      scaleN,
      epsilon,
      decay,
    } = c;
    const { parameter: parameters, z: zs, m: ms, n: ns } = state;
    for (let i = 0; i < gradients.length; i++) {
      const gradient = gradients[i]! * clip;
      const parameter = parameters[i]!;
      const z = zs[i]!;
      const m = ms[i]!;
      const n = ns[i]!;
      const newM = beta1 * m + oneMinusBeta1 * gradient;
      const newN = beta3 * n + oneMinusBeta3 * (gradient * gradient);
      const direction = (scaleM * newM) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * z - stepSize * direction;
      parameters[i] = keepAverage * parameter + average * z + follow * (newZ - z);
      zs[i] = newZ;
      ms[i] = newM;
      ns[i] = newN;
    }
  },
  'averaging-m-prox': (c, state, gradients, clip) => {
    const {
      stepSize,
      average,
      keepAverage,
      follow,
      beta1,
      oneMinusBeta1,
      beta3,
      oneMinusBeta3,
      scaleM,
      scaleN,
      epsilon,
      decay,
    } = c;
    const { parameter: parameters, z: zs, m: ms, n: ns } = state;
    for (let i = 0; i < gradients.length; i++) {
      const gradient = gradients[i]! * clip;
      const parameter = parameters[i]!;
      const z = zs[i]!;
      const m = ms[i]!;
      const n = ns[i]!;
      const newM = beta1 * m + oneMinusBeta1 * gradient;
      const newN = beta3 * n + oneMinusBeta3 * (gradient * gradient);
      const direction = (scaleM * newM) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * (z - stepSize * direction);
      parameters[i] = keepAverage * parameter + average * z + follow * (newZ - z);
      zs[i] = newZ;
      ms[i] = newM;
      ns[i] = newN;
    }
  },
  'averaging-m-v-none': (c, state, gradients, clip, first) => {
    const {
      stepSize,
      average,
      keepAverage,
      follow,
      beta1,
      oneMinusBeta1,
      beta2,
      oneMinusBeta2,
      beta3,
      oneMinusBeta3,
      scaleM,
      scaleV,
      scaleN,
      epsilon,
    } = c;
    const { parameter: parameters, z: zs, m: ms, v: vs, n: ns, g: gs } = state;
    for (let i = 0; i < gradients.length; i++) {
      const gradient = gradients[i]! * clip;
      const parameter = parameters[i]!;
      const z = zs[i]!;
      const m = ms[i]!;
      const v = vs[i]!;
      const n = ns[i]!;
      const previous = first ? gradient : gs[i]!;
      const newM = beta1 * m + oneMinusBeta1 * gradient;
      const difference = gradient - previous;
      const newV = beta2 * v + oneMinusBeta2 * difference;
      const nesterov = gradient + beta2 * difference;
      const newN = beta3 * n + oneMinusBeta3 * (nesterov * nesterov);
      const direction = (scaleM * newM + scaleV * newV) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = z - stepSize * direction;
      parameters[i] = keepAverage * parameter + average * z + follow * (newZ - z);
      zs[i] = newZ;
      ms[i] = newM;
      vs[i] = newV;
      ns[i] = newN;
      gs[i] = gradient;
    }
  },
  'averaging-m-v-y': (c, state, gradients, clip, first) => {
    const {
      stepSize,
      average,
      keepAverage,
      follow,
      beta1,
      oneMinusBeta1,
      beta2,
      oneMinusBeta2,
      beta3,
      oneMinusBeta3,
      scaleM,
      scaleV,
      scaleN,
      epsilon,
      decay,
    } = c;
    const { parameter: parameters, z: zs, m: ms, v: vs, n: ns, g: gs } = state;
    for (let i = 0; i < gradients.length; i++) {
      const gradient = gradients[i]! * clip;
      const parameter = parameters[i]!;
      const z = zs[i]!;
      const m = ms[i]!;
      const v = vs[i]!;
      const n = ns[i]!;
      const previous = first ? gradient : gs[i]!;
      const newM = beta1 * m + oneMinusBeta1 * gradient;
      const difference = gradient - previous;
      const newV = beta2 * v + oneMinusBeta2 * difference;
      const nesterov = gradient + beta2 * difference;
      const newN = beta3 * n + oneMinusBeta3 * (nesterov * nesterov);
      const direction = (scaleM * newM + scaleV * newV) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = z - stepSize * (direction + decay * parameter);
      parameters[i] = keepAverage * parameter + average * z + follow * (newZ - z);
      zs[i] = newZ;
      ms[i] = newM;
      vs[i] = newV;
      ns[i] = newN;
      gs[i] = gradient;
    }
  },
  'averaging-m-v-z': (c, state, gradients, clip, first) => {
    const {
      stepSize,
      average,
      keepAverage,
      follow,
      beta1,
      oneMinusBeta1,
      beta2,
      oneMinusBeta2,
      beta3,
      oneMinusBeta3,
      scaleM,
      scaleV,
      scaleN,
      epsilon,
      decay,
    } = c;
    const { parameter: parameters, z: zs, m: ms, v: vs, n: ns, g: gs } = state;
    for (let i = 0; i < gradients.length; i++) {
      const gradient = gradients[i]! * clip;
      const parameter = parameters[i]!;
      const z = zs[i]!;
      const m = ms[i]!;
      const v = vs[i]!;
      const n = ns[i]!;
      const previous = first ? gradient : gs[i]!;
      const newM = beta1 * m + oneMinusBeta1 * gradient;
      const difference = gradient - previous;
      const newV = beta2 * v + oneMinusBeta2 * difference;
      const nesterov = gradient + beta2 * difference;
      const newN = beta3 * n + oneMinusBeta3 * (nesterov * nesterov);
      const direction = (scaleM * newM + scaleV * newV) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * z - stepSize * direction;
      parameters[i] = keepAverage * parameter + average * z + follow * (newZ - z);
      zs[i] = newZ;
      ms[i] = newM;
      vs[i] = newV;
      ns[i] = newN;
      gs[i] = gradient;
    }
  },
  'averaging-m-v-prox': (c, state, gradients, clip, first) => {
    const {
      stepSize,
      average,
      keepAverage,
      follow,
      beta1,
      oneMinusBeta1,
      beta2,
      oneMinusBeta2,
      beta3,
      oneMinusBeta3,
      scaleM,
      scaleV,
      scaleN,
      epsilon,
      decay,
    } = c;
    const { parameter: parameters, z: zs, m: ms, v: vs, n: ns, g: gs } = state;
    for (let i = 0; i < gradients.length; i++) {
      const gradient = gradients[i]! * clip;
      const parameter = parameters[i]!;
      const z = zs[i]!;
      const m = ms[i]!;
      const v = vs[i]!;
      const n = ns[i]!;
      const previous = first ? gradient : gs[i]!;
      const newM = beta1 * m + oneMinusBeta1 * gradient;
      const difference = gradient - previous;
      const newV = beta2 * v + oneMinusBeta2 * difference;
      const nesterov = gradient + beta2 * difference;
      const newN = beta3 * n + oneMinusBeta3 * (nesterov * nesterov);
      const direction = (scaleM * newM + scaleV * newV) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * (z - stepSize * direction);
      parameters[i] = keepAverage * parameter + average * z + follow * (newZ - z);
      zs[i] = newZ;
      ms[i] = newM;
      vs[i] = newV;
      ns[i] = newN;
      gs[i] = gradient;
    }
  },
  'plain-none': (c, state, gradients, clip) => {
    const { stepSize, beta3, oneMinusBeta3, scaleN, epsilon } = c;
    const { parameter: parameters, n: ns } = state;
    for (let i = 0; i < gradients.length; i++) {
      const gradient = gradients[i]! * clip;
      const parameter = parameters[i]!;
      const n = ns[i]!;
      const newN = beta3 * n + oneMinusBeta3 * (gradient * gradient);
      const direction = gradient / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = parameter - stepSize * direction;
      parameters[i] = newZ;
      ns[i] = newN;
    }
  },
  'plain-z': (c, state, gradients, clip) => {
    const { stepSize, beta3, oneMinusBeta3, scaleN, epsilon, decay } = c;
    const { parameter: parameters, n: ns } = state;
    for (let i = 0; i < gradients.length; i++) {
      const gradient = gradients[i]! * clip;
      const parameter = parameters[i]!;
      const n = ns[i]!;
      const newN = beta3 * n + oneMinusBeta3 * (gradient * gradient);
      const direction = gradient / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * parameter - stepSize * direction;
      parameters[i] = newZ;
      ns[i] = newN;
    }
  },
  'plain-prox': (c, state, gradients, clip) => {
    const { stepSize, beta3, oneMinusBeta3, scaleN, epsilon, decay } = c;
    const { parameter: parameters, n: ns } = state;
    for (let i = 0; i < gradients.length; i++) {
      const gradient = gradients[i]! * clip;
      const parameter = parameters[i]!;
      const n = ns[i]!;
      const newN = beta3 * n + oneMinusBeta3 * (gradient * gradient);
      const direction = gradient / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * (parameter - stepSize * direction);
      parameters[i] = newZ;
      ns[i] = newN;
    }
  },
  'plain-v-none': (c, state, gradients, clip, first) => {
    const { stepSize, beta2, oneMinusBeta2, beta3, oneMinusBeta3, scaleV, scaleN, epsilon } = c;
    const { parameter: parameters, v: vs, n: ns, g: gs } = state;
    for (let i = 0; i < gradients.length; i++) {
      const gradient = gradients[i]! * clip;
      const parameter = parameters[i]!;
      const v = vs[i]!;
      const n = ns[i]!;
      const previous = first ? gradient : gs[i]!;
      const difference = gradient - previous;
      const newV = beta2 * v + oneMinusBeta2 * difference;
      const nesterov = gradient + beta2 * difference;
      const newN = beta3 * n + oneMinusBeta3 * (nesterov * nesterov);
      const direction = (gradient + scaleV * newV) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = parameter - stepSize * direction;
      parameters[i] = newZ;
      vs[i] = newV;
      ns[i] = newN;
      gs[i] = gradient;
    }
  },
  'plain-v-z': (c, state, gradients, clip, first) => {
    const { stepSize, beta2, oneMinusBeta2, beta3, oneMinusBeta3, scaleV, scaleN, epsilon, decay } =
      c;
    const { parameter: parameters, v: vs, n: ns, g: gs } = state;
    for (let i = 0; i < gradients.length; i++) {
      const gradient = gradients[i]! * clip;
      const parameter = parameters[i]!;
      const v = vs[i]!;
      const n = ns[i]!;
      const previous = first ? gradient : gs[i]!;
      const difference = gradient - previous;
      const newV = beta2 * v + oneMinusBeta2 * difference;
      const nesterov = gradient + beta2 * difference;
      const newN = beta3 * n + oneMinusBeta3 * (nesterov * nesterov);
      const direction = (gradient + scaleV * newV) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * parameter - stepSize * direction;
      parameters[i] = newZ;
      vs[i] = newV;
      ns[i] = newN;
      gs[i] = gradient;
    }
  },
  'plain-v-prox': (c, state, gradients, clip, first) => {
    const { stepSize, beta2, oneMinusBeta2, beta3, oneMinusBeta3, scaleV, scaleN, epsilon, decay } =
      c;
    const { parameter: parameters, v: vs, n: ns, g: gs } = state;
    for (let i = 0; i < gradients.length; i++) {
      const gradient = gradients[i]! * clip;
      const parameter = parameters[i]!;
      const v = vs[i]!;
      const n = ns[i]!;
      const previous = first ? gradient : gs[i]!;
      const difference = gradient - previous;
      const newV = beta2 * v + oneMinusBeta2 * difference;
      const nesterov = gradient + beta2 * difference;
      const newN = beta3 * n + oneMinusBeta3 * (nesterov * nesterov);
      const direction = (gradient + scaleV * newV) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * (parameter - stepSize * direction);
      parameters[i] = newZ;
      vs[i] = newV;
      ns[i] = newN;
      gs[i] = gradient;
    }
  },
  'plain-m-none': (c, state, gradients, clip) => {
    const { stepSize, beta1, oneMinusBeta1, beta3, oneMinusBeta3, scaleM, scaleN, epsilon } = c;
    const { parameter: parameters, m: ms, n: ns } = state;
    for (let i = 0; i < gradients.length; i++) {
      const gradient = gradients[i]! * clip;
      const parameter = parameters[i]!;
      const m = ms[i]!;
      const n = ns[i]!;
      const newM = beta1 * m + oneMinusBeta1 * gradient;
      const newN = beta3 * n + oneMinusBeta3 * (gradient * gradient);
      const direction = (scaleM * newM) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = parameter - stepSize * direction;
      parameters[i] = newZ;
      ms[i] = newM;
      ns[i] = newN;
    }
  },
  'plain-m-z': (c, state, gradients, clip) => {
    const { stepSize, beta1, oneMinusBeta1, beta3, oneMinusBeta3, scaleM, scaleN, epsilon, decay } =
      c;
    const { parameter: parameters, m: ms, n: ns } = state;
    for (let i = 0; i < gradients.length; i++) {
      const gradient = gradients[i]! * clip;
      const parameter = parameters[i]!;
      const m = ms[i]!;
      const n = ns[i]!;
      const newM = beta1 * m + oneMinusBeta1 * gradient;
      const newN = beta3 * n + oneMinusBeta3 * (gradient * gradient);
      const direction = (scaleM * newM) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * parameter - stepSize * direction;
      parameters[i] = newZ;
      ms[i] = newM;
      ns[i] = newN;
    }
  },
  'plain-m-prox': (c, state, gradients, clip) => {
    const { stepSize, beta1, oneMinusBeta1, beta3, oneMinusBeta3, scaleM, scaleN, epsilon, decay } =
      c;
    const { parameter: parameters, m: ms, n: ns } = state;
    for (let i = 0; i < gradients.length; i++) {
      const gradient = gradients[i]! * clip;
      const parameter = parameters[i]!;
      const m = ms[i]!;
      const n = ns[i]!;
      const newM = beta1 * m + oneMinusBeta1 * gradient;
      const newN = beta3 * n + oneMinusBeta3 * (gradient * gradient);
      const direction = (scaleM * newM) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * (parameter - stepSize * direction);
      parameters[i] = newZ;
      ms[i] = newM;
      ns[i] = newN;
    }
  },
  'plain-m-v-none': (c, state, gradients, clip, first) => {
    const {
      stepSize,
      beta1,
      oneMinusBeta1,
      beta2,
      oneMinusBeta2,
      beta3,
      oneMinusBeta3,
      scaleM,
      scaleV,
      scaleN,
      epsilon,
    } = c;
    const { parameter: parameters, m: ms, v: vs, n: ns, g: gs } = state;
    for (let i = 0; i < gradients.length; i++) {
      const gradient = gradients[i]! * clip;
      const parameter = parameters[i]!;
      const m = ms[i]!;
      const v = vs[i]!;
      const n = ns[i]!;
      const previous = first ? gradient : gs[i]!;
      const newM = beta1 * m + oneMinusBeta1 * gradient;
      const difference = gradient - previous;
      const newV = beta2 * v + oneMinusBeta2 * difference;
      const nesterov = gradient + beta2 * difference;
      const newN = beta3 * n + oneMinusBeta3 * (nesterov * nesterov);
      const direction = (scaleM * newM + scaleV * newV) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = parameter - stepSize * direction;
      parameters[i] = newZ;
      ms[i] = newM;
      vs[i] = newV;
      ns[i] = newN;
      gs[i] = gradient;
    }
  },
  'plain-m-v-z': (c, state, gradients, clip, first) => {
    const {
      stepSize,
      beta1,
      oneMinusBeta1,
      beta2,
      oneMinusBeta2,
      beta3,
      oneMinusBeta3,
      scaleM,
      scaleV,
      scaleN,
      epsilon,
      decay,
    } = c;
    const { parameter: parameters, m: ms, v: vs, n: ns, g: gs } = state;
    for (let i = 0; i < gradients.length; i++) {
      const gradient = gradients[i]! * clip;
      const parameter = parameters[i]!;
      const m = ms[i]!;
      const v = vs[i]!;
      const n = ns[i]!;
      const previous = first ? gradient : gs[i]!;
      const newM = beta1 * m + oneMinusBeta1 * gradient;
      const difference = gradient - previous;
      const newV = beta2 * v + oneMinusBeta2 * difference;
      const nesterov = gradient + beta2 * difference;
      const newN = beta3 * n + oneMinusBeta3 * (nesterov * nesterov);
      const direction = (scaleM * newM + scaleV * newV) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * parameter - stepSize * direction;
      parameters[i] = newZ;
      ms[i] = newM;
      vs[i] = newV;
      ns[i] = newN;
      gs[i] = gradient;
    }
  },
  'plain-m-v-prox': (c, state, gradients, clip, first) => {
    const {
      stepSize,
      beta1,
      oneMinusBeta1,
      beta2,
      oneMinusBeta2,
      beta3,
      oneMinusBeta3,
      scaleM,
      scaleV,
      scaleN,
      epsilon,
      decay,
    } = c;
    const { parameter: parameters, m: ms, v: vs, n: ns, g: gs } = state;
    for (let i = 0; i < gradients.length; i++) {
      const gradient = gradients[i]! * clip;
      const parameter = parameters[i]!;
      const m = ms[i]!;
      const v = vs[i]!;
      const n = ns[i]!;
      const previous = first ? gradient : gs[i]!;
      const newM = beta1 * m + oneMinusBeta1 * gradient;
      const difference = gradient - previous;
      const newV = beta2 * v + oneMinusBeta2 * difference;
      const nesterov = gradient + beta2 * difference;
      const newN = beta3 * n + oneMinusBeta3 * (nesterov * nesterov);
      const direction = (scaleM * newM + scaleV * newV) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * (parameter - stepSize * direction);
      parameters[i] = newZ;
      ms[i] = newM;
      vs[i] = newV;
      ns[i] = newN;
      gs[i] = gradient;
    }
  },
};
