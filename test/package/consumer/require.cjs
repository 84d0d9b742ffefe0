// Node has require(esm) from 20.19 and 22.12 on; the dynamic import works everywhere.
async function load(name) {
  return process.features.require_module ? require(name) : import(name);
}

const names = (module) => Object.keys(module).sort();
Promise.all(
  ['', '/transpile', '/definition', '/realm', '/http', '/observe', '/page'].map((name) =>
    load(`pg-module-cache${name}`),
  ),
).then((modules) => console.log(JSON.stringify(modules.map(names))));
