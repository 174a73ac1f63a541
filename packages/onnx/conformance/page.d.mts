import type { Browser, Page } from 'playwright-core';

export function onnxPage(options?: { entry?: URL }): Promise<{ browser: Browser; page: Page }>;
