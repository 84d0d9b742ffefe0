/* A peer in a process of its own, told by its parent what to do. TEST_DIST names another build to test. */
const { openModuleCache } = await import(`${process.env.TEST_DIST ?? '../../../dist'}/index.js`);

let cache;
const works = new Map();

/** `how` is what the producer does: `gated` works until told to finish, `hang` for ever, anything else is the body. */
const producer =
  (how) =>
  ({ signal }) => {
    process.send({ type: 'producing', how, pid: process.pid });
    if (how === 'hang') return new Promise(() => {});
    if (how !== 'gated') return { body: how };
    return new Promise((resolve, reject) => {
      works.set('gated', { resolve, reject });
      signal.addEventListener('abort', () => process.send({ type: 'aborted' }));
    });
  };

const commands = {
  async open({ options }) {
    cache = await openModuleCache(options);
    cache.events.on('miss', () => process.send({ type: 'missed' }));
    process.send({ type: 'opened' });
  },
  async ask({ id, request, how, read }) {
    const began = performance.now();
    const answer = await cache.getOrProduce(request, producer(how), read).then(
      (module) => ({ module }),
      ({ name, code, message }) => ({ error: { name, code, message } }),
    );
    process.send({ type: 'answer', id, ...answer, ms: performance.now() - began });
  },
  finish({ product }) {
    works.get('gated').resolve(product);
  },
  fail({ message, code }) {
    works.get('gated').reject(Object.assign(new Error(message), { code }));
  },
  /** Looks into memory at every turn of the event loop, and tells what it finds when that changes. */
  watch({ request }) {
    let seen;
    const look = () => {
      const body = cache.peek(request)?.body ?? null;
      if (body !== seen) process.send({ type: 'seen', body, at: Date.now() });
      seen = body;
      setImmediate(look).unref();
    };
    look();
  },
  peek({ request }) {
    process.send({ type: 'peeked', body: cache.peek(request)?.body ?? null });
  },
  async close() {
    await cache.close();
    process.send({ type: 'closed' });
    // The channel to the parent is the last thing that may keep this process alive.
    process.disconnect();
  },
};

process.on('message', ({ command, ...rest }) => {
  Promise.resolve(commands[command](rest)).catch((error) => {
    process.send({ type: 'failed', message: `${command}: ${error.stack}` });
  });
});
process.send({ type: 'ready' });
