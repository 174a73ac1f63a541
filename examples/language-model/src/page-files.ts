import { fileURLToPath } from 'node:url';
import { ortWasmFile } from 'example-digits/onnx/page-files';
import { bundledPage } from 'example-digits/page-files';

/** What a server has to answer for the page that trains with onnxruntime-web. */
export async function languageModelPage() {
  return {
    ...(await bundledPage(fileURLToPath(new URL('./page.js', import.meta.url)))),
    ...ortWasmFile(),
  };
}
