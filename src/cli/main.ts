#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command, InvalidArgumentError } from 'commander';
import { fail } from './failure.js';
import { addOperatorCommands } from './operate.js';
import { hideSecrets } from './title.js';

hideSecrets(process.argv.slice(2));

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

const program = new Command('module-cache')
  .description('A coherent cache of compiled modules for fleets of Node processes, in Postgres.')
  .version(version)
  .showHelpAfterError('(run with --help for the options)')
  .addHelpText(
    'afterAll',
    '\nThe database: --database-url, else DATABASE_URL, else the PG* variables.\nExit codes: 0 done, 1 failed, 2 misuse, 130 interrupted.',
  )
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2));

const databaseUrl = ['--database-url <url>', 'Postgres to use (default: DATABASE_URL or PG*)'] as const;
const json = ['--json', 'print machine-readable lines'] as const;

const dir = ['[dir]', 'folder with the sources; or a table, with --table'] as const;

/** What names the modules, for serve and warm. */
const withModules = (command: Command): Command =>
  command
    .option('--realm <url>', "URL that owns the modules (default: the folder's file: URL, or of the table)")
    .option('--table <name>', 'table with the sources, in place of a folder')
    .option('--path-column <name>', "the table's column with the paths (default: path, or what it is called)")
    .option(
      '--source-column <name>',
      "the table's column with the sources (default: source, or what it is called)",
    )
    .option('--realm-column <name>', "the table's column with the realm of each module, if it holds several")
    .option('--imports <file>', 'import map (JSON) for bare specifiers')
    .option('--babel-config <file>', 'configuration of Babel (default: TypeScript alone)')
    .option(...databaseUrl)
    .option(
      '--listen-url <url>',
      'Postgres itself, if the database URL leads to a pooler in transaction mode',
    )
    .option(...json)
    .addHelpText(
      'after',
      "\nWithout a database URL a real Postgres is started in the user's cache folder,\nand kept for next time.",
    );

withModules(
  program
    .command('serve')
    .description('serve modules over HTTP from several processes, and invalidate what changes')
    .argument(...dir)
    .option('--port <n>', 'port to listen on, 0 for any free one', wholeNumber(0, 65_535), 3000)
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .option('--workers <n>', 'processes that serve', wholeNumber(1, 256), 2)
    .option('--cors <origin>', 'origin whose pages may load modules, * for any')
    .option(
      '--grace <seconds>',
      'how long memory is served past its time while the database is away',
      wholeNumber(0, 1_000_000),
      0,
    )
    .option('--produce-alone', 'compile in each worker, for itself, while the database is away')
    .option('--page', 'fail if the page /-/ that shows the fleet cannot be there')
    .option('--no-page', 'leave the page out; modules may then be in a folder called -')
    .option(
      '--page-token-file <file>',
      'file with the token that the page asks for (default: MODULE_CACHE_PAGE_TOKEN; on a loopback address none is needed)',
    )
    .option('--metrics [path]', 'serve metrics of all workers for Prometheus (path: /-/metrics)'),
).action(async (dir: string | undefined, options) => {
  const { serve } = await import('./serve.js');
  await serve(dir, options);
});

withModules(
  program
    .command('warm')
    .description('compile and store all modules, beside a fleet that serves or before it starts')
    .argument(...dir)
    .option(
      '--threads <n>',
      'modules compiled at once (default: one for each processor)',
      wholeNumber(1, 256),
    )
    .option('--strict', 'exit with 1 if a module does not compile'),
).action(async (dir: string | undefined, options) => {
  const { warmCommand } = await import('./warm.js');
  await warmCommand(dir, options);
});

program
  .command('migrate')
  .description(
    'install or upgrade the schema module_cache (graphile-migrate); safe to start many times at once',
  )
  .option(...databaseUrl)
  .option(...json)
  .action(async (options) => {
    const { migrateCommand } = await import('./migrate.js');
    await migrateCommand(options);
  });

program
  .command('status')
  .description(
    'compare the installed schema with this client, and show the fleet; exits with 1 if something is to be done',
  )
  .option(...databaseUrl)
  .option(...json)
  .action(async (options) => {
    const { statusCommand } = await import('./status.js');
    await statusCommand(options);
  });

program
  .command('uninstall')
  .description('take the schema, its history and its roles out again; what others use is kept and named')
  .option('--dry-run', 'say what would go, and change nothing')
  .option(...databaseUrl)
  .option(...json)
  .action(async (options) => {
    const { uninstallCommand } = await import('./uninstall.js');
    await uninstallCommand(options);
  });

program
  .command('sql')
  .description("print the install script, for people's own migration tool")
  .option('--from <version>', 'print what upgrades a schema of this version instead')
  .action(async ({ from }: { from?: string }) => {
    const { installScript, upgradeScript } = await import('../schema/script.js');
    process.stdout.write(from === undefined ? installScript() : upgradeScript(from));
  });

program
  .command('invalidate')
  .description('invalidate modules with all that depends on them, or a whole realm if no path is given')
  .argument('<realm>', 'URL of the realm, ending in /')
  .argument('[path...]', 'canonical paths')
  .option('--dry-run', 'say what would be invalidated, and change nothing')
  .option(...databaseUrl)
  .option(...json)
  .action(async (realm: string, paths: string[], options) => {
    const { invalidateCommand } = await import('./invalidate.js');
    await invalidateCommand(realm, paths, options);
  });

program
  .command('gc')
  .description('collect garbage: dead artifacts, and tombstones and log rows that no live token needs')
  .option('--older-than <interval>', 'retention, as a Postgres interval', '1 hour')
  .option('--batch <rows>', 'rows of each kind in one transaction', wholeNumber(1, 1_000_000), 10_000)
  .option(...databaseUrl)
  .option(...json)
  .action(async (options) => {
    const { gcCommand } = await import('./gc.js');
    await gcCommand(options);
  });

addOperatorCommands(program);

function wholeNumber(least: number, most: number) {
  return (value: string): number => {
    const number = Number(value);
    if (!Number.isInteger(number) || number < least || number > most) {
      throw new InvalidArgumentError(`a whole number from ${least} to ${most} is needed.`);
    }
    return number;
  };
}

// Whoever reads, such as head, has seen enough; or the terminal is gone.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE' || error.code === 'EIO') process.exit(0);
  throw error;
});
await program.parseAsync().catch(fail);
