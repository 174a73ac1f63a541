import { createServer } from 'node:http';
import { build } from 'esbuild';
import { readDigits } from './data.js';

export interface PageFile {
  readonly type: string;
  readonly body: Uint8Array | string;
}

export const binary = (body: Uint8Array): PageFile => ({ type: 'application/octet-stream', body });

/** A page of one script. */
export async function bundledPage(entry: string): Promise<Record<string, PageFile>> {
  const { outputFiles } = await build({
    entryPoints: [entry],
    bundle: true,
    format: 'esm',
    write: false,
    logLevel: 'error',
  });
  const html = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>Schedule-Free Adan</title>
<body><script type="module" src="/page.js"></script>
`;
  return {
    '/': { type: 'text/html', body: html },
    '/page.js': { type: 'text/javascript', body: outputFiles[0]!.text },
  };
}

/** What a server has to answer for the page to train on the first `limit` digits. */
export async function pageFiles(entry: string, limit?: number): Promise<Record<string, PageFile>> {
  const [train, test] = [readDigits('train', limit), readDigits('t10k')];
  return {
    ...(await bundledPage(entry)),
    '/train-images': binary(train.images),
    '/train-labels': binary(train.labels),
    '/test-images': binary(test.images),
    '/test-labels': binary(test.labels),
  };
}

/** Serves a page to the browsers of this machine, until the program is stopped. */
export function servePage(files: Readonly<Record<string, PageFile>>, where: string): void {
  const port = Number(process.env.PORT ?? 8080);
  const server = createServer((request, response) => {
    const file = files[new URL(request.url ?? '/', 'http://localhost').pathname];
    response.writeHead(file ? 200 : 404, { 'content-type': file?.type ?? 'text/plain' });
    response.end(file?.body ?? 'There is no such page.');
  });
  server.on('error', (error) => {
    console.error(`Can't serve at port ${port} (${error.message}); set PORT to another.`);
    process.exitCode = 1;
  });
  server.listen(port, 'localhost', () => console.log(`Open http://localhost:${port} in ${where}.`));
}
