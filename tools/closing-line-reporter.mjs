/** Ends a run with a line `N passed, N failed`, and fails a run in which no test ran. */
export default class ClosingLineReporter {
  onTestRunEnd(modules, errors) {
    const count = { passed: 0, failed: 0, skipped: 0 };
    for (const module of modules) {
      for (const test of module.children.allTests()) count[test.result().state]++;
    }
    const broken = modules.filter((module) => module.errors().length > 0).length + errors.length;
    const failed = count.failed + broken;
    if (count.passed + failed === 0) process.exitCode = 1;
    const skipped = count.skipped > 0 ? `, ${count.skipped} skipped` : '';
    process.once('exit', () => console.log(`${count.passed} passed, ${failed} failed${skipped}`));
  }
}
