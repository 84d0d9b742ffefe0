import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

/** The major version of the servers that tests start: that of package.json, or another one (make test-all). */
export const serverMajor = process.env.TEST_POSTGRES_BINARIES
  ? majorOf(join(process.env.TEST_POSTGRES_BINARIES, 'bin', 'postgres'))
  : 18;

function majorOf(postgres: string): number {
  const version = execFileSync(postgres, ['--version'], { encoding: 'utf8' });
  return Number(/\(PostgreSQL\) (\d+)/.exec(version)?.[1]);
}
