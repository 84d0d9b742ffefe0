/** On a server and a template of the run's own unless they are named. */
export function runTests(
  where: { root: string; folder: string; serverUrl?: string; template?: string; signal?: AbortSignal },
  build: string,
  tests: readonly { readonly file: string; readonly name: string }[],
  timeoutMs: number,
): Promise<{ file: string; name: string; passed: boolean; ms: number; message: string }[]>;
