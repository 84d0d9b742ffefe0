import type { Attributes, Context, SpanKind as Kind, Span, TracerProvider } from '@opentelemetry/api';
import { activityOf, shareActivity } from '../activity.js';
import type { ModuleCache } from '../cache.js';
import { isNoSuchModule } from '../errors.js';
import type { CacheEvents } from '../events.js';
import { type ArtifactId, nameOf, normalizeRealm } from '../keys.js';
import type { ArtifactRequest, Producer, ProducerContext, Product, ServedModule } from '../types.js';
import { VERSION } from '../versions.js';
import { loadOptional } from './load.js';

/** What is used of a TracerProvider of OpenTelemetry. */
export interface TraceProvider {
  getTracer(name: string, version?: string): object;
}

export interface TraceOptions {
  /** The global one unless given. */
  tracerProvider?: TraceProvider;
}

/** A call with a span of its own. */
interface Call {
  readonly span: Span;
  /** In which the span is the active one. */
  readonly context: Context;
  ended: boolean;
}

/**
 * The same cache, with a span for each call that memory did not answer at once: `module_cache.get`, `.get_or_produce`,
 * `.get_many`, `.invalidate`, `.clear_realm` and `.clear_all`, and in the call that produced `module_cache.produce` and
 * `module_cache.put`. A producer runs within its span, so that its own spans are children. Realms and paths are
 * attributes; bodies, variants, tokens and the texts of errors are not.
 *
 * Closing it closes the cache. What the cache tells through `events` is the same.
 *
 * @throws ModuleCacheError MC107 if `@opentelemetry/api` is not installed, or for what is no cache of this package
 */
export async function traceModuleCache(cache: ModuleCache, options: TraceOptions = {}): Promise<ModuleCache> {
  const activity = activityOf(cache);
  const api = await loadOptional('@opentelemetry/api', () => import('@opentelemetry/api'));
  const { context, trace, SpanKind, SpanStatusCode } = api;
  const provider = (options.tracerProvider ?? trace.getTracerProvider()) as TracerProvider;
  const tracer = provider.getTracer('pg-module-cache', VERSION);
  /** Calls whose products are being stored; two of one module only by strong reads. */
  const storing = new Map<string, Call[]>();

  /** What samplers may look at is there from the beginning; the rest only where somebody gets to see it. */
  function start(
    operation: string,
    kind: Kind,
    describe: () => Attributes,
    parent: Context,
    startTime?: number,
  ): Span {
    const attributes =
      kind === SpanKind.CLIENT ? { 'db.system.name': 'postgresql', 'db.operation.name': operation } : {};
    const span = tracer.startSpan(
      `module_cache.${operation}`,
      startTime === undefined ? { kind, attributes } : { kind, attributes, startTime },
      parent,
    );
    if (span.isRecording()) span.setAttributes(describe());
    return span;
  }

  function begin(operation: string, describe: () => Attributes, startTime?: number): Call {
    const parent = context.active();
    const span = start(operation, SpanKind.CLIENT, describe, parent, startTime);
    return { span, context: trace.setSpan(parent, span), ended: false };
  }

  /**
   * Of an error only what kind it is: its text may hold what is nobody else's business. A module that does not exist is
   * no failure.
   */
  function fail(span: Span, error: unknown): void {
    if (isNoSuchModule(error)) {
      span.setAttribute('module_cache.absent', true);
      return;
    }
    const { code, name } = (error ?? {}) as { code?: unknown; name?: unknown };
    const [type = '_OTHER'] = [code, name].filter((text) => typeof text === 'string');
    span.setAttribute('error.type', type as string);
    span.setStatus({ code: SpanStatusCode.ERROR });
  }

  async function finish<T>(call: Call, answer: Promise<T>, describe: (result: T) => Attributes): Promise<T> {
    try {
      const result = await answer;
      if (call.span.isRecording()) call.span.setAttributes(describe(result));
      return result;
    } catch (error) {
      fail(call.span, error);
      throw error;
    } finally {
      call.ended = true;
      call.span.end();
    }
  }

  async function produce(
    call: Call,
    request: ArtifactRequest,
    producer: Producer,
    how: ProducerContext,
  ): Promise<Product> {
    const span = start('produce', SpanKind.INTERNAL, () => attributesOf(request), call.context);
    try {
      const product = await context.with(trace.setSpan(call.context, span), () => producer(how));
      noteStoring(nameOf(idOf(request)), call);
      return product;
    } catch (error) {
      if (how.signal.aborted) span.setAttribute('module_cache.aborted', true);
      fail(span, error);
      throw error;
    } finally {
      span.end();
    }
  }

  function noteStoring(name: string, call: Call): void {
    const calls = (storing.get(name) ?? []).filter(({ ended }) => !ended);
    if (!call.ended) calls.push(call);
    if (calls.length > 0) storing.set(name, calls);
    else storing.delete(name);
  }

  function onProduced({ id, putMs, reason }: CacheEvents['produced'][0]): void {
    const name = nameOf(id);
    const [call, ...others] = storing.get(name) ?? [];
    if (call === undefined) return;
    if (others.length > 0) storing.set(name, others);
    else storing.delete(name);
    if (reason === 'away') return;
    const describe = (): Attributes => ({ ...attributesOf(id), 'module_cache.reason': reason });
    const span = start('put', SpanKind.CLIENT, describe, call.context, Date.now() - putMs);
    if (reason === 'failed') fail(span, undefined);
    span.end();
  }

  /** What ended before it was stored is not waited for. */
  function forget(request: ArtifactRequest): void {
    if (storing.size === 0) return;
    const name = nameOf(idOf(request));
    const calls = storing.get(name)?.filter(({ ended }) => !ended) ?? [];
    if (calls.length === 0) storing.delete(name);
    else storing.set(name, calls);
  }

  function changing<T>(
    operation: string,
    describe: () => Attributes,
    work: () => Promise<T>,
    describeResult: (result: T) => Attributes = () => ({}),
  ): Promise<T> {
    const call = begin(operation, describe);
    return finish(call, context.with(call.context, work), describeResult);
  }

  cache.events.on('produced', onProduced);
  const traced: ModuleCache = {
    ...cache,
    get(request, read) {
      // What memory answers is counted before the call returns, and needs no span.
      const { hits } = activity;
      const answer = cache.get(request, read);
      if (activity.hits !== hits) return answer;
      return finish(
        begin('get', () => attributesOf(request)),
        answer,
        describeAnswer,
      );
    },
    async getMany(requests, read) {
      const startTime = Date.now();
      const { hits } = activity;
      const answer = cache.getMany(requests, read);
      const atOnce = activity.hits - hits;
      const modules = await answer.catch(() => undefined);
      // Memory has one answer for all who ask for the same module.
      if (modules !== undefined && new Set(modules).size === atOnce) return modules;
      const describe = (): Attributes =>
        Array.isArray(requests) ? { 'module_cache.requests': requests.length } : {};
      return finish(begin('get_many', describe, startTime), answer, () => ({}));
    },
    getOrProduce(request, producer, read) {
      const { hits } = activity;
      let call: Call | undefined;
      // It is never called before this call has returned.
      const inSpan: Producer = (how) => produce(call as Call, request, producer, how);
      const answer = cache.getOrProduce(request, typeof producer === 'function' ? inSpan : producer, read);
      if (activity.hits !== hits) return answer;
      call = begin('get_or_produce', () => attributesOf(request));
      return finish(call, answer, describeAnswer).finally(() => forget(request));
    },
    invalidate: (realm, paths, how) =>
      changing(
        'invalidate',
        () => ({
          ...attributesOf({ realm }),
          ...(Array.isArray(paths) ? { 'module_cache.paths': paths.length } : {}),
        }),
        () => cache.invalidate(realm, paths, how),
        ({ modules }) => ({ 'module_cache.modules': modules.length }),
      ),
    clearRealm: (realm, how) =>
      changing(
        'clear_realm',
        () => attributesOf({ realm }),
        () => cache.clearRealm(realm, how),
      ),
    clearAll: (how) =>
      changing(
        'clear_all',
        () => ({}),
        () => cache.clearAll(how),
      ),
    close() {
      cache.events.off('produced', onProduced);
      return cache.close();
    },
  };
  shareActivity(traced, activity);
  return traced;
}

function describeAnswer(module: ServedModule | undefined): Attributes {
  return {
    'module_cache.source': module?.source ?? 'none',
    ...(module === undefined ? {} : { 'module_cache.cached': module.cached }),
    ...(module?.staleMs === undefined ? {} : { 'module_cache.stale_ms': module.staleMs }),
  };
}

/** Of what can name a module: a realm that cannot may hold a password. */
function attributesOf(request: Partial<ArtifactRequest> | undefined): Attributes {
  const realm = typeof request?.realm === 'string' ? normalizeRealm(request.realm) : null;
  if (realm === null) return {};
  const { path, kind } = request as Partial<ArtifactRequest>;
  return {
    'module_cache.realm': realm,
    ...(typeof path === 'string'
      ? { 'module_cache.path': path, 'module_cache.kind': kind ?? 'transpile' }
      : {}),
  };
}

const idOf = ({ realm, path, kind = 'transpile', variant = '' }: ArtifactRequest): ArtifactId => ({
  realm: normalizeRealm(realm) ?? realm,
  path,
  kind,
  variant,
});
