import { Worker } from 'node:worker_threads';

/** Where graphile-migrate, which opens connections of its own, finds the database. */
export interface GraphileTarget {
  readonly connectionString: string;
  readonly migrationsFolder: string;
  /** The history is of a schema that was dropped: all migrations run anew. */
  readonly forget: boolean;
}

export type GraphileMessage =
  | { readonly type: 'log'; readonly line: string }
  | { readonly type: 'done' }
  | { readonly type: 'failed'; readonly message: string; readonly code: string | undefined };

/**
 * Runs graphile-migrate in a thread of its own: its pool ends the process if the server goes away, and keeps it from
 * ending for a while afterwards.
 */
export async function runGraphileMigrate(
  target: GraphileTarget,
  onLog: (line: string) => void,
): Promise<void> {
  const worker = new Worker(new URL('./graphile-thread.js', import.meta.url), { workerData: target });
  try {
    await new Promise<void>((resolve, reject) => {
      worker.on('message', (message: GraphileMessage) => {
        if (message.type === 'log') onLog(message.line);
        else if (message.type === 'done') resolve();
        else reject(Object.assign(new Error(message.message), { code: message.code }));
      });
      worker.once('error', reject);
      worker.once('exit', () => reject(new Error('the connection to the database was lost')));
    });
  } finally {
    await worker.terminate();
  }
}
