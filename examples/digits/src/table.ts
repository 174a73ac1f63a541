import { type OptimizerName, titles } from './settings.js';
import type { EpochResult } from './train.js';

export const percent = (share: number): string => `${(100 * share).toFixed(2)} %`;

interface Column {
  readonly title: string;
  readonly width: number;
  readonly cell: (result: EpochResult) => string;
}
const loss: Column = { title: 'loss', width: 7, cell: (r) => r.loss.toFixed(4) };
const time: Column = { title: 'time', width: 8, cell: (r) => `${r.seconds.toFixed(1)} s` };
const columns: Readonly<Record<OptimizerName, readonly Column[]>> = {
  'sf-adan': [
    loss,
    { title: 'at x', width: 9, cell: (r) => percent(r.accuracyAtX) },
    { title: 'at y', width: 9, cell: (r) => percent(r.accuracyAtY) },
    time,
  ],
  adam: [loss, { title: 'accuracy', width: 9, cell: (r) => percent(r.accuracyAtX) }, time],
};

const gap = '    ';
const half = (name: OptimizerName, cell: (column: Column) => string) =>
  columns[name].map((column) => cell(column).padStart(column.width)).join(' ');

/** The optimizers side by side, a row per epoch, on stdout. */
export class ResultTable {
  #partial = false;

  constructor(readonly optimizers: readonly OptimizerName[]) {
    const heads = optimizers.map((name) => {
      const width = half(name, () => '').length;
      return `── ${titles[name]} `.padEnd(width, '─');
    });
    const names = optimizers.map((name) => half(name, ({ title }) => title));
    console.log(['       ', ...heads].join(gap).trimEnd());
    console.log(['  epoch', ...names].join(gap));
  }

  /**
   * Prints an epoch. One that not every optimizer has finished shows on a terminal only, where the
   * full row can take its place.
   */
  row(epoch: number, results: readonly (EpochResult | undefined)[]): void {
    const complete = results.every((result) => result !== undefined);
    if (!complete && !process.stdout.isTTY) return;
    if (this.#partial) process.stdout.write('\x1b[1A\x1b[2K');
    const halves = results.map((result, i) =>
      half(this.optimizers[i]!, ({ cell }) => (result ? cell(result) : '…')),
    );
    console.log([String(epoch).padStart(7), ...halves].join(gap));
    this.#partial = !complete;
  }
}
