import { Argument, type Command, InvalidArgumentError, Option } from 'commander';
import { completionScript, SHELLS, type Shell } from './completion.js';
import { VIEWS } from './top/state.js';

const databaseUrl = ['--database-url <url>', 'Postgres to use (default: DATABASE_URL or PG*)'] as const;
const listenUrl = [
  '--listen-url <url>',
  'Postgres itself, if the database URL leads to a pooler in transaction mode',
] as const;
const json = ['--json', 'print machine-readable lines'] as const;

/** Commands for who runs the fleet: nothing but `bench` changes anything. */
export function addOperatorCommands(program: Command): void {
  program
    .command('explain')
    .description(
      'say why a module is served from the cache or not: what is stored, who invalidated it, and through what',
    )
    .argument('<realm>', 'URL of the realm, ending in /')
    .argument('<path>', 'canonical path')
    .option(...databaseUrl)
    .option(...json)
    .action(async (realm: string, path: string, options) => {
      const { explainCommand } = await import('./explain.js');
      await explainCommand(realm, path, options);
    });

  program
    .command('top')
    .description('watch the fleet live; once, where there is no terminal')
    .option('--interval <seconds>', 'how often to look', positiveNumber, 2)
    .option('--once', 'print one frame and exit')
    .addOption(new Option('--view <name>', 'what to begin with').choices(VIEWS).default('peers'))
    .option(...databaseUrl)
    .option('--json', 'print a machine-readable line each time')
    .addHelpText(
      'after',
      '\nKeys: 1-4 or --view: peers, realms, what is being produced, the latest\ninvalidations; s, left and right: sort by another column; r: reverse;\n/: filter, Esc clears it; p: pause; up, down and pages: scroll;\nq or Ctrl-C: quit.',
    )
    .action(async (options) => {
      const { topCommand } = await import('./top.js');
      await topCommand(options);
    });

  program
    .command('doctor')
    .description('look at all that the cache needs, and say what to do; exits with 1 if a check fails')
    .option(...databaseUrl)
    .option(...listenUrl)
    .option(...json)
    .action(async (options) => {
      const { doctorCommand } = await import('./doctor.js');
      await doctorCommand(options);
    });

  program
    .command('bench')
    .description(
      'measure this database beside its simplest questions, in a realm of its own that is taken away again',
    )
    .option('--quick', 'measure for 5 seconds instead of 30')
    .option(...databaseUrl)
    .option(...listenUrl)
    .option(...json)
    .action(async (options) => {
      const { benchCommand } = await import('./bench.js');
      await benchCommand(options);
    });

  program
    .command('completion')
    .description('print what a shell needs to complete commands and options')
    .addArgument(new Argument('<shell>').choices(SHELLS))
    .action((shell: Shell) => void process.stdout.write(completionScript(program, shell)));
}

function positiveNumber(value: string): number {
  const number = Number(value);
  if (!(number >= 0.1 && number <= 86_400)) {
    throw new InvalidArgumentError('a number of seconds from 0.1 to 86400 is needed.');
  }
  return number;
}
