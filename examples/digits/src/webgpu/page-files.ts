import { build } from 'esbuild';
import { readDigits } from '../data.js';

/** What a server has to answer for the page to train on the first `limit` digits. */
export async function pageFiles(entry: string, limit?: number) {
  const { outputFiles } = await build({
    entryPoints: [entry],
    bundle: true,
    format: 'esm',
    write: false,
  });
  const [train, test] = [readDigits('train', limit), readDigits('t10k')];
  const html =
    '<!doctype html><meta charset="utf-8"><body><script type="module" src="/page.js"></script>';
  const binary = (body: Uint8Array) => ({ type: 'application/octet-stream', body });
  const files: Record<string, { readonly type: string; readonly body: Uint8Array | string }> = {
    '/': { type: 'text/html', body: html },
    '/page.js': { type: 'text/javascript', body: outputFiles[0]!.text },
    '/train-images': binary(train.images),
    '/train-labels': binary(train.labels),
    '/test-images': binary(test.images),
    '/test-labels': binary(test.labels),
  };
  return files;
}
