import { columnStyle } from './theme.js';

/** What the pages that train look like: plots side by side, and a table. */
export const pageStyle = `${columnStyle}
main{max-width:1120px;padding:40px 20px}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(480px,100%),1fr));gap:16px;margin-bottom:16px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:6px 10px;text-align:right}
th{font-weight:600;color:var(--muted);font-size:14px;vertical-align:bottom}
td{white-space:nowrap;border-top:1px solid var(--line)}
@media (max-width:600px){th,td{padding:6px 4px}}`;

/** A page of this style, whose title tells how training goes: `training`, `done` or `failed`. */
export function startPage(html: string, style = pageStyle): void {
  document.title = 'training';
  document.head.append(Object.assign(document.createElement('style'), { textContent: style }));
  document.body.innerHTML = `<main>${html}</main>`;
}

/** Tells why training ended before its time, in place of how far it is (`#now`). */
export function showFailure(error: unknown): void {
  console.error(error);
  const message = document.createElement('p');
  message.className = 'card failure';
  message.role = 'alert';
  message.textContent = error instanceof Error ? error.message : String(error);
  document.querySelector('progress')!.after(message);
  document.querySelector('#now')?.replaceChildren();
  document.title = 'failed';
}

/** A whole number out of the address, as in `?epochs=5`. */
export function wholeNumber(query: URLSearchParams, name: string, otherwise: number): number {
  const text = query.get(name) ?? String(otherwise);
  if (!/^\d+$/.test(text)) throw new Error(`?${name}= is '${text}'; give a whole number.`);
  return Number(text);
}

/**
 * The adapter of this browser.
 * @param otherwise what one can do without
 * @throws Error where there is none
 */
export async function gpuAdapter(otherwise: string): Promise<GPUAdapter> {
  const adapter = await navigator.gpu?.requestAdapter();
  if (adapter) return adapter;
  const lack = navigator.gpu ? 'finds no GPU that it may use' : 'has no WebGPU';
  throw new Error(
    `This browser ${lack}. Take a current Chrome, Edge, Firefox or Safari, ${otherwise}.`,
  );
}
