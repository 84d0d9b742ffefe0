import type { Fault } from '../support/fault.js';
import { network } from './network.js';
import { processes } from './processes.js';
import { server } from './server.js';
import { sessions } from './sessions.js';

export const allFaults: readonly Fault[] = [...processes, ...network, ...sessions, ...server];
