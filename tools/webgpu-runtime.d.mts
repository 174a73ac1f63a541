import type { Browser, Page } from 'playwright-core';

export function runtimeFolder(): string;
export function useSwiftShader(): void;
export function nodeDevice(descriptor?: GPUDeviceDescriptor): Promise<GPUDevice>;
type Files = Readonly<
  Record<string, { readonly type: string; readonly body: Uint8Array | string }>
>;

export function chromiumPage(
  files?: Files,
  path?: string,
  options?: { readonly isolated?: boolean },
): Promise<{ browser: Browser; page: Page }>;
export function modulePage(
  entry: URL,
  options?: {
    readonly files?: Files;
    readonly isolated?: boolean;
    readonly external?: readonly string[];
  },
): Promise<{ browser: Browser; page: Page }>;
