// The subjects of `npm run conformance`: every adapter's own targets.
export {
  tfjsCpu as 'tfjs-cpu',
  tfjsWasm as 'tfjs-wasm',
} from '../packages/tfjs/conformance/targets.mjs';
