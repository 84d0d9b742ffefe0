/*
 * What an operator looks at. The tables behind are private.
 */

/* Kept simple enough that Postgres can delete through it; the trigger on the table does the rest. */
create view module_cache.artifacts as
select
  a.realm_url,
  a.canonical_path,
  a.kind,
  a.variant,
  case when not module_cache._is_live(a) then 'dead' when a.is_error then 'error' else 'live' end as status,
  a.generation,
  octet_length(a.body) as bytes,
  a.created_at,
  a.expires_at,
  a.dependency_keys,
  a.headers,
  a.body,
  a.put_xid
from module_cache._artifacts a;

comment on view module_cache.artifacts is
  'Every stored artifact. DELETE invalidates: it leaves a tombstone, a generation, a log row and a notification, in the same transaction.';
comment on column module_cache.artifacts.status is
  'live, error (a live error), or dead: expired, or something that it covers was invalidated.';

create view module_cache.tombstones as
select
  g.realm_url,
  g.canonical_path,
  max(g.xid) as generation,
  (
    select max(i.invalidated_at) from module_cache._invalidations i where i.xid = max(g.xid)
  ) as invalidated_at
from module_cache._generations g
where g.canonical_path is not null
  and (
    g.epoch is null
    or g.epoch = (
      select e.epoch
      from module_cache._epochs e
      where e.xmin = e.written_by and e.server_started_at = pg_postmaster_start_time()
      limit 1))
  and not exists (
    select
    from module_cache._artifacts a
    where a.realm_url = g.realm_url and a.canonical_path = g.canonical_path and module_cache._is_live(a))
group by g.realm_url, g.canonical_path;

comment on view module_cache.tombstones is
  'Modules that were invalidated and not produced again: the newest generation that a writer has to have seen.';

create view module_cache.invalidations as
select
  i.invalidated_at,
  i.xid,
  i.scope,
  i.realm_url,
  i.named_paths,
  cardinality(i.canonical_paths) as modules,
  i.canonical_paths,
  i.ignored,
  i.role_name,
  i.application_name,
  i.client_address,
  i.backend_pid
from module_cache._invalidations i
where i.epoch is null
  or i.epoch = (
    select e.epoch
    from module_cache._epochs e
    where e.xmin = e.written_by and e.server_started_at = pg_postmaster_start_time()
    limit 1)
-- So that nobody, not even its owner, can delete through it.
limit all;

comment on view module_cache.invalidations is
  'The invalidation log since the last garbage collection: what was named, what it reached, and who did it.';

create view module_cache.tracked_tables as
select t.source, t.realm_url, t.path_column, t.realm_column, t.tables, t.problem
from module_cache._tracked_tables() t;

comment on view module_cache.tracked_tables is
  'Tables whose changes invalidate, as their triggers say. A problem is what calling track_table again would mend.';
comment on column module_cache.tracked_tables.tables is 'The table with its partitions or children.';
