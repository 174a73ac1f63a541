/** Importing this gives the optimizer its fused step on tfjs' webgpu backend. */
import { register } from './fused/index.js';
import { webgpu } from './fused/webgpu.js';

register('webgpu', webgpu);
