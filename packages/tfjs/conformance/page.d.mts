import type { Browser, Page } from 'playwright-core';

export function tfjsPage(options?: {
  readonly entry?: URL;
  readonly threads?: boolean;
}): Promise<{ browser: Browser; page: Page }>;
