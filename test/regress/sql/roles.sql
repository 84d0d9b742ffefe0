-- Who may do what: nobody anything without one of the roles. Roles belong to the cluster and outlive the extension.
select rolname, rolcanlogin
from pg_roles
where rolname like 'module\_cache\_%'
order by rolname collate "C";
create role regress_module_cache_nobody;
create role regress_module_cache_reader in role module_cache_reader;
create role regress_module_cache_writer in role module_cache_writer;
create role regress_module_cache_operator in role module_cache_operator;
\set realm '''https://roles.example/'''

set role regress_module_cache_nobody;
select * from module_cache.get(:realm, 'a.ts');

set role regress_module_cache_reader;
select status from module_cache.get(:realm, 'a.ts');
select token from module_cache.get(:realm, 'a.ts') \gset
select complete from module_cache.changes_since(null);
select module_cache.is_current(:realm, 'a.ts', 'transpile', '', :'token');
select * from module_cache.put(:realm, 'a.ts', 'transpile', '', 'x', null, '{}', :'token');
select * from module_cache.invalidate(:realm, array['a.ts']);
select module_cache.claim(:realm, 'a.ts', 'transpile', '');

set role regress_module_cache_writer;
select * from module_cache.put(:realm, 'a.ts', 'transpile', '', 'x', null, '{}', :'token');
select module_cache.claim(:realm, 'a.ts', 'transpile', '');
select module_cache.release(:realm, 'a.ts', 'transpile', '');
select * from module_cache.invalidate(:realm, array['a.ts']);
select module_cache.clear_realm(:realm);
select module_cache.clear_all();
select * from module_cache.collect_garbage();
select * from module_cache.artifacts;

set role regress_module_cache_operator;
select module_cache.clear_all();
select canonical_path, status from module_cache.artifacts where realm_url = :realm;
delete from module_cache.artifacts where realm_url = :realm;
select canonical_path from module_cache.tombstones where realm_url = :realm;
select scope from module_cache.invalidations where realm_url = :realm order by scope collate "C", invalidated_at;
-- What is behind the views and functions is nobody's.
select * from module_cache._artifacts;
insert into module_cache._generations values (0, '3');
update module_cache.artifacts set body = 'mine';
delete from module_cache.invalidations;

-- A realm that is closed to all roles but one.
reset role;
create role regress_module_cache_tenant;
grant regress_module_cache_tenant to regress_module_cache_reader;
\set private '''https://roles.example/private/'''
select module_cache.close_realm(:private, 'regress_module_cache_tenant');
set role regress_module_cache_reader;
select status from module_cache.get(:private, 'a.ts');
set role regress_module_cache_operator;
select status from module_cache.get(:private, 'a.ts');
select * from module_cache.private_realms;
select module_cache.open_realm(:private);
reset role;
select * from module_cache.private_realms;
select module_cache.open_realm(:private);
drop role regress_module_cache_tenant;

-- Roles that are made after the extension get their rights from here.
select module_cache.grant_roles();
drop role regress_module_cache_nobody, regress_module_cache_reader, regress_module_cache_writer, regress_module_cache_operator;
