/** Closes a run with one plain line: N passed, N failed, N skipped. */
// biome-ignore lint/style/noDefaultExport: jest loads a reporter by its default export
export default class CountReporter {
  onRunComplete(_contexts, results) {
    const failed = results.numFailedTests + results.numRuntimeErrorTestSuites;
    const skipped = results.numPendingTests + results.numTodoTests;
    process.stdout.write(`\n${results.numPassedTests} passed, ${failed} failed, ${skipped} skipped\n`);
  }
}
