-- The cache as somebody sees it who has nothing but psql.
\set realm '''https://cache.example/'''
\pset null '(null)'
-- A miss hands out a token, which is what put asks for.
select status, body, headers, dependency_keys, generation, token is not null as has_token, expires_in
from module_cache.get(:realm, 'models/person.ts');
select token from module_cache.get(:realm, 'models/person.ts') \gset
select * from module_cache.put(:realm, 'models/person.ts', 'transpile', '', 'export class Person {}',
  '{"content-type": "text/javascript"}', array['models/address', 'models/name.ts', 'https://other.example/lib/tool.ts'], :'token');
select status, body, headers, dependency_keys, generation, token is not null as has_token, expires_in
from module_cache.get(:realm, 'models/person.ts');
-- Kinds and variants are artifacts of their own.
select status from module_cache.get(:realm, 'models/person.ts', 'definition');
select status from module_cache.get(:realm, 'models/person.ts', 'transpile', 'babel 8');
-- The host of a realm is in any case, the rest is not.
select status from module_cache.get('HTTPS://Cache.Example/', 'models/person.ts');
select status from module_cache.get(:realm, 'models/Person.ts');

-- Invalidating names what it reaches, with and without an extension, and in other realms.
select * from module_cache.invalidate(:realm, array['models/address.ts']) order by canonical_path;
select status, generation is not null as has_generation from module_cache.get(:realm, 'models/person.ts');
-- The token from before has not seen it.
select * from module_cache.put(:realm, 'models/person.ts', 'transpile', '', 'outdated', null, '{}', :'token');
select token from module_cache.get(:realm, 'models/person.ts') \gset
select * from module_cache.put(:realm, 'models/person.ts', 'transpile', '', 'new', null, array['https://other.example/lib/tool'], :'token');
select status, body, headers, generation is not null as has_generation
from module_cache.get(:realm, 'models/person.ts');
select * from module_cache.invalidate('https://other.example/', array['lib/tool.ts', '/is/no/path', '../neither'])
order by realm_url;
select status from module_cache.get(:realm, 'models/person.ts');

-- A whole realm, and what declared a dependency in it.
select token from module_cache.get(:realm, 'models/person.ts') \gset
select * from module_cache.put(:realm, 'models/person.ts', 'transpile', '', 'new', null, array['https://other.example/lib/tool'], :'token');
select * from module_cache.put('https://other.example/', 'lib/tool.ts', 'transpile', '', 'new', null, '{}', :'token');
select * from module_cache.put('https://third.example/', 'index.ts', 'transpile', '', 'new', null, '{}', :'token');
select module_cache.clear_realm('https://other.example/');
select
  (module_cache.get(:realm, 'models/person.ts')).status as importer,
  (module_cache.get('https://other.example/', 'lib/tool.ts')).status as in_realm,
  (module_cache.get('https://third.example/', 'index.ts')).status as elsewhere;
select module_cache.clear_all();
select status from module_cache.get('https://third.example/', 'index.ts');

-- All or nothing: after a rollback nothing has happened.
select token from module_cache.get(:realm, 'a.ts') \gset
select * from module_cache.put(:realm, 'a.ts', 'transpile', '', 'export {}', null, '{}', :'token');
begin;
select * from module_cache.invalidate(:realm, array['a.ts']);
select status, token is not null as has_token from module_cache.get(:realm, 'a.ts');
rollback;
select status, token is not null as has_token from module_cache.get(:realm, 'a.ts');

-- A failure can be kept for a while, so that the next caller does not try again.
select * from module_cache.put(:realm, 'broken.ts', 'definition', '', 'no such module', null, '{}', :'token', '1 hour', true);
select status, body, expires_in between '59 minutes' and '1 hour' as expires_in_an_hour
from module_cache.get(:realm, 'broken.ts', 'definition');
select * from module_cache.put(:realm, 'broken.ts', 'definition', '', 'no such module', null, '{}', :'token', '1 microsecond', true);
select status, body from module_cache.get(:realm, 'broken.ts', 'definition');

-- A read without the body, and what came since.
select token from module_cache.get(:realm, 'a.ts') \gset
select cursor from module_cache.changes_since(null) \gset
select module_cache.is_current(:realm, 'a.ts', 'transpile', '', :'token');
select * from module_cache.invalidate(:realm, array['a.ts', 'b']) order by canonical_path;
select module_cache.is_current(:realm, 'a.ts', 'transpile', '', :'token');
select complete, c.change - 'x' as change
from module_cache.changes_since(:'cursor') s, jsonb_array_elements(s.changes) c (change);
select cursor from module_cache.changes_since(:'cursor') \gset
select complete, changes from module_cache.changes_since(:'cursor');
-- A token of another life of the tables is an answer, not an error.
select complete, changes from module_cache.changes_since(repeat('0', 32) || '-0/1:1:');
select * from module_cache.put(:realm, 'a.ts', 'transpile', '', 'x', null, '{}', repeat('0', 32) || '-0/1:1:');
select * from module_cache.put(:realm, 'a.ts', 'transpile', '', 'x', null, '{}', null);
-- The token of a transaction names it.
select module_cache.coherence_token() ~ '^[0-9a-f]{32}-[0-9a-f]+@[0-9]+$' as is_token;

-- A claim is held once, and by its session.
select module_cache.claim(:realm, 'slow.ts', 'definition', '');
select module_cache.claim(:realm, 'slow.ts', 'definition', '');
select module_cache.release(:realm, 'slow.ts', 'definition', '');
select module_cache.release(:realm, 'slow.ts', 'definition', '');
