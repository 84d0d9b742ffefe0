import type { Fault } from '../support/fault.js';
import { clock } from './clock.js';
import { network } from './network.js';
import { pooler } from './pooler.js';
import { processes } from './processes.js';
import { resources } from './resources.js';
import { restore } from './restore.js';
import { server } from './server.js';
import { sessions } from './sessions.js';
import { standby } from './standby.js';

export const allFaults: readonly Fault[] = [
  ...processes,
  ...network,
  ...sessions,
  ...server,
  ...standby,
  ...restore,
  ...resources,
  ...clock,
  ...pooler,
];
