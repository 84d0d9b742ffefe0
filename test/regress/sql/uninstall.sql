-- Tables that are tracked are in the way, so that no write to them can fail for want of a function.
create table sources (path text);
select module_cache.track_table('sources', 'https://uninstall.example/', 'path');
\set VERBOSITY terse
drop extension module_cache;
\set VERBOSITY default
select module_cache.untrack_table('sources');
drop table sources;
-- After drop extension nothing of it is left in the database.
drop extension module_cache;
select nspname from pg_namespace where nspname = 'module_cache';
select proname from pg_proc where prosrc like '%module\_cache.%';
select pg_describe_object(d.classid, d.objid, d.objsubid)
from pg_shdepend d
join pg_roles r on d.refclassid = 'pg_authid'::regclass and d.refobjid = r.oid
where d.dbid = (select oid from pg_database where datname = current_database())
  and r.rolname like 'module\_cache\_%';
-- It can come back.
create extension module_cache;
select status from module_cache.get('https://uninstall.example/', 'a.ts');
-- Objects of others that use it are in the way, and go with cascade.
create view people as select body from module_cache.artifacts where canonical_path = 'models/person.ts';
drop extension module_cache;
drop extension module_cache cascade;
select viewname from pg_views where viewname = 'people';
