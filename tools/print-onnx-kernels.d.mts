export const file: string;
export function printKernels(): string;
export function formatted(text: string): string;
