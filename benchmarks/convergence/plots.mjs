// The document of `summary.mjs` as pictures.
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import { drawChart } from '../../examples/digits/dist/plots.js';
import { colour, plotStyle, themeStyle } from '../../examples/digits/dist/theme.js';
import { bestCosine, cellOf } from './tables.mjs';

const { document: page } = parseHTML('<!doctype html><html><body></body></html>');
const pad = 20;

/** Pictures of one size in rows, in a file that stands alone. */
function sheet(pictures, { columns, width, height, head = '' }) {
  const rows = Math.ceil(pictures.length / columns);
  const top = head ? 34 : 0;
  const [full, tall] = [columns * (width + pad) + pad, rows * (height + pad) + pad + top];
  const placed = pictures.map((svg, i) => {
    const x = pad + (i % columns) * (width + pad);
    const y = pad + top + Math.floor(i / columns) * (height + pad);
    return svg.replace('<svg', `<svg x="${x}" y="${y}"`);
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${full}" height="${tall}" viewBox="0 0 ${full} ${tall}">
<style>${themeStyle}
${plotStyle}</style>
<rect width="${full}" height="${tall}" rx="8" fill="${colour('surface')}"/>
${head}
${placed.join('\n')}
</svg>
`;
}

const finite = (points) => points.filter(({ y }) => Number.isFinite(y));

/** One picture for a task: the anytime runs as lines, each cosine run that was tuned for a horizon as a dot. */
function anytimeChart(document, task, size) {
  const { title, steps } = document.tasks[task];
  const line = (optimizer, label, name) => ({
    label,
    colour: name,
    points: finite(
      (cellOf(document, task, optimizer)?.curve ?? []).map(([x, y]) => ({ x, y: y ?? Infinity })),
    ),
  });
  const cosines = document.horizons.flatMap((horizon) => {
    const cosine = bestCosine(document, task, horizon)?.horizons[0];
    if (!cosine || cosine.loss === null) return [];
    return [{ x: horizon * steps, y: cosine.loss, error: cosine.lossError }];
  });
  return {
    title,
    series: [
      { ...line('schedule-free-adan', 'Schedule-Free Adan', 'ours') },
      { label: 'cosine, ending there', colour: 'adam', points: cosines, dashed: true },
      line('schedule-free-adamw', 'Schedule-Free AdamW', 'ours-y'),
      line('adam-constant', 'Adam, constant', 'adam-2'),
    ].filter(({ points }) => points.length > 0),
    x: { label: 'step' },
    y: { label: 'test loss, log scale; mean of the seeds', log: true },
    dots: false,
    ...size,
  };
}

export function anytimePicture(document) {
  const size = { width: 560, height: 300, labelWidth: 180 };
  const charts = Object.keys(document.tasks)
    .filter((task) => cellOf(document, task, 'schedule-free-adan'))
    .map((task) => drawChart(anytimeChart(document, task, size)));
  return sheet(charts, { columns: 2, ...size });
}

const taskColours = ['ours', 'adam', 'green', 'adam-3', 'adam-2', 'muted', 'violet'].map(colour);
/** What the options of the library call them. */
const optionNames = { beta1: 'betas[0]', beta2: 'betas[1]', beta3: 'betas[2]' };

/** One picture for a hyperparameter: by how much each value is behind the best, in each task. */
function sensitivityChart(document, hyperparameter, { width, height }) {
  const most = 2;
  const names = Object.keys(document.tasks);
  const found = document.sensitivity.filter((s) => s.hyperparameter === hyperparameter);
  const relative = ['learningRate', 'warmupSteps'].includes(hyperparameter);
  const labels = {
    learningRate: ['×0.1', '×0.32', '×1', '×3.2', '×10'],
    warmupSteps: ['0', '×1/4', '×1', '×4'],
  }[hyperparameter];
  const domain = labels ?? found[0].values.map(({ value }) => String(value));
  const points = found.flatMap(({ task, values }) => {
    const best = Math.min(...values.map(({ cost }) => cost ?? Number.POSITIVE_INFINITY));
    return values.flatMap(({ value, cost }, i) =>
      cost === undefined
        ? []
        : [
            {
              task,
              x: relative ? labels[i] : String(value),
              y: Math.min(most, cost === null ? most : Math.exp(cost - best)),
            },
          ],
    );
  });
  const svg = Plot.plot({
    document: page,
    width,
    height,
    marginTop: 46,
    marginLeft: 44,
    marginBottom: 32,
    style: { color: colour('muted'), background: 'none', fontSize: '12px' },
    x: { type: 'point', domain, padding: 0.3 },
    y: { type: 'log', domain: [1, most] },
    color: { domain: names, range: taskColours },
    marks: [
      Plot.gridY([1, 1.1, 1.25, 1.5, 2], { stroke: colour('line'), strokeOpacity: 1 }),
      Plot.axisX({ tickSize: 0, tickPadding: 8, label: null }),
      Plot.axisY([1, 1.1, 1.25, 1.5, 2], {
        text: (v) => (v === most ? '≥ ×2' : `×${v}`),
        tickSize: 0,
        label: null,
      }),
      Plot.line(points, { x: 'x', y: 'y', stroke: 'task', strokeWidth: 1.75 }),
      Plot.dot(points, { x: 'x', y: 'y', fill: 'task', r: 2.5 }),
    ],
  });
  for (const style of svg.querySelectorAll('style')) style.remove();
  svg.insertAdjacentHTML(
    'afterbegin',
    `<text class="title" x="0" y="17" text-anchor="start">${optionNames[hyperparameter] ?? hyperparameter}</text>` +
      '<text class="subtitle" x="0" y="35" text-anchor="start">validation loss against the best value, mean over the horizons</text>',
  );
  return svg.outerHTML;
}

export function sensitivityPicture(document) {
  const size = { width: 400, height: 230 };
  const names = [...new Set(document.sensitivity.map((s) => s.hyperparameter))];
  let x = pad;
  const head = Object.keys(document.tasks)
    .map((task, i) => {
      const { title } = document.tasks[task];
      const label = `<text x="${x}" y="34" style="font-size:13px;font-weight:600" fill="${taskColours[i]}">${title}</text>`;
      x += 7.5 * title.length + 26;
      return label;
    })
    .join('');
  const charts = names.map((name) => sensitivityChart(document, name, size));
  return sheet(charts, { columns: 3, ...size, head });
}
