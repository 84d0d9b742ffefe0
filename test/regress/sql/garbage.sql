-- Garbage collection is invisible but for what it frees.
\set realm '''https://garbage.example/'''
select complete from module_cache.collect_garbage('0 seconds');
select token from module_cache.get(:realm, 'a.ts') \gset
select p.reason
from unnest(array['dead.ts', 'live.ts']) path
cross join module_cache.put(:realm, path, 'transpile', '', 'text', null, '{}', :'token') p;
select * from module_cache.invalidate(:realm, array['dead.ts']);
select * from module_cache.invalidate(:realm, array['never-stored.ts']);
select canonical_path, status from module_cache.artifacts where realm_url = :realm order by canonical_path;
-- Nothing was here an hour ago.
select * from module_cache.collect_garbage('1 hour');
-- All that is dead goes, what is live becomes as new, and the newest of what proves it stays.
select artifacts, renewed, generations > 0 as generations, invalidations > 0 as invalidations, complete
from module_cache.collect_garbage('0 seconds');
select canonical_path, status from module_cache.artifacts where realm_url = :realm order by canonical_path;
select canonical_path from module_cache.tombstones where realm_url = :realm order by canonical_path;
select status, body from module_cache.get(:realm, 'live.ts');
-- The slow writer of before is rejected, although the tombstone of its module is gone.
select * from module_cache.put(:realm, 'dead.ts', 'transpile', '', 'slow', null, '{}', :'token');
-- In batches, the answer says whether there is more.
select token from module_cache.get(:realm, 'a.ts') \gset
select p.reason, count(*)
from generate_series(1, 5) n
cross join module_cache.put(:realm, n || '.ts', 'transpile', '', 'text', null, '{}', :'token') p
group by p.reason;
select module_cache.clear_realm(:realm);
select module_cache.clear_realm('https://elsewhere.example/');
select artifacts, complete from module_cache.collect_garbage('0 seconds', 4);
select artifacts, complete from module_cache.collect_garbage('0 seconds', 4);
select artifacts, complete from module_cache.collect_garbage('0 seconds', 4);
select count(*) from module_cache.artifacts where realm_url = :realm;
