import { join } from 'node:path';
import { svgFile } from 'example-digits/charts';
import { writeAtomically } from 'example-digits/files';
import { drawChart } from 'example-digits/plots';
import { duration } from 'example-digits/progress';
import { columnStyle } from 'example-digits/theme';
import type { OnnxSettings } from '../checkpoint.js';
import { batchSize, percent, type Result } from '../settings.js';
import { accuracyChart } from './chart.js';
import { stages } from './reader.js';

/** Writes `report.html` and its plot, `accuracy.svg`. */
export function writeReport(
  folder: string,
  { backend, digits, test, epochs }: OnnxSettings,
  accuracies: readonly (readonly number[])[],
  { before, head, unfrozen, seconds }: Result,
): void {
  const chart = accuracyChart(accuracies, { width: 720, height: 380, labelWidth: 130 });
  const runtime = backend === 'onnx' ? 'onnxruntime-node' : 'onnxruntime-web on wasm';
  const facts = [
    ['with the new head, before training', percent(before)],
    ['head trained', percent(head)],
    ['whole network trained', percent(unfrozen)],
    ['training digits', digits.toLocaleString('en-US')],
    ['test digits', test.toLocaleString('en-US')],
    ['batch', batchSize],
    ...stages(epochs).map((stage) => [
      stage.title,
      `${stage.epochs} ${stage.epochs === 1 ? 'epoch' : 'epochs'} at learning rate ${stage.learningRate}`,
    ]),
  ];
  writeAtomically(join(folder, 'accuracy.svg'), svgFile([chart]));
  writeAtomically(
    join(folder, 'report.html'),
    `<!doctype html><html lang="en"><meta charset="utf-8"><title>Fine-tuning</title>
<style>${columnStyle}</style>
<main><h1>A network for printed text learns handwritten digits</h1>
<p class="muted">PaddleOCR's classifier of text lines with a new head, trained with Schedule-Free Adan from a forward ONNX model, with ${runtime}, in ${duration(seconds)}.</p>
<div class="card">${drawChart(chart)}</div>
<dl>${facts.map(([name, value]) => `<dt>${name}</dt><dd>${value}</dd>`).join('')}</dl></main></html>
`,
  );
}
