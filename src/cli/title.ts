/** Their values may hold a password. */
const URL_OPTIONS = ['--database-url', '--listen-url'] as const;

/** What a process list shows of a command: all but the URLs of databases. */
export function titleOf(args: readonly string[]): string {
  const shown = args.map((arg, index) => {
    if (URL_OPTIONS.some((option) => option === args[index - 1])) return '***';
    const assigned = URL_OPTIONS.find((option) => arg.startsWith(`${option}=`));
    return assigned === undefined ? arg : `${assigned}=***`;
  });
  return ['module-cache', ...shown].join(' ');
}

/** A command line can be read by every user of the machine, for as long as the process runs. */
export function hideSecrets(args: readonly string[]): void {
  const title = titleOf(args);
  if (title.includes('***')) process.title = title;
}
