export const file: string;
export function printLoops(): string;
