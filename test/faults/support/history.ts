import { closeSync, createReadStream, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

/**
 * What happened in a run, as each process saw it: reads in a binary file, for there are millions, everything else a
 * line of JSON each. A process that is killed loses the reads it has not written yet, but never a line: what it was
 * about to commit is written before.
 *
 * Times are milliseconds of the machine's monotonic clock since the start of the run, the same for all processes.
 */
export interface Clock {
  /** Monotonic time in nanoseconds at which the run began. */
  readonly origin: bigint;
  now(): number;
}

export const createClock = (origin: bigint): Clock => ({
  origin,
  now: () => Number(process.hrtime.bigint() - origin) / 1e6,
});

export type Mode = 'bounded' | 'strong' | 'causal' | 'quiet';
export const MODES: readonly Mode[] = ['bounded', 'strong', 'causal', 'quiet'];

export interface Read {
  began: number;
  ended: number;
  module: number;
  mode: Mode;
  /** The artifact that was returned. */
  artifact: number;
  /** The write that a causal read comes after. */
  after: number;
  /** Whether the answer may be what the cache holds, rather than what was just made and could not be kept. */
  cached: boolean;
}

export interface Version {
  thing: number;
  version: number;
  /** Counts the versions of the thing. */
  seq: number;
  imports: number[];
}

export type Entry =
  /** What an artifact is made of, by its own text: [thing, version] of all that was read. */
  | { type: 'artifact'; artifact: number; module: number; parts: [number, number][]; split: boolean }
  | {
      type: 'production';
      artifact: number;
      module: number;
      variant: string;
      began: number;
      ended: number;
      how: 'made' | 'threw' | 'aborted';
    }
  /** Written before it is committed. */
  | { type: 'write'; write: number; began: number; commits: number; versions: Version[]; isolation: string }
  | {
      type: 'outcome';
      write: number;
      at: number;
      isolation: string;
      outcome: 'committed' | 'rolled back' | 'refused' | 'unknown';
      code?: string;
      message?: string;
      where?: string;
    }
  | { type: 'looked in vain'; count: number }
  | { type: 'failed read'; at: number; code: string; message: string }
  | { type: 'peer'; peer: number; client: string; variant: string }
  /** What must not be: the process itself noticed it. */
  | { type: 'wrong'; at: number; what: string }
  | { type: 'fault'; kind: string; began: number; ended: number; recoveredMs: number | null; failed?: string }
  /** The server lost what it had committed last, or was set back: what is true was read again at `ended`. */
  | { type: 'life'; began: number; ended: number; survivors: string }
  | {
      type: 'run';
      seed: number;
      boundMs: number;
      modules: number;
      peers: number;
      ended: number;
      interrupted: boolean;
    };

const RECORD_BYTES = 40;
const BUFFER_RECORDS = 4096;

export interface Recorder {
  read(read: Read): void;
  write(entry: Entry): void;
  flush(): void;
  close(): void;
}

export function createRecorder(folder: string, name: string): Recorder {
  const lines = openSync(join(folder, `${name}.jsonl`), 'a');
  const reads = openSync(join(folder, `${name}.reads`), 'a');
  const buffer = Buffer.alloc(RECORD_BYTES * BUFFER_RECORDS);
  let used = 0;
  function flush(): void {
    if (used > 0) writeSync(reads, buffer, 0, used);
    used = 0;
  }
  return {
    read({ began, ended, module, mode, artifact, after, cached }) {
      buffer.writeDoubleLE(began, used);
      buffer.writeDoubleLE(ended, used + 8);
      buffer.writeDoubleLE(artifact, used + 16);
      buffer.writeDoubleLE(after, used + 24);
      buffer.writeUInt32LE(module, used + 32);
      buffer.writeUInt32LE(MODES.indexOf(mode) * 2 + Number(cached), used + 36);
      used += RECORD_BYTES;
      if (used === buffer.length) flush();
    },
    write: (entry) => void writeSync(lines, `${JSON.stringify(entry)}\n`),
    flush,
    close() {
      flush();
      closeSync(lines);
      closeSync(reads);
    },
  };
}

export function* entriesOf(folder: string, file: string): Generator<Entry> {
  for (const line of readFileSync(join(folder, file), 'utf8').split('\n')) {
    // The last line of a killed process may be torn.
    if (line.endsWith('}')) yield JSON.parse(line) as Entry;
  }
}

/** Calls back with the same object each time, with other values: there are millions. */
export async function eachRead(folder: string, file: string, onRead: (read: Read) => void): Promise<void> {
  const read: Read = { began: 0, ended: 0, module: 0, mode: 'bounded', artifact: 0, after: 0, cached: true };
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of createReadStream(join(folder, file), { highWaterMark: 2 ** 20 })) {
    const data: Buffer = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    for (; at + RECORD_BYTES <= data.length; at += RECORD_BYTES) {
      const flags = data.readUInt32LE(at + 36);
      read.began = data.readDoubleLE(at);
      read.ended = data.readDoubleLE(at + 8);
      read.artifact = data.readDoubleLE(at + 16);
      read.after = data.readDoubleLE(at + 24);
      read.module = data.readUInt32LE(at + 32);
      read.mode = MODES[flags >> 1] as Mode;
      read.cached = (flags & 1) === 1;
      onRead(read);
    }
    rest = data.subarray(at);
  }
}
