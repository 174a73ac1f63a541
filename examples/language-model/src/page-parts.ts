import { pageStyle as base } from 'example-digits/page-parts';
import type { Look } from './train.js';

export const pageStyle = `${base}
main{max-width:860px}
h2{font-size:21px;margin:40px 0 10px}
figcaption,dt{color:var(--muted)}
.card,figure{margin:0 0 14px}
figure{background:var(--surface);border:1px solid var(--line);border-radius:12px;padding:18px 22px}
figcaption{font-size:14px}
pre{margin:8px 0 0;white-space:pre-wrap;font:15px/1.5 Georgia,'Noto Serif','Liberation Serif',serif}
dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 20px;font-size:14px}
dd{margin:0}`;

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
