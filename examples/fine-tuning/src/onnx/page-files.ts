import { fileURLToPath } from 'node:url';
import { readDigits } from 'example-digits/data';
import { ortWasmFile } from 'example-digits/onnx/page-files';
import { binary, bundledPage } from 'example-digits/page-files';
import { readModelFile } from './model-file.js';

/** What a server has to answer for the page that trains with onnxruntime-web. */
export async function fineTuningPage(digits: number, tested: number) {
  const [train, test] = [readDigits('train', digits), readDigits('t10k', tested)];
  return {
    ...(await bundledPage(fileURLToPath(new URL('./page.js', import.meta.url)))),
    ...ortWasmFile(),
    '/model.onnx': binary(readModelFile()),
    '/train-images': binary(train.images),
    '/train-labels': binary(train.labels),
    '/test-images': binary(test.images),
    '/test-labels': binary(test.labels),
  };
}
