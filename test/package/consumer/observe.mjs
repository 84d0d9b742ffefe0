import { openModuleCache } from 'pg-module-cache';
import {
  registerOpenTelemetryMetrics,
  registerPrometheusMetrics,
  traceModuleCache,
} from 'pg-module-cache/observe';

const cache = await openModuleCache({ connection: process.argv[2] });
const failures = [];
for (const observe of [registerPrometheusMetrics, registerOpenTelemetryMetrics, traceModuleCache]) {
  await observe(cache).catch(({ code, message, hint }) => failures.push({ code, message, hint }));
}
console.log(JSON.stringify(failures));
await cache.close();
