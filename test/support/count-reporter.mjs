/** Closes a run with what was skipped, whose names say why, and one plain line: N passed, N failed, N skipped. */
// biome-ignore lint/style/noDefaultExport: jest loads a reporter by its default export
export default class CountReporter {
  constructor(config) {
    this.config = config;
  }

  onRunComplete(_contexts, results) {
    const failed = results.numFailedTests + results.numRuntimeErrorTestSuites;
    const skipped = results.numPendingTests + results.numTodoTests;
    // With a pattern for names nearly everything is skipped.
    if (!this.config.testNamePattern) {
      const tests = results.testResults.flatMap((file) => file.testResults);
      for (const { status, fullName } of tests) {
        if (status === 'pending') process.stdout.write(`\nskipped: ${fullName}`);
      }
    }
    process.stdout.write(`\n${results.numPassedTests} passed, ${failed} failed, ${skipped} skipped\n`);
  }
}
