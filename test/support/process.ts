import { type ChildProcess, fork } from 'node:child_process';
import { within } from '../support/wait.js';

export interface ChildOptions {
  args?: readonly string[];
  env?: Readonly<Record<string, string | undefined>>;
  /** In a process group of its own, to be signalled as a terminal does. */
  detached?: boolean;
  /** Options of Node. */
  execArgv?: readonly string[];
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A real Node process that sends objects with a `type`. */
export interface Child<Message extends { type: string }> {
  readonly pid: number;
  readonly exited: Promise<Exit>;
  /** Everything that it wrote to stdout and stderr. */
  readonly output: string;
  send(message: object): void;
  /** The next message of this type that was not taken yet. Rejects with the output if the process ends before. */
  next<Type extends Message['type']>(
    type: Type,
    timeoutMs?: number,
  ): Promise<Extract<Message, { type: Type }>>;
  kill(signal?: NodeJS.Signals): Promise<Exit>;
}

const living = new Set<ChildProcess>();
// A test that fails half-way leaves no process behind.
process.once('exit', () => {
  for (const child of living) child.kill('SIGKILL');
});

/** Starts a script, plain JavaScript, that imports what it needs from `dist`. */
export function startChild<Message extends { type: string }>(
  script: URL,
  options: ChildOptions = {},
): Child<Message> {
  const child = fork(script, [...(options.args ?? [])], {
    env: { ...process.env, ...options.env },
    detached: options.detached ?? false,
    execArgv: [...(options.execArgv ?? [])],
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  living.add(child);
  const inbox: Message[] = [];
  const listeners = new Set<() => void>();
  let output = '';
  let exit: Exit | undefined;
  const changed = (): void => {
    for (const listener of listeners) listener();
  };
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
  }
  child.on('message', (message) => {
    inbox.push(message as Message);
    changed();
  });
  const exited = new Promise<Exit>((resolve) => {
    child.once('close', (code, signal) => {
      living.delete(child);
      exit = { code, signal };
      resolve(exit);
      changed();
    });
  });
  return {
    pid: child.pid ?? 0,
    exited,
    get output() {
      return output;
    },
    send: (message) => {
      child.send(message);
    },
    next: <Type extends Message['type']>(type: Type, timeoutMs = 20_000) => {
      const taken = new Promise<Extract<Message, { type: Type }>>((resolve, reject) => {
        const look = (): void => {
          const index = inbox.findIndex((message) => message.type === type);
          if (index < 0 && exit === undefined) return;
          listeners.delete(look);
          if (index < 0)
            reject(new Error(`the child ended (${JSON.stringify(exit)}) without ${type}: ${output}`));
          else resolve(inbox.splice(index, 1)[0] as Extract<Message, { type: Type }>);
        };
        listeners.add(look);
        look();
      });
      return within(timeoutMs, () => `the child sent ${type}; it wrote: ${output}`, taken);
    },
    kill: (signal = 'SIGKILL') => {
      child.kill(signal);
      return exited;
    },
  };
}
