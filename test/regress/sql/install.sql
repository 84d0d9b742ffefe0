-- What create extension brings, as far as it is public: names that start with an underscore may change at any time.
create extension module_cache;
select e.extversion = a.default_version as is_newest, e.extversion = module_cache.schema_version() as is_schema_version
from pg_extension e
join pg_available_extensions a on a.name = e.extname
where e.extname = 'module_cache';
-- It keeps to its own schema. (Triggers and types of tables are no members: they belong to their tables.)
create view members as
select d.classid, d.objid, o.type, o.schema, o.identity
from pg_depend d, pg_identify_object(d.classid, d.objid, d.objsubid) o
where d.refclassid = 'pg_extension'::regclass
  and d.refobjid = (select e.oid from pg_extension e where e.extname = 'module_cache')
  and d.deptype = 'e';
select type, identity
from members
where type <> 'schema' and coalesce(schema, '') <> 'module_cache';
\pset format unaligned
select p.proname collate "C" as function, pg_get_function_arguments(p.oid) as arguments, pg_get_function_result(p.oid) as result
from members m
join pg_proc p on p.oid = m.objid
where m.classid = 'pg_proc'::regclass and p.proname not like '\_%'
order by 1, 2;
\pset format aligned
select c.relname collate "C" as relation, c.relkind as kind
from members m
join pg_class c on c.oid = m.objid
where m.classid = 'pg_class'::regclass and c.relname not like '\_%'
order by 1;
select t.typname collate "C" as type, a.attname as attribute, format_type(a.atttypid, a.atttypmod)
from pg_type t
join pg_class c on c.oid = t.typrelid and c.relkind = 'c'
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
where t.typnamespace = 'module_cache'::regnamespace
order by 1, a.attnum;
-- What is public has a comment: \df+ and \d+ are the manual.
select m.identity
from members m
where obj_description(m.objid, m.classid::regclass::name) is null
  and m.identity not like 'module\_cache.\_%'
  and m.type <> 'type';
-- A dump of the database carries what is private along.
select r.relation::regclass from pg_extension e, unnest(e.extconfig) r (relation) where e.extname = 'module_cache';
drop view members;
