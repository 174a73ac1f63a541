// A page that trains in the browser that opens it: node examples/digits/dist/webgpu/serve.js
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { pageFiles } from './page-files.js';

const port = Number(process.env.PORT ?? 8080);
const files = await pageFiles(fileURLToPath(new URL('./main-page.js', import.meta.url)));
createServer((request, response) => {
  const file = files[new URL(request.url ?? '/', 'http://localhost').pathname];
  response.writeHead(file ? 200 : 404, { 'content-type': file?.type ?? 'text/plain' });
  response.end(file?.body ?? 'There is no such page.');
}).listen(port, () => console.log(`Open http://localhost:${port} in a browser with WebGPU.`));
