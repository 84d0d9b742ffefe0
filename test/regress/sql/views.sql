-- What an operator looks at, and the one thing that can be done through it.
select module_cache.clear_all();
\set realm '''https://views.example/'''
select token from module_cache.get(:realm, 'a.ts') \gset
select p.reason
from (values
  ('a.ts', 'transpile', null::interval, false, '{b}'::text[]),
  ('b.ts', 'transpile', null, false, '{}'),
  ('c.ts', 'definition', '1 hour', true, '{}'),
  ('d.ts', 'transpile', '1 microsecond', false, '{}')
) a (path, kind, expires_in, is_error, keys)
cross join module_cache.put(:realm, a.path, a.kind, '', 'text', '{"etag": "1"}', a.keys, :'token', a.expires_in, a.is_error) p;
select canonical_path, kind, variant, status, bytes, dependency_keys, headers, body,
  expires_at is not null as expires, generation is not null as has_generation
from module_cache.artifacts
where realm_url = :realm
order by canonical_path;

-- DELETE means an invalidation: importers go with it, and a slow writer finds a tombstone.
select cursor from module_cache.changes_since(null) \gset
delete from module_cache.artifacts where realm_url = :realm and canonical_path = 'b.ts';
select canonical_path, status from module_cache.artifacts where realm_url = :realm order by canonical_path;
select * from module_cache.put(:realm, 'b.ts', 'transpile', '', 'slow', null, '{}', :'token');
select canonical_path, generation is not null as has_generation, invalidated_at <= clock_timestamp() as is_past
from module_cache.tombstones
where realm_url = :realm
order by canonical_path;
select scope, i.realm_url, named_paths, modules, (select array_agg(p order by p) from unnest(i.canonical_paths) p) as reached,
  ignored, role_name = session_user as is_me, backend_pid = pg_backend_pid() as is_here
from module_cache.invalidations i
where i.realm_url = :realm;
select complete, c.change ->> 'k' as k, c.change ->> 'r' as r, c.change -> 'm' @> '["a.ts", "b.ts"]' as both
from module_cache.changes_since(:'cursor') s, jsonb_array_elements(s.changes) c (change);

-- A module that is produced again is no tombstone any more.
select token from module_cache.get(:realm, 'a.ts') \gset
select * from module_cache.put(:realm, 'a.ts', 'transpile', '', 'new', null, '{}', :'token');
select canonical_path from module_cache.tombstones where realm_url = :realm order by canonical_path;

-- A DELETE that is rolled back has invalidated nothing.
begin;
delete from module_cache.artifacts where realm_url = :realm;
rollback;
select canonical_path, status from module_cache.artifacts where realm_url = :realm order by canonical_path;
