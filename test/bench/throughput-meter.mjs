/*
 * Loaded before a server of test/bench/throughput.mjs (`node --import`): says over a socket what the process has used
 * of the processor, all its threads together, in µs.
 */
import { createServer } from 'node:net';
import { join } from 'node:path';
import { isMainThread } from 'node:worker_threads';

if (isMainThread) {
  const meter = createServer((socket) => {
    socket.unref();
    socket.on('data', () => {
      const { user, system } = process.cpuUsage();
      socket.write(`${user + system}\n`);
    });
  });
  meter.listen(join(process.env.BENCH_METERS, String(process.pid))).unref();
}
