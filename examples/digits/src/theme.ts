/**
 * Colours from Okabe and Ito's colour-blind-safe set, darkened for text on white and lightened for
 * dark mode; both optimizers also differ in lightness and stroke.
 */
const light = {
  surface: '#ffffff',
  page: '#f6f7f9',
  ink: '#1b1f24',
  muted: '#5b6470',
  line: '#e1e4e8',
  ours: '#0067a5',
  'ours-y': '#3f9bd1',
  adam: '#c24a00',
  'adam-2': '#a8690a',
  'adam-3': '#a8437e',
  green: '#1b8a5a',
  violet: '#7a5cc2',
};
const dark: typeof light = {
  surface: '#161b22',
  page: '#0d1117',
  ink: '#e8ecf1',
  muted: '#9aa4b0',
  line: '#2d343d',
  ours: '#56b4e9',
  'ours-y': '#8fd0f5',
  adam: '#f58a4b',
  'adam-2': '#e9b949',
  'adam-3': '#e29ac6',
  green: '#4fc493',
  violet: '#b7a0ee',
};

export type ColourName = keyof typeof light;
export const colour = (name: ColourName): string => `var(--${name})`;

const variables = (palette: typeof light) =>
  Object.entries(palette)
    .map(([name, value]) => `--${name}:${value}`)
    .join(';');

export const themeStyle = `:root{${variables(light)};color-scheme:light dark}
@media (prefers-color-scheme:dark){:root{${variables(dark)}}}`;

export const fontFamily =
  "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue','Noto Sans','Liberation Sans',Arial,sans-serif";

/** Rules for text inside plots; Plot's own style sheet is left out, so that plots can be nested. */
export const plotStyle = `svg text{font-family:${fontFamily};white-space:pre}
svg .title{font-size:15px;font-weight:600;fill:var(--ink)}
svg .subtitle{font-size:12px;fill:var(--muted)}
svg .series{font-weight:600}`;

/** Of a page of one column, on a screen or in print: text, cards with plots, a list of settings. */
export const columnStyle = `${themeStyle}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 ${fontFamily}}
main{max-width:860px;margin:0 auto;padding:48px 24px}
h1{font-size:32px;line-height:1.15;letter-spacing:-.02em;margin:0 0 10px}
h2{font-size:21px;margin:40px 0 10px}
p{margin:0 0 16px;max-width:72ch}
.muted,dt{color:var(--muted)}
.card{background:var(--surface);border:1px solid var(--line);border-radius:12px;padding:18px 22px;margin:0 0 14px;overflow-x:auto}
.card svg{display:block;width:100%;height:auto}
.card:empty{display:none}
@media (max-width:600px){.card{padding:14px}.card svg{min-width:440px}}
progress{display:block;width:100%;height:14px;margin-bottom:10px;accent-color:var(--ours)}
.failure{border-color:var(--adam)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 20px;font-size:14px}
dd{margin:0}
${plotStyle}`;
