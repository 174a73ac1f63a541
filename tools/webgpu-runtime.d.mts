import type { Browser, Page } from 'playwright-core';

export function runtimeFolder(): string;
export function useSwiftShader(): void;
export function nodeDevice(descriptor?: GPUDeviceDescriptor): Promise<GPUDevice>;
export function chromiumPage(
  files?: Readonly<Record<string, { readonly type: string; readonly body: Uint8Array | string }>>,
  path?: string,
  options?: { readonly isolated?: boolean },
): Promise<{ browser: Browser; page: Page }>;
