/* One process of a fleet under load: it serves the modules of a small app at random, until it is told otherwise. */
const { openModuleCache } = await import('../../../dist/index.js');

const REALM = 'https://app.example/';
const [, , name, connection, listenConnection] = process.argv;
const imports = {
  'app.ts': ['models/person', 'models/team', 'ui/button'],
  'models/person.ts': ['models/base'],
  'models/team.ts': ['models/person'],
  'models/base.ts': [],
  'ui/button.ts': ['ui/theme'],
  'ui/theme.ts': [],
  'broken.ts': [],
};
const paths = Object.keys(imports);

const cache = await openModuleCache({ connection, listenConnection, name });
cache.events.on('warning', () => {});

const produce = (path) => async () => {
  await new Promise((resolve) => setTimeout(resolve, 5 + Math.random() * 20));
  if (path === 'broken.ts') return { body: 'Unexpected token (3:14)', isError: true };
  return { body: `/* ${path} */ `.repeat(5 + path.length * 20), dependencyKeys: imports[path] };
};
let working = true;
async function work() {
  while (working) {
    const path = paths[Math.floor(Math.random() * paths.length)];
    await cache.getOrProduce({ realm: REALM, path }, produce(path)).catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
work();

const commands = {
  /** A module that takes long. */
  slow: () =>
    cache
      .getOrProduce({ realm: REALM, path: 'report.ts', kind: 'definition' }, () => new Promise(() => {}))
      .catch(() => {}),
  async fail() {
    await cache
      .getOrProduce({ realm: REALM, path: 'plugin.ts' }, () => Promise.reject(new Error('the plugin threw')))
      .catch(() => {});
  },
  /** Its source changes while it is being produced. */
  async inVain() {
    await cache.getOrProduce({ realm: REALM, path: 'draft.ts' }, async () => {
      await cache.invalidate(REALM, ['draft.ts']);
      return { body: 'old' };
    });
  },
  async close() {
    working = false;
    await cache.close();
    process.disconnect();
  },
};
process.on('message', ({ command }) => {
  Promise.resolve(commands[command]()).then(() => process.send({ type: 'done', command }));
});
process.send({ type: 'ready' });
