export { numbers } from './numbers.js';
export { atom, type Dialect, type Expression, printer, wgsl } from './printer.js';
