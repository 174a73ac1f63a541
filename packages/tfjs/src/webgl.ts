/** Importing this gives the optimizer its fused step on tfjs' webgl backend. */
import { register } from './fused/index.js';
import { webgl } from './fused/webgl.js';

register('webgl', webgl);
