import { join } from 'node:path';
import { svgFile } from 'example-digits/charts';
import { writeAtomically } from 'example-digits/files';
import { drawChart } from 'example-digits/plots';
import { lossChart } from './charts.js';
import { pageStyle, samplesHtml } from './page-parts.js';
import { hyperparameters, type Settings } from './settings.js';
import type { RunState } from './train.js';

/** Writes the report and its plot, and returns their paths. */
export function writeReport(folder: string, settings: Settings, state: RunState) {
  const plot = join(folder, 'loss.svg');
  const report = join(folder, 'report.html');
  const chart = lossChart(state, { width: 720, height: 400, labelWidth: 150 });
  writeAtomically(plot, svgFile([chart]));
  const rate = Math.round(
    (state.losses.length * settings.batch * settings.context) / state.seconds,
  ).toLocaleString('en-US');
  const listed = Object.entries({ ...settings, ...hyperparameters })
    .map(([name, value]) => `<dt>${name}</dt><dd>${value}</dd>`)
    .join('');
  writeAtomically(
    report,
    `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Language model</title>
<style>${pageStyle}</style>
<main><h1>A transformer learns the sonnets</h1>
<p class="muted">Trained with Schedule-Free Adan from a forward ONNX model, on ${settings.backend}; ${rate} characters per second.</p>
<div class="card">${drawChart(chart)}</div>
<h2>What it writes</h2>
${samplesHtml(state.looks)}
<h2>Settings</h2><dl>${listed}</dl></main></html>
`,
  );
  return { report, plot };
}
