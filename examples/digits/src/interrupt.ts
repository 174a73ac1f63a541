/** Exit code of a program that Ctrl-C ended. */
export const interruptedCode = 130;

/**
 * `npm run` passes on a SIGINT that the terminal has sent already, so one key press may arrive twice.
 * What follows within this time is the same key press.
 */
const samePressMs = 250;

/** Turns the first Ctrl-C into a wish that the program fulfils when it can; the second one kills. */
export function watchInterrupt(onKill: () => void): () => boolean {
  let first: number | undefined;
  process.on('SIGINT', () => {
    const now = performance.now();
    first ??= now;
    if (now - first > samePressMs) {
      onKill();
      process.exit(interruptedCode);
    }
  });
  return () => first !== undefined;
}
