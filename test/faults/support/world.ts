import type { Sql } from 'postgres';

/**
 * What is cached in a run: modules whose sources are rows, a setting for each realm that all its modules read, and one
 * that everything reads. All of them are things with a version. A module is changed with `invalidate`, a setting with
 * `clear_realm` or `clear_all`.
 */
export interface World {
  readonly modules: number;
  readonly things: number;
  readonly global: number;
  realmOf(thing: number): string;
  pathOf(module: number): string;
  settingOf(realm: string): number;
  /** The key by which a module of `realm` declares that it has read this module. */
  keyOf(realm: string, module: number): string;
  /** Everything that is read to make a module: itself, what it imports, and the settings of all their realms. */
  readFor(module: number, imports: readonly number[]): number[];
}

/** The last one lies within the first one's URL: a key cannot tell where its realm ends. */
const REALMS = ['https://one.example/', 'https://two.example/', 'https://one.example/inner/'];

export function createWorld(modules: number): World {
  const realmOf = (thing: number): string =>
    (thing < modules ? REALMS[thing % REALMS.length] : REALMS[thing - modules]) ?? '';
  const pathOf = (module: number): string => `lib${module % 4}/m${module}.ts`;
  const settingOf = (realm: string): number => modules + REALMS.indexOf(realm);
  const global = modules + REALMS.length;
  return {
    modules,
    things: global + 1,
    global,
    realmOf,
    pathOf,
    settingOf,
    keyOf: (realm, module) => {
      const key = pathOf(module).replace('.ts', '');
      return realmOf(module) === realm ? key : `${realmOf(module)}${key}`;
    },
    readFor(module, imports) {
      const all = [module, ...imports];
      return [...new Set([...all, ...all.map((each) => settingOf(realmOf(each))), global])];
    },
  };
}

export async function createTables(sql: Sql): Promise<void> {
  await sql.unsafe(`
    create schema app;
    create table app.sources (thing int primary key, version bigint not null, seq int not null, imports int[] not null);
    create table app.history (thing int, seq int, version bigint not null, imports int[] not null, primary key (thing, seq));
  `);
}

/** The application's own tables. What `history` has in the end is what was committed. */
export async function createSources(
  sql: Sql,
  world: World,
  imports: (module: number) => number[],
): Promise<void> {
  await createTables(sql);
  const rows = Array.from({ length: world.things }, (_, thing) => [
    thing,
    thing < world.modules ? imports(thing) : [],
  ]);
  await sql`
    with rows as (
      select (row->>0)::int as thing, array(select jsonb_array_elements_text(row->1)::int) as imports
      from jsonb_array_elements(${JSON.stringify(rows)}::text::jsonb) row
    ), sources as (
      insert into app.sources select thing, thing, 0, imports from rows
    )
    insert into app.history select thing, 0, thing, imports from rows`;
}
