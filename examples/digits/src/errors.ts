/** Something that the person at the keyboard can put right: told in one line, without a stack. */
export class InputError extends Error {
  override name = 'InputError';
}

/** Runs a program's main function and turns its outcome into an exit code: 2 for an {@link InputError}. */
export async function runProgram(main: () => Promise<number>): Promise<void> {
  try {
    process.exitCode = await main();
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    console.error(`error: ${error.message}`);
    process.exitCode = 2;
  }
}
