// Printed by scripts/print-loops.mjs from the rule in the core. Do not edit.
import type { Coefficients } from '@schedule-free-adan/core/rule';

export type LoopNumbers = Coefficients & { readonly clip: number; readonly clipPrevious: number };
type Loop = (from: readonly Float32Array[], to: readonly Float32Array[], c: LoopNumbers) => void;

/** By form, as form-key.ts names it. Without decay it is the loop of decay at z, whose factor is 1 then. */
export const loops: Readonly<Record<string, Loop>> = {
  fy([gradient, parameter, z, n], [parameterNext, zNext, nNext], { clip, beta3, oneMinusBeta3, scaleN, epsilon, momentum, oneMinusMomentum, decay, stepSize, keepAverage, average }) {
    for (let i = 0; i < gradient!.length; i++) {
      const gradient_ = gradient![i]!;
      const parameter_ = parameter![i]!;
      const z_ = z![i]!;
      const n_ = n![i]!;
      const clipped = clip * gradient_;
      const newN = beta3 * n_ + oneMinusBeta3 * (clipped * clipped);
      const direction = clipped / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = z_ - stepSize * (direction + decay * (momentum * parameter_ + oneMinusMomentum * z_));
      parameterNext![i] = keepAverage * parameter_ + average * newZ;
      zNext![i] = newZ;
      nNext![i] = newN;
    }
  },
  fz([gradient, parameter, z, n], [parameterNext, zNext, nNext], { clip, beta3, oneMinusBeta3, scaleN, epsilon, stepSize, decay, keepAverage, average }) {
    for (let i = 0; i < gradient!.length; i++) {
      const gradient_ = gradient![i]!;
      const parameter_ = parameter![i]!;
      const z_ = z![i]!;
      const n_ = n![i]!;
      const clipped = clip * gradient_;
      const newN = beta3 * n_ + oneMinusBeta3 * (clipped * clipped);
      const direction = clipped / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * z_ - stepSize * direction;
      parameterNext![i] = keepAverage * parameter_ + average * newZ;
      zNext![i] = newZ;
      nNext![i] = newN;
    }
  },
  fprox([gradient, parameter, z, n], [parameterNext, zNext, nNext], { clip, beta3, oneMinusBeta3, scaleN, epsilon, stepSize, decay, keepAverage, average }) {
    for (let i = 0; i < gradient!.length; i++) {
      const gradient_ = gradient![i]!;
      const parameter_ = parameter![i]!;
      const z_ = z![i]!;
      const n_ = n![i]!;
      const clipped = clip * gradient_;
      const newN = beta3 * n_ + oneMinusBeta3 * (clipped * clipped);
      const direction = clipped / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * (z_ - stepSize * direction);
      parameterNext![i] = keepAverage * parameter_ + average * newZ;
      zNext![i] = newZ;
      nNext![i] = newN;
    }
  },
  fvy([gradient, parameter, z, v, n, g], [parameterNext, zNext, vNext, nNext, gNext], { clip, clipPrevious, beta2, oneMinusBeta2, scaleV, beta3, oneMinusBeta3, scaleN, epsilon, momentum, oneMinusMomentum, decay, stepSize, keepAverage, average }) {
    for (let i = 0; i < gradient!.length; i++) {
      const gradient_ = gradient![i]!;
      const parameter_ = parameter![i]!;
      const z_ = z![i]!;
      const v_ = v![i]!;
      const n_ = n![i]!;
      const g_ = g![i]!;
      const clipped = clip * gradient_;
      const previous = clipPrevious * g_;
      const difference = clipped - previous;
      const newV = beta2 * v_ + oneMinusBeta2 * difference;
      const nesterov = clipped + beta2 * difference;
      const newN = beta3 * n_ + oneMinusBeta3 * (nesterov * nesterov);
      const direction = (clipped + scaleV * newV) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = z_ - stepSize * (direction + decay * (momentum * parameter_ + oneMinusMomentum * z_));
      parameterNext![i] = keepAverage * parameter_ + average * newZ;
      zNext![i] = newZ;
      vNext![i] = newV;
      nNext![i] = newN;
      gNext![i] = clipped;
    }
  },
  fvz([gradient, parameter, z, v, n, g], [parameterNext, zNext, vNext, nNext, gNext], { clip, clipPrevious, beta2, oneMinusBeta2, scaleV, beta3, oneMinusBeta3, scaleN, epsilon, stepSize, decay, keepAverage, average }) {
    for (let i = 0; i < gradient!.length; i++) {
      const gradient_ = gradient![i]!;
      const parameter_ = parameter![i]!;
      const z_ = z![i]!;
      const v_ = v![i]!;
      const n_ = n![i]!;
      const g_ = g![i]!;
      const clipped = clip * gradient_;
      const previous = clipPrevious * g_;
      const difference = clipped - previous;
      const newV = beta2 * v_ + oneMinusBeta2 * difference;
      const nesterov = clipped + beta2 * difference;
      const newN = beta3 * n_ + oneMinusBeta3 * (nesterov * nesterov);
      const direction = (clipped + scaleV * newV) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * z_ - stepSize * direction;
      parameterNext![i] = keepAverage * parameter_ + average * newZ;
      zNext![i] = newZ;
      vNext![i] = newV;
      nNext![i] = newN;
      gNext![i] = clipped;
    }
  },
  fvprox([gradient, parameter, z, v, n, g], [parameterNext, zNext, vNext, nNext, gNext], { clip, clipPrevious, beta2, oneMinusBeta2, scaleV, beta3, oneMinusBeta3, scaleN, epsilon, stepSize, decay, keepAverage, average }) {
    for (let i = 0; i < gradient!.length; i++) {
      const gradient_ = gradient![i]!;
      const parameter_ = parameter![i]!;
      const z_ = z![i]!;
      const v_ = v![i]!;
      const n_ = n![i]!;
      const g_ = g![i]!;
      const clipped = clip * gradient_;
      const previous = clipPrevious * g_;
      const difference = clipped - previous;
      const newV = beta2 * v_ + oneMinusBeta2 * difference;
      const nesterov = clipped + beta2 * difference;
      const newN = beta3 * n_ + oneMinusBeta3 * (nesterov * nesterov);
      const direction = (clipped + scaleV * newV) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * (z_ - stepSize * direction);
      parameterNext![i] = keepAverage * parameter_ + average * newZ;
      zNext![i] = newZ;
      vNext![i] = newV;
      nNext![i] = newN;
      gNext![i] = clipped;
    }
  },
  fmy([gradient, parameter, z, m, n], [parameterNext, zNext, mNext, nNext], { clip, beta1, oneMinusBeta1, scaleM, beta3, oneMinusBeta3, scaleN, epsilon, momentum, oneMinusMomentum, decay, stepSize, keepAverage, average }) {
    for (let i = 0; i < gradient!.length; i++) {
      const gradient_ = gradient![i]!;
      const parameter_ = parameter![i]!;
      const z_ = z![i]!;
      const m_ = m![i]!;
      const n_ = n![i]!;
      const clipped = clip * gradient_;
      const newM = beta1 * m_ + oneMinusBeta1 * clipped;
      const newN = beta3 * n_ + oneMinusBeta3 * (clipped * clipped);
      const direction = scaleM * newM / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = z_ - stepSize * (direction + decay * (momentum * parameter_ + oneMinusMomentum * z_));
      parameterNext![i] = keepAverage * parameter_ + average * newZ;
      zNext![i] = newZ;
      mNext![i] = newM;
      nNext![i] = newN;
    }
  },
  fmz([gradient, parameter, z, m, n], [parameterNext, zNext, mNext, nNext], { clip, beta1, oneMinusBeta1, scaleM, beta3, oneMinusBeta3, scaleN, epsilon, stepSize, decay, keepAverage, average }) {
    for (let i = 0; i < gradient!.length; i++) {
      const gradient_ = gradient![i]!;
      const parameter_ = parameter![i]!;
      const z_ = z![i]!;
      const m_ = m![i]!;
      const n_ = n![i]!;
      const clipped = clip * gradient_;
      const newM = beta1 * m_ + oneMinusBeta1 * clipped;
      const newN = beta3 * n_ + oneMinusBeta3 * (clipped * clipped);
      const direction = scaleM * newM / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * z_ - stepSize * direction;
      parameterNext![i] = keepAverage * parameter_ + average * newZ;
      zNext![i] = newZ;
      mNext![i] = newM;
      nNext![i] = newN;
    }
  },
  fmprox([gradient, parameter, z, m, n], [parameterNext, zNext, mNext, nNext], { clip, beta1, oneMinusBeta1, scaleM, beta3, oneMinusBeta3, scaleN, epsilon, stepSize, decay, keepAverage, average }) {
    for (let i = 0; i < gradient!.length; i++) {
      const gradient_ = gradient![i]!;
      const parameter_ = parameter![i]!;
      const z_ = z![i]!;
      const m_ = m![i]!;
      const n_ = n![i]!;
      const clipped = clip * gradient_;
      const newM = beta1 * m_ + oneMinusBeta1 * clipped;
      const newN = beta3 * n_ + oneMinusBeta3 * (clipped * clipped);
      const direction = scaleM * newM / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * (z_ - stepSize * direction);
      parameterNext![i] = keepAverage * parameter_ + average * newZ;
      zNext![i] = newZ;
      mNext![i] = newM;
      nNext![i] = newN;
    }
  },
  fmvy([gradient, parameter, z, m, v, n, g], [parameterNext, zNext, mNext, vNext, nNext, gNext], { clip, clipPrevious, beta1, oneMinusBeta1, scaleM, beta2, oneMinusBeta2, scaleV, beta3, oneMinusBeta3, scaleN, epsilon, momentum, oneMinusMomentum, decay, stepSize, keepAverage, average }) {
    for (let i = 0; i < gradient!.length; i++) {
      const gradient_ = gradient![i]!;
      const parameter_ = parameter![i]!;
      const z_ = z![i]!;
      const m_ = m![i]!;
      const v_ = v![i]!;
      const n_ = n![i]!;
      const g_ = g![i]!;
      const clipped = clip * gradient_;
      const previous = clipPrevious * g_;
      const newM = beta1 * m_ + oneMinusBeta1 * clipped;
      const difference = clipped - previous;
      const newV = beta2 * v_ + oneMinusBeta2 * difference;
      const nesterov = clipped + beta2 * difference;
      const newN = beta3 * n_ + oneMinusBeta3 * (nesterov * nesterov);
      const direction = (scaleM * newM + scaleV * newV) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = z_ - stepSize * (direction + decay * (momentum * parameter_ + oneMinusMomentum * z_));
      parameterNext![i] = keepAverage * parameter_ + average * newZ;
      zNext![i] = newZ;
      mNext![i] = newM;
      vNext![i] = newV;
      nNext![i] = newN;
      gNext![i] = clipped;
    }
  },
  fmvz([gradient, parameter, z, m, v, n, g], [parameterNext, zNext, mNext, vNext, nNext, gNext], { clip, clipPrevious, beta1, oneMinusBeta1, scaleM, beta2, oneMinusBeta2, scaleV, beta3, oneMinusBeta3, scaleN, epsilon, stepSize, decay, keepAverage, average }) {
    for (let i = 0; i < gradient!.length; i++) {
      const gradient_ = gradient![i]!;
      const parameter_ = parameter![i]!;
      const z_ = z![i]!;
      const m_ = m![i]!;
      const v_ = v![i]!;
      const n_ = n![i]!;
      const g_ = g![i]!;
      const clipped = clip * gradient_;
      const previous = clipPrevious * g_;
      const newM = beta1 * m_ + oneMinusBeta1 * clipped;
      const difference = clipped - previous;
      const newV = beta2 * v_ + oneMinusBeta2 * difference;
      const nesterov = clipped + beta2 * difference;
      const newN = beta3 * n_ + oneMinusBeta3 * (nesterov * nesterov);
      const direction = (scaleM * newM + scaleV * newV) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * z_ - stepSize * direction;
      parameterNext![i] = keepAverage * parameter_ + average * newZ;
      zNext![i] = newZ;
      mNext![i] = newM;
      vNext![i] = newV;
      nNext![i] = newN;
      gNext![i] = clipped;
    }
  },
  fmvprox([gradient, parameter, z, m, v, n, g], [parameterNext, zNext, mNext, vNext, nNext, gNext], { clip, clipPrevious, beta1, oneMinusBeta1, scaleM, beta2, oneMinusBeta2, scaleV, beta3, oneMinusBeta3, scaleN, epsilon, stepSize, decay, keepAverage, average }) {
    for (let i = 0; i < gradient!.length; i++) {
      const gradient_ = gradient![i]!;
      const parameter_ = parameter![i]!;
      const z_ = z![i]!;
      const m_ = m![i]!;
      const v_ = v![i]!;
      const n_ = n![i]!;
      const g_ = g![i]!;
      const clipped = clip * gradient_;
      const previous = clipPrevious * g_;
      const newM = beta1 * m_ + oneMinusBeta1 * clipped;
      const difference = clipped - previous;
      const newV = beta2 * v_ + oneMinusBeta2 * difference;
      const nesterov = clipped + beta2 * difference;
      const newN = beta3 * n_ + oneMinusBeta3 * (nesterov * nesterov);
      const direction = (scaleM * newM + scaleV * newV) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * (z_ - stepSize * direction);
      parameterNext![i] = keepAverage * parameter_ + average * newZ;
      zNext![i] = newZ;
      mNext![i] = newM;
      vNext![i] = newV;
      nNext![i] = newN;
      gNext![i] = clipped;
    }
  },
  z([gradient, parameter, n], [parameterNext, nNext], { clip, beta3, oneMinusBeta3, scaleN, epsilon, stepSize, decay }) {
    for (let i = 0; i < gradient!.length; i++) {
      const gradient_ = gradient![i]!;
      const parameter_ = parameter![i]!;
      const n_ = n![i]!;
      const clipped = clip * gradient_;
      const newN = beta3 * n_ + oneMinusBeta3 * (clipped * clipped);
      const direction = clipped / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * parameter_ - stepSize * direction;
      parameterNext![i] = newZ;
      nNext![i] = newN;
    }
  },
  prox([gradient, parameter, n], [parameterNext, nNext], { clip, beta3, oneMinusBeta3, scaleN, epsilon, stepSize, decay }) {
    for (let i = 0; i < gradient!.length; i++) {
      const gradient_ = gradient![i]!;
      const parameter_ = parameter![i]!;
      const n_ = n![i]!;
      const clipped = clip * gradient_;
      const newN = beta3 * n_ + oneMinusBeta3 * (clipped * clipped);
      const direction = clipped / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * (parameter_ - stepSize * direction);
      parameterNext![i] = newZ;
      nNext![i] = newN;
    }
  },
  vz([gradient, parameter, v, n, g], [parameterNext, vNext, nNext, gNext], { clip, clipPrevious, beta2, oneMinusBeta2, scaleV, beta3, oneMinusBeta3, scaleN, epsilon, stepSize, decay }) {
    for (let i = 0; i < gradient!.length; i++) {
      const gradient_ = gradient![i]!;
      const parameter_ = parameter![i]!;
      const v_ = v![i]!;
      const n_ = n![i]!;
      const g_ = g![i]!;
      const clipped = clip * gradient_;
      const previous = clipPrevious * g_;
      const difference = clipped - previous;
      const newV = beta2 * v_ + oneMinusBeta2 * difference;
      const nesterov = clipped + beta2 * difference;
      const newN = beta3 * n_ + oneMinusBeta3 * (nesterov * nesterov);
      const direction = (clipped + scaleV * newV) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * parameter_ - stepSize * direction;
      parameterNext![i] = newZ;
      vNext![i] = newV;
      nNext![i] = newN;
      gNext![i] = clipped;
    }
  },
  vprox([gradient, parameter, v, n, g], [parameterNext, vNext, nNext, gNext], { clip, clipPrevious, beta2, oneMinusBeta2, scaleV, beta3, oneMinusBeta3, scaleN, epsilon, stepSize, decay }) {
    for (let i = 0; i < gradient!.length; i++) {
      const gradient_ = gradient![i]!;
      const parameter_ = parameter![i]!;
      const v_ = v![i]!;
      const n_ = n![i]!;
      const g_ = g![i]!;
      const clipped = clip * gradient_;
      const previous = clipPrevious * g_;
      const difference = clipped - previous;
      const newV = beta2 * v_ + oneMinusBeta2 * difference;
      const nesterov = clipped + beta2 * difference;
      const newN = beta3 * n_ + oneMinusBeta3 * (nesterov * nesterov);
      const direction = (clipped + scaleV * newV) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * (parameter_ - stepSize * direction);
      parameterNext![i] = newZ;
      vNext![i] = newV;
      nNext![i] = newN;
      gNext![i] = clipped;
    }
  },
  mz([gradient, parameter, m, n], [parameterNext, mNext, nNext], { clip, beta1, oneMinusBeta1, scaleM, beta3, oneMinusBeta3, scaleN, epsilon, stepSize, decay }) {
    for (let i = 0; i < gradient!.length; i++) {
      const gradient_ = gradient![i]!;
      const parameter_ = parameter![i]!;
      const m_ = m![i]!;
      const n_ = n![i]!;
      const clipped = clip * gradient_;
      const newM = beta1 * m_ + oneMinusBeta1 * clipped;
      const newN = beta3 * n_ + oneMinusBeta3 * (clipped * clipped);
      const direction = scaleM * newM / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * parameter_ - stepSize * direction;
      parameterNext![i] = newZ;
      mNext![i] = newM;
      nNext![i] = newN;
    }
  },
  mprox([gradient, parameter, m, n], [parameterNext, mNext, nNext], { clip, beta1, oneMinusBeta1, scaleM, beta3, oneMinusBeta3, scaleN, epsilon, stepSize, decay }) {
    for (let i = 0; i < gradient!.length; i++) {
      const gradient_ = gradient![i]!;
      const parameter_ = parameter![i]!;
      const m_ = m![i]!;
      const n_ = n![i]!;
      const clipped = clip * gradient_;
      const newM = beta1 * m_ + oneMinusBeta1 * clipped;
      const newN = beta3 * n_ + oneMinusBeta3 * (clipped * clipped);
      const direction = scaleM * newM / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * (parameter_ - stepSize * direction);
      parameterNext![i] = newZ;
      mNext![i] = newM;
      nNext![i] = newN;
    }
  },
  mvz([gradient, parameter, m, v, n, g], [parameterNext, mNext, vNext, nNext, gNext], { clip, clipPrevious, beta1, oneMinusBeta1, scaleM, beta2, oneMinusBeta2, scaleV, beta3, oneMinusBeta3, scaleN, epsilon, stepSize, decay }) {
    for (let i = 0; i < gradient!.length; i++) {
      const gradient_ = gradient![i]!;
      const parameter_ = parameter![i]!;
      const m_ = m![i]!;
      const v_ = v![i]!;
      const n_ = n![i]!;
      const g_ = g![i]!;
      const clipped = clip * gradient_;
      const previous = clipPrevious * g_;
      const newM = beta1 * m_ + oneMinusBeta1 * clipped;
      const difference = clipped - previous;
      const newV = beta2 * v_ + oneMinusBeta2 * difference;
      const nesterov = clipped + beta2 * difference;
      const newN = beta3 * n_ + oneMinusBeta3 * (nesterov * nesterov);
      const direction = (scaleM * newM + scaleV * newV) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * parameter_ - stepSize * direction;
      parameterNext![i] = newZ;
      mNext![i] = newM;
      vNext![i] = newV;
      nNext![i] = newN;
      gNext![i] = clipped;
    }
  },
  mvprox([gradient, parameter, m, v, n, g], [parameterNext, mNext, vNext, nNext, gNext], { clip, clipPrevious, beta1, oneMinusBeta1, scaleM, beta2, oneMinusBeta2, scaleV, beta3, oneMinusBeta3, scaleN, epsilon, stepSize, decay }) {
    for (let i = 0; i < gradient!.length; i++) {
      const gradient_ = gradient![i]!;
      const parameter_ = parameter![i]!;
      const m_ = m![i]!;
      const v_ = v![i]!;
      const n_ = n![i]!;
      const g_ = g![i]!;
      const clipped = clip * gradient_;
      const previous = clipPrevious * g_;
      const newM = beta1 * m_ + oneMinusBeta1 * clipped;
      const difference = clipped - previous;
      const newV = beta2 * v_ + oneMinusBeta2 * difference;
      const nesterov = clipped + beta2 * difference;
      const newN = beta3 * n_ + oneMinusBeta3 * (nesterov * nesterov);
      const direction = (scaleM * newM + scaleV * newV) / (Math.sqrt(scaleN * newN) + epsilon);
      const newZ = decay * (parameter_ - stepSize * direction);
      parameterNext![i] = newZ;
      mNext![i] = newM;
      vNext![i] = newV;
      nNext![i] = newN;
      gNext![i] = clipped;
    }
  },
  toX([from, z], [toNext], { oneMinusMomentum, momentum }) {
    for (let i = 0; i < from!.length; i++) {
      const from_ = from![i]!;
      const z_ = z![i]!;
      toNext![i] = (from_ - oneMinusMomentum * z_) / momentum;
    }
  },
  toY([from, z], [toNext], { momentum, oneMinusMomentum }) {
    for (let i = 0; i < from!.length; i++) {
      const from_ = from![i]!;
      const z_ = z![i]!;
      toNext![i] = momentum * from_ + oneMinusMomentum * z_;
    }
  },
};
