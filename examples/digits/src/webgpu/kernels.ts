/**
 * A 784-128-10 network with a ReLU between, forward and backward, for batches of digits that lie on the
 * device as bytes. Every invocation makes four neighbouring numbers, since weights are read as vec4f.
 */

const shared = `struct Batch { start: u32, size: u32, step: u32, inverse: f32 }
@group(0) @binding(0) var<uniform> batch: Batch;
`;

const storage = (binding: number, name: string, type: string, access = 'read') =>
  `@group(0) @binding(${binding}) var<storage, ${access}> ${name}: array<${type}>;\n`;
const each = (line: (i: number) => string, count = 4) =>
  Array.from({ length: count }, (_, i) => line(i)).join('\n  ');
/** Rows that an invocation of the hidden layer makes: a weight is read once for all of them. */
export const ROWS = 8;
/** Groups of four pixels whose weights' gradients an invocation makes. */
const GROUPS = 4;

/** A batch's digits and labels, gathered in the epoch's order; pixels from 0 to 1. */
export const gatherKernel = `${shared}${storage(1, 'order', 'u32')}${storage(2, 'images', 'u32')}${storage(3, 'labels', 'u32')}${storage(4, 'pixels', 'vec4f', 'read_write')}${storage(5, 'right', 'u32', 'read_write')}
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
  let row = id.x / 196;
  if (row >= batch.size) { return; }
  let digit = order[batch.start + row];
  pixels[id.x] = unpack4x8unorm(images[digit * 196 + id.x % 196]);
  if (id.x % 196 == 0) { right[row] = (labels[digit / 4] >> (8 * (digit % 4))) & 0xff; }
}
`;

/** hidden = ReLU(pixels · w1 + b1), some rows and four columns at a time. */
export const hiddenKernel = `${shared}${storage(1, 'pixels', 'vec4f')}${storage(2, 'w1', 'vec4f')}${storage(3, 'b1', 'vec4f')}${storage(4, 'hidden', 'vec4f', 'read_write')}
@compute @workgroup_size(32) fn main(@builtin(global_invocation_id) id: vec3u) {
  let column = id.x;
  let row = ${ROWS} * id.y;
  ${each((r) => `var sum${r} = b1[column];`, ROWS)}
  ${each((r) => `let at${r} = 196 * min(row + ${r}, batch.size - 1);`, ROWS)}
  for (var k = 0u; k < 196; k++) {
    ${each((i) => `let weight${i} = w1[128 * k + ${32 * i} + column];`)}
    ${each((r) => `let p${r} = pixels[at${r} + k];`, ROWS)}
    ${each((r) => `sum${r} += p${r}.x * weight0 + p${r}.y * weight1 + p${r}.z * weight2 + p${r}.w * weight3;`, ROWS)}
  }
  ${each((r) => `if (row + ${r} < batch.size) { hidden[32 * (row + ${r}) + column] = max(sum${r}, vec4f()); }`, ROWS)}
}
`;

const logits = `
fn logits(row: u32) -> array<f32, 10> {
  var z: array<f32, 10>;
  for (var c = 0u; c < 10; c++) { z[c] = b2[c]; }
  for (var j = 0u; j < 128; j++) {
    let h = hidden[128 * row + j];
    for (var c = 0u; c < 10; c++) { z[c] += h * w2[10 * j + c]; }
  }
  return z;
}
`;

/** The gradient of the mean cross-entropy by the logits, and the loss of every digit. */
export const lossKernel = `${shared}${storage(1, 'right', 'u32')}${storage(2, 'w2', 'f32')}${storage(3, 'b2', 'f32')}${storage(4, 'hidden', 'f32')}${storage(5, 'slopes', 'f32', 'read_write')}${storage(6, 'loss', 'f32', 'read_write')}${logits}
@compute @workgroup_size(32) fn main(@builtin(global_invocation_id) id: vec3u) {
  let row = id.x;
  if (row >= batch.size) { return; }
  let z = logits(row);
  var top = z[0];
  for (var c = 1u; c < 10; c++) { top = max(top, z[c]); }
  var sum = 0.0;
  for (var c = 0u; c < 10; c++) { sum += exp(z[c] - top); }
  for (var c = 0u; c < 10; c++) {
    slopes[10 * row + c] = (exp(z[c] - top) / sum - select(0.0, 1.0, c == right[row])) * batch.inverse;
  }
  loss[row] = log(sum) + top - z[right[row]];
}
`;

/** Gradients by w2 and b2, the slopes of the hidden units, and the mean loss in its step's place. */
export const outputGradientKernel = `${shared}${storage(1, 'hidden', 'f32')}${storage(2, 'slopes', 'f32')}${storage(3, 'loss', 'f32')}${storage(4, 'gradient_w2', 'f32', 'read_write')}${storage(5, 'gradient_b2', 'f32', 'read_write')}${storage(6, 'losses', 'f32', 'read_write')}
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  if (i < 1280) {
    var sum = 0.0;
    for (var row = 0u; row < batch.size; row++) { sum += hidden[128 * row + i / 10] * slopes[10 * row + i % 10]; }
    gradient_w2[i] = sum;
  } else if (i < 1290) {
    var sum = 0.0;
    for (var row = 0u; row < batch.size; row++) { sum += slopes[10 * row + i - 1280]; }
    gradient_b2[i - 1280] = sum;
  } else if (i == 1290) {
    var sum = 0.0;
    for (var row = 0u; row < batch.size; row++) { sum += loss[row]; }
    losses[batch.step] = sum * batch.inverse;
  }
}
`;

/** Slopes of the hidden units, in place of the hidden units themselves. */
export const hiddenSlopeKernel = `${shared}${storage(1, 'w2', 'f32')}${storage(2, 'slopes', 'f32')}${storage(3, 'hidden', 'f32', 'read_write')}
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  if (i >= 128 * batch.size) { return; }
  var sum = 0.0;
  for (var c = 0u; c < 10; c++) { sum += slopes[10 * (i / 128) + c] * w2[10 * (i % 128) + c]; }
  hidden[i] = select(0.0, sum, hidden[i] > 0);
}
`;

/** Gradients by w1, four rows and four columns at a time, and by b1. */
export const inputGradientKernel = `${shared}${storage(1, 'pixels', 'vec4f')}${storage(2, 'slopes', 'vec4f')}${storage(3, 'gradient_w1', 'vec4f', 'read_write')}${storage(4, 'gradient_b1', 'vec4f', 'read_write')}
@compute @workgroup_size(32) fn main(@builtin(global_invocation_id) id: vec3u) {
  let column = id.x;
  let k = ${GROUPS} * id.y;
  if (k >= 196) {
    var sum = vec4f();
    for (var row = 0u; row < batch.size; row++) { sum += slopes[32 * row + column]; }
    gradient_b1[column] = sum;
    return;
  }
  ${each((i) => `var sum${i} = vec4f();`, 4 * GROUPS)}
  for (var row = 0u; row < batch.size; row++) {
    let slope = slopes[32 * row + column];
    ${each((g) => `let p${g} = pixels[196 * row + k + ${g}];`, GROUPS)}
    ${each((i) => `sum${i} += p${i >> 2}.${'xyzw'[i % 4]} * slope;`, 4 * GROUPS)}
  }
  ${each((i) => `gradient_w1[128 * k + ${32 * i} + column] = sum${i};`, 4 * GROUPS)}
}
`;

/** Counts the digits that the network names correctly. */
export const countKernel = `${shared}${storage(1, 'right', 'u32')}${storage(2, 'w2', 'f32')}${storage(3, 'b2', 'f32')}${storage(4, 'hidden', 'f32')}
@group(0) @binding(5) var<storage, read_write> correct: atomic<u32>;
${logits}
@compute @workgroup_size(32) fn main(@builtin(global_invocation_id) id: vec3u) {
  let row = id.x;
  if (row >= batch.size) { return; }
  let z = logits(row);
  var best = 0u;
  for (var c = 1u; c < 10; c++) { if (z[c] > z[best]) { best = c; } }
  if (best == right[row]) { atomicAdd(&correct, 1); }
}
`;
