/*
 * One process of the fleet under test: reads, produces and writes as it likes, and records all of it. The client is the
 * built one that it is told to use, so that a guard can be missing in it, or that it is of another version.
 */
import type { Command } from '../support/messages.js';
import { cache, progress, recorder, send, setClock, settings } from './process.js';
import { closeSources } from './producing.js';
import { noteInVain, peekForEver, quieten, readForEver, recover, tokens } from './reading.js';
import { closeWriter, letWrite, writeForEver } from './writing.js';

const flushing = setInterval(() => {
  recorder.flush();
  noteInVain();
}, 200);

async function obey(command: Command): Promise<void> {
  if (command.type === 'token') {
    tokens.push(command);
    if (tokens.length > 20) tokens.shift();
  } else if (command.type === 'writes') {
    await letWrite(command.on);
    send({ type: 'done', number: command.number });
  } else if (command.type === 'quiet') {
    await quieten();
    recorder.flush();
    send({ type: 'done', number: command.number });
  } else if (command.type === 'recover') {
    await recover();
    send({ type: 'done', number: command.number });
  } else if (command.type === 'forget tokens') tokens.length = 0;
  else if (command.type === 'clock') setClock(command.offsetMs);
  else if (command.type === 'end') {
    progress.ending = true;
    clearInterval(flushing);
    await working;
    noteInVain();
    await Promise.all([cache.close(), closeSources(), closeWriter()]);
    recorder.close();
    send({ type: 'done', number: command.number });
    process.disconnect();
  }
}
process.on('message', (message) => void obey(message as Command));

const counting = setInterval(() => send({ type: 'operations', operations: progress.operations }), 500);
const working = Promise.all([
  ...Array.from({ length: settings.readers }, readForEver),
  peekForEver(),
  writeForEver(),
]).finally(() => clearInterval(counting));
send({ type: 'ready' });
