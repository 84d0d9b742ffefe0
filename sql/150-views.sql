/*
 * What an operator looks at. The tables behind are private. What lies in a private realm is there only for its members,
 * also for functions in a query, which a security barrier keeps from seeing the rows before that is known.
 */

/*
 * By name, and not as a row: of a row that somebody makes up it would say whether what it claims to depend on was
 * invalidated.
 */
create function module_cache._status(realm_url text, canonical_path text, kind text, variant text) returns text
  language plpgsql stable parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
  set plan_cache_mode to force_generic_plan
as $$
begin
  return (
    select case when not module_cache._is_live(a) then 'dead' when a.is_error then 'error' else 'live' end
    from module_cache._artifacts a
    where a.realm_url = _status.realm_url collate "C"
      and a.canonical_path = _status.canonical_path collate "C"
      and a.kind = _status.kind collate "C"
      and a.variant = _status.variant collate "C"
      and (not exists (select from module_cache._private_realms)
        or not module_cache._is_closed(a.realm_url, a.canonical_path)));
end;
$$;

comment on function module_cache._status(text, text, text, text) is
  'Of a stored artifact live, error or dead; null for one that is not stored, or not for the caller to see.';

/* Kept simple enough that Postgres can delete through it; the trigger on the table does the rest. */
create view module_cache.artifacts with (security_barrier) as
select
  a.realm_url,
  a.canonical_path,
  a.kind,
  a.variant,
  module_cache._status(a.realm_url, a.canonical_path, a.kind, a.variant) collate "default" as status,
  a.generation,
  octet_length(a.body) as bytes,
  a.created_at,
  a.expires_at,
  case
    when exists (select from module_cache._private_realms) then
      module_cache._visible_keys(a.realm_url, a.dependency_keys, a.depends_on) collate "default"
    else a.dependency_keys
  end as dependency_keys,
  a.headers,
  a.body,
  a.put_xid
from module_cache._artifacts a
where not exists (select from module_cache._private_realms) or not module_cache._is_closed(a.realm_url, a.canonical_path)
order by a.realm_url, a.canonical_path, a.kind, a.variant;

comment on view module_cache.artifacts is
  'Every stored artifact. DELETE invalidates: it leaves a tombstone, a generation, a log row and a notification, in the same transaction.';
comment on column module_cache.artifacts.realm_url is 'The realm that owns the module: a URL ending in /.';
comment on column module_cache.artifacts.canonical_path is 'The module: its path in the realm, with its extension.';
comment on column module_cache.artifacts.kind is 'What was made of it: transpile, definition, or a kind of your own.';
comment on column module_cache.artifacts.variant is
  'What must not be mixed within a kind, such as the fingerprint of the compiler and its options.';
comment on column module_cache.artifacts.status is
  'live, error (a live error), or dead: expired, or something that it covers was invalidated.';
comment on column module_cache.artifacts.generation is
  'The transaction that last invalidated its module by the time it was made; null if none was known.';
comment on column module_cache.artifacts.bytes is 'Size of the body.';
comment on column module_cache.artifacts.created_at is 'When it was stored.';
comment on column module_cache.artifacts.expires_at is 'When it is dead in any case; null for never.';
comment on column module_cache.artifacts.dependency_keys is
  'What its producer said it read: modules without their extension, those of other realms with the URL of the realm.';
comment on column module_cache.artifacts.headers is 'What its producer stored beside the body.';
comment on column module_cache.artifacts.body is 'The product itself; of an error what was found out.';
comment on column module_cache.artifacts.put_xid is 'The transaction that stored it.';

create view module_cache.tombstones with (security_barrier) as
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
    where a.realm_url = g.realm_url
      and a.canonical_path = g.canonical_path
      and module_cache._status(a.realm_url, a.canonical_path, a.kind, a.variant) in ('live', 'error'))
  and (not exists (select from module_cache._private_realms) or not module_cache._is_closed(g.realm_url, g.canonical_path))
group by g.realm_url, g.canonical_path
order by max(g.xid) desc, g.realm_url, g.canonical_path;

comment on view module_cache.tombstones is
  'Modules that were invalidated and not produced again: the newest generation that a writer has to have seen.';
comment on column module_cache.tombstones.realm_url is 'The realm that owns the module: a URL ending in /.';
comment on column module_cache.tombstones.canonical_path is 'The module: its path in the realm.';
comment on column module_cache.tombstones.generation is 'The transaction that invalidated it last, as xid in the view invalidations.';
comment on column module_cache.tombstones.invalidated_at is 'When that was; null if the log does not go back that far.';

create view module_cache.invalidations with (security_barrier) as
select
  i.invalidated_at,
  i.xid,
  i.scope,
  i.realm_url,
  v.named_paths,
  cardinality(v.canonical_paths) as modules,
  v.canonical_paths,
  i.ignored,
  i.role_name,
  i.application_name,
  i.client_address,
  i.backend_pid
from module_cache._invalidations i
cross join lateral (
  select p.is_open,
    case
      when p.is_open then i.named_paths
      else module_cache._visible_paths(i.realm_url, i.named_paths) collate "default"
    end as named_paths,
    case
      when p.is_open then i.canonical_paths
      else module_cache._visible_paths(i.realm_url, i.canonical_paths) collate "default"
    end as canonical_paths
  from (select not exists (select from module_cache._private_realms) as is_open) p
) v
where (i.epoch is null
    or i.epoch = (
      select e.epoch
      from module_cache._epochs e
      where e.xmin = e.written_by and e.server_started_at = pg_postmaster_start_time()
      limit 1))
  and (v.is_open or v.canonical_paths <> '{}' or not module_cache._is_closed(i.realm_url, ''))
order by i.xid desc, i.id desc
-- So that nobody, not even its owner, can delete through it.
limit all;

comment on view module_cache.invalidations is
  'The invalidation log since the last garbage collection: what was named, what it reached, and who did it.';
comment on column module_cache.invalidations.invalidated_at is 'When it was called; it took effect when its transaction committed.';
comment on column module_cache.invalidations.xid is 'The transaction, as explain names it. There may be several rows of one.';
comment on column module_cache.invalidations.scope is
  'module: modules of a realm; realm: all of a realm; global: everything.';
comment on column module_cache.invalidations.realm_url is 'Of which realm; null if everything was cleared.';
comment on column module_cache.invalidations.named_paths is 'Paths that the caller named.';
comment on column module_cache.invalidations.modules is
  'How many modules of this realm it reached: those that were named, and all that depend on them. 0 if a realm or everything was cleared.';
comment on column module_cache.invalidations.canonical_paths is 'Which modules those are.';
comment on column module_cache.invalidations.ignored is 'How many of the named paths can name no module.';
comment on column module_cache.invalidations.role_name is 'Role that the session logged in as.';
comment on column module_cache.invalidations.application_name is 'What the session calls itself.';
comment on column module_cache.invalidations.client_address is 'Where the session came from; null through a Unix socket.';
comment on column module_cache.invalidations.backend_pid is
  'The session, as pid in pg_stat_activity; it may be over, and its number given to another.';

create view module_cache.private_realms with (security_barrier) as
select p.realm_url, p.role_name, to_regrole(quote_ident(p.role_name)) is not null as has_role
from module_cache._private_realms p
where module_cache._is_member(p.role_name)
order by p.realm_url
-- So that no condition gets to an index before that.
limit all;

comment on view module_cache.private_realms is
  'Realms that only members of a role may read, of roles that you are a member of. See close_realm.';
comment on column module_cache.private_realms.realm_url is 'Private is all that lies under this URL.';
comment on column module_cache.private_realms.role_name is 'The role whose members may read it.';
comment on column module_cache.private_realms.has_role is
  'False if there is no such role any more: then only the owner of the schema may read it.';

create view module_cache.tracked_tables as
select t.source, t.realm_url, t.path_column, t.realm_column, t.tables, t.problem
from module_cache._tracked_tables() t
order by t.source::text;

comment on view module_cache.tracked_tables is
  'Tables whose changes invalidate, as their triggers say. A problem is what calling track_table again would mend.';
comment on column module_cache.tracked_tables.source is 'The table that track_table was called for.';
comment on column module_cache.tracked_tables.realm_url is
  'The realm of its modules; with a realm_column of the rows that have none.';
comment on column module_cache.tracked_tables.path_column is 'Column with the path of each module.';
comment on column module_cache.tracked_tables.realm_column is 'Column with the realm of each module; null if all are of one.';
comment on column module_cache.tracked_tables.tables is 'The table with its partitions or children.';
comment on column module_cache.tracked_tables.problem is
  'Why changes might be missed, or cost more than they should: call track_table again. Null if all is well.';

/*
 * A peer reports when it has something to say, at most every few seconds, and once a minute if it has not. Where the
 * owner of this function may see all sessions, the heartbeat is seen as well, and with it what must be applied by now.
 */
create function module_cache._peer_reports() returns table (
  name text, status text, behind bigint, lag interval, hit_rate numeric, reads bigint, entries bigint, bytes bigint,
  silent_for interval, version text, since timestamptz, host text, process_id integer, role_name name,
  application_name text, client_address inet, backend_pid integer)
  language plpgsql volatile parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
as $$
declare
  v_epoch constant uuid := (select e.epoch from module_cache._epoch() e);
  v_now constant timestamptz := clock_timestamp();
begin
  return query
    with reports as materialized (
      select distinct on (r.backend_pid)
        r.*,
        h.heard_at,
        v_now - h.heard_at > h.patience as is_silent,
        -- At each heartbeat it asks the log, so it has applied what was there at the last but one.
        case
          when s.state_change is not null and v_now - h.heard_at <= h.patience
            then h.heard_at - r.heartbeat_ms * interval '1 millisecond'
        end as applied_until
      from module_cache._peers r
      left join pg_stat_activity s on s.pid = r.backend_pid
      cross join lateral (
        select
          greatest(r.reported_at, s.state_change) as heard_at,
          case
            when s.state_change is null then interval '3 minutes'
            else greatest(r.heartbeat_ms * interval '3 milliseconds', interval '10 seconds')
          end as patience
      ) h
      where r.epoch = v_epoch and r.backend_pid in (select module_cache._peer_sessions())
      order by r.backend_pid, r.reported_at desc
    ), logged as materialized (
      select i.xid, min(i.invalidated_at) as at
      from module_cache._invalidations i
      where i.xid >= (select min(r.cursor) from reports r) and (i.epoch = v_epoch or i.epoch is null)
      group by i.xid
    ), by_cursor as (
      -- One look at the log for all peers: what stands behind a cursor in it is what that peer had not applied.
      select l.backend_pid, count(l.at) over w as transactions, min(l.at) over w as oldest
      from (
        select r.backend_pid, r.cursor as xid, null as at from reports r where r.cursor is not null
        union all
        select null, g.xid, g.at from logged g
      ) l
      window w as (order by l.xid desc)
    ), by_heartbeat as (
      select l.backend_pid, count(l.logged_at) over w as transactions, min(l.logged_at) over w as oldest
      from (
        select r.backend_pid, r.applied_until as at, null as logged_at from reports r where r.applied_until is not null
        union all
        select null, g.at, g.at from logged g
      ) l
      window w as (order by l.at desc)
    )
    select
      p.name,
      case when p.is_silent then 'silent' when p.broadcast = 'log' then 'polling' else 'listening' end,
      a.behind,
      case a.behind when 0 then '0' else date_trunc('milliseconds', v_now - greatest(c.oldest, b.oldest)) end,
      round(100.0 * p.minute_hits / nullif(p.minute_reads, 0), 1),
      p.minute_reads,
      p.l1_entries,
      p.l1_bytes,
      greatest(date_trunc('milliseconds', v_now - p.heard_at), '0'),
      p.version,
      date_trunc('seconds', p.reported_at - p.uptime_ms * interval '1 millisecond'),
      p.host, p.process_id, p.role_name, p.application_name, p.client_address, p.backend_pid
    from reports p
    left join by_cursor c on c.backend_pid = p.backend_pid
    left join by_heartbeat b on b.backend_pid = p.backend_pid
    cross join lateral (
      select coalesce(least(c.transactions, b.transactions), 0) as behind
    ) a
    order by p.name, p.process_id;
end;
$$;

comment on function module_cache._peer_reports() is 'What the view peers shows.';

create view module_cache.peers as
select
  p.name, p.status, p.behind, p.lag, p.hit_rate, p.reads, p.entries, p.bytes, p.silent_for, p.version, p.since, p.host,
  p.process_id, p.role_name, p.application_name, p.client_address, p.backend_pid
from module_cache._peer_reports() p;

comment on view module_cache.peers is
  'Every process that uses the cache now, as it reported within the last few seconds, or the last minute if it is idle.';
comment on column module_cache.peers.name is 'What it calls itself: the option name, or else its application_name.';
comment on column module_cache.peers.status is
  'listening; polling: it asks the log, by choice; silent: its session is there, but it was not heard for three heartbeats and 10 s.';
comment on column module_cache.peers.behind is
  'Transactions of the log that it may not have applied yet: since its last heartbeat but one, or since its last report where the owner of the schema may not see its session.';
comment on column module_cache.peers.lag is 'How long ago the first of those transactions invalidated; 0 if there is none.';
comment on column module_cache.peers.hit_rate is
  'Of its reads in the minute before its last report, percent that its memory answered; null without any.';
comment on column module_cache.peers.reads is 'Answers from its memory, and questions to the database, in the minute before its last report.';
comment on column module_cache.peers.entries is 'Artifacts in its memory.';
comment on column module_cache.peers.bytes is 'What they take of its memory.';
comment on column module_cache.peers.silent_for is
  'Since its last heartbeat, or since its last report where the owner of the schema may not see its session.';
comment on column module_cache.peers.version is 'Version of the client that it runs.';
comment on column module_cache.peers.since is 'When it opened its cache.';
comment on column module_cache.peers.host is 'Name of the machine, or container, that it runs on.';
comment on column module_cache.peers.process_id is 'Its process there.';
comment on column module_cache.peers.role_name is 'Role that its dedicated connection logged in as.';
comment on column module_cache.peers.application_name is 'What its dedicated connection calls itself.';
comment on column module_cache.peers.client_address is
  'Where its dedicated connection came from; null through a Unix socket.';
comment on column module_cache.peers.backend_pid is 'Session of its dedicated connection, as in pg_stat_activity.';

create function module_cache._named_claims() returns table (
  realm_url text, canonical_path text, kind text, variant text, claimed_at timestamptz, producer text,
  backend_pid integer, waiting text[])
  language plpgsql volatile parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
as $$
begin
  return query
    with locks as materialized (
      select l.lock_key, l.backend_pid, l.is_shared from module_cache._advisory_locks() l
    ), sessions as materialized (
      -- Sessions are given the numbers of those that are gone, whose reports are swept later.
      select distinct on (s.pid) s.pid, coalesce(p.name, nullif(s.application_name, ''), 'session ' || s.pid) as name
      from pg_stat_activity s
      left join module_cache._peers p
        on p.backend_pid = s.pid
        and (s.pid, module_cache._peer_key(s.pid)) in (select l.backend_pid, l.lock_key from locks l)
      order by s.pid, p.reported_at desc nulls last
    ), waits as materialized (
      select l.lock_key, array_agg(w.name order by w.name) as names
      from locks l
      join sessions w on w.pid = l.backend_pid
      where l.is_shared
      group by l.lock_key
    )
    select distinct on (c.claim_key)
      c.realm_url, c.canonical_path, c.kind, c.variant, c.claimed_at, s.name, c.backend_pid, coalesce(w.names, '{}')
    from locks l
    join module_cache._claims c on c.claim_key = l.lock_key and c.backend_pid = l.backend_pid
    join sessions s on s.pid = c.backend_pid
    left join waits w on w.lock_key = module_cache._waiting_key(c.claim_key)
    where not l.is_shared
      and (not exists (select from module_cache._private_realms) or not module_cache._is_closed(c.realm_url, c.canonical_path))
    order by c.claim_key, c.claimed_at desc;
end;
$$;

comment on function module_cache._named_claims() is 'What the view claims shows.';

create view module_cache.claims as
select
  date_trunc('milliseconds', clock_timestamp() - c.claimed_at) as age,
  c.producer,
  c.realm_url,
  c.canonical_path,
  cardinality(c.waiting) as waiting,
  c.kind,
  c.variant,
  c.claimed_at as since,
  c.backend_pid,
  c.waiting as waiting_peers
from module_cache._named_claims() c
order by c.claimed_at;

comment on view module_cache.claims is
  'What is being produced now, by whom, and since when: the lock table, with names. The oldest comes first.';
comment on column module_cache.claims.age is 'For how long.';
comment on column module_cache.claims.producer is 'The peer, or the application_name of a session that is none.';
comment on column module_cache.claims.realm_url is 'The realm that owns the module: a URL ending in /.';
comment on column module_cache.claims.canonical_path is 'The module: its path in the realm.';
comment on column module_cache.claims.waiting is 'Peers that have waited for it for more than a second.';
comment on column module_cache.claims.kind is 'What is made of it: transpile, definition, or a kind of your own.';
comment on column module_cache.claims.variant is 'What must not be mixed within a kind, such as the fingerprint of the compiler.';
comment on column module_cache.claims.since is 'Since when.';
comment on column module_cache.claims.backend_pid is
  'Session of the producer: pg_terminate_backend ends it, and another process takes over.';
comment on column module_cache.claims.waiting_peers is 'Which those are.';

create function module_cache._counted() returns table (
  realm_url text, kind text, artifacts bigint, bytes bigint, hits bigint, misses bigint, productions bigint,
  coalesced bigint, rejected bigint, failures bigint, invalidations bigint, l1_hits bigint, l2_hits bigint,
  production_ms double precision, rejected_by jsonb)
  language plpgsql stable parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
as $$
declare
  v_epoch constant uuid := (select e.epoch from module_cache._epoch() e);
begin
  return query
    with stored as (
      select a.realm_url, a.kind, count(*) as artifacts, sum(octet_length(a.body))::bigint as bytes
      from module_cache._artifacts a
      where a.epoch = v_epoch
      group by 1, 2
    ), done as (
      select
        d.realm_url, d.kind, module_cache._counted_to(sum(d.l1_hits)) as l1_hits,
        module_cache._counted_to(sum(d.l2_hits)) as l2_hits, module_cache._counted_to(sum(d.misses)) as misses,
        module_cache._counted_to(sum(d.productions)) as productions, sum(d.production_ms) as ms,
        module_cache._counted_to(sum(d.failures)) as failures, module_cache._counted_to(sum(d.coalesced)) as coalesced,
        module_cache._counted_to(sum(d.stale)) as stale, module_cache._counted_to(sum(d.other_epoch)) as other_epoch,
        module_cache._counted_to(sum(d.older)) as older, module_cache._counted_to(sum(d.contended)) as contended
      from module_cache._activity d
      where d.epoch = v_epoch
      group by 1, 2
    ), invalidated as (
      select i.realm_url, count(*) as times
      from module_cache._invalidations i
      where (i.epoch = v_epoch or i.epoch is null) and i.scope <> 'global'
      group by 1
    ), known as (
      select s.realm_url, s.kind from stored s
      union
      select d.realm_url, d.kind from done d
      union
      select i.realm_url, null
      from invalidated i
      where i.realm_url not in (select s.realm_url from stored s)
        and not exists (select from done d where d.realm_url = i.realm_url)
    )
    select
      k.realm_url, k.kind, coalesce(s.artifacts, 0), coalesce(s.bytes, 0),
      coalesce(d.l1_hits + d.l2_hits, 0), coalesce(d.misses, 0), coalesce(d.productions, 0), coalesce(d.coalesced, 0),
      coalesce(d.stale + d.other_epoch + d.older + d.contended, 0), coalesce(d.failures, 0), coalesce(i.times, 0),
      coalesce(d.l1_hits, 0), coalesce(d.l2_hits, 0), d.ms,
      jsonb_strip_nulls(jsonb_build_object(
        'stale', nullif(d.stale, 0), 'epoch', nullif(d.other_epoch, 0), 'older', nullif(d.older, 0),
        'contended', nullif(d.contended, 0)))
    from known k
    left join stored s on s.realm_url = k.realm_url and s.kind = k.kind
    left join done d on coalesce(d.realm_url, '') = coalesce(k.realm_url, '') and d.kind = k.kind
    left join invalidated i on i.realm_url = k.realm_url
    where not exists (select from module_cache._private_realms) or not module_cache._is_closed(k.realm_url, '')
    order by 5 desc, 1, 2;
end;
$$;

comment on function module_cache._counted() is 'What the view stats shows.';

create view module_cache.stats as
select
  c.realm_url, c.kind, c.artifacts, c.bytes, c.hits, c.misses, c.productions, c.coalesced, c.rejected, c.failures,
  c.invalidations, c.l1_hits, c.l2_hits, c.production_ms, c.rejected_by
from module_cache._counted() c;

comment on view module_cache.stats is
  'For each realm and kind what is stored, and what all processes, also those that are gone, have reported to have done in this life of the tables.';
comment on column module_cache.stats.realm_url is
  'Null for what is beyond the 1,000 realms and kinds that a process counts apart, or the 2,000 of those that are gone.';
comment on column module_cache.stats.kind is
  'transpile, definition, or a kind of your own; null for a realm of which nothing is known but that it was invalidated.';
comment on column module_cache.stats.artifacts is 'Stored, live or dead.';
comment on column module_cache.stats.bytes is 'Size of their bodies.';
comment on column module_cache.stats.hits is 'Answers from the memory of a process (l1_hits) or from the database (l2_hits).';
comment on column module_cache.stats.misses is 'Reads that found nothing live.';
comment on column module_cache.stats.productions is 'How often something was produced, which took production_ms together.';
comment on column module_cache.stats.coalesced is 'Answers that were the work of another caller or process.';
comment on column module_cache.stats.rejected is 'Products that put did not store; rejected_by says for which reason.';
comment on column module_cache.stats.failures is 'Productions that threw.';
comment on column module_cache.stats.invalidations is
  'Calls that reached the realm, since the log was last collected; the same for each kind.';
comment on column module_cache.stats.l1_hits is 'Answers from the memory of a process.';
comment on column module_cache.stats.l2_hits is 'Answers from the database.';
comment on column module_cache.stats.production_ms is 'Time that the productions took together, in ms; null if nothing was reported.';
comment on column module_cache.stats.rejected_by is
  'How many for each reason of put: stale (invalidated meanwhile), epoch (the database began another life), older, contended (several made the same).';
