import { columnStyle } from 'example-digits/theme';
import type { Look } from './train.js';

export const pageStyle = `${columnStyle}
figure{background:var(--surface);border:1px solid var(--line);border-radius:12px;padding:18px 22px;margin:0 0 14px}
figcaption{font-size:14px;color:var(--muted)}
pre{margin:8px 0 0;white-space:pre-wrap;font:15px/1.5 Georgia,'Noto Serif','Liberation Serif',serif}`;

const escapes: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;' };
const escapeHtml = (text: string) => text.replace(/[&<]/g, (c) => escapes[c]!);

/** Samples, the latest first. */
export const samplesHtml = (looks: readonly Look[]): string =>
  [...looks]
    .reverse()
    .map(
      ({ step, loss, sample }) =>
        `<figure><figcaption>step ${step.toLocaleString('en-US')}, ${loss.toFixed(3)} nats per character of unseen text</figcaption><pre>${escapeHtml(sample.trim())}</pre></figure>`,
    )
    .join('\n');
