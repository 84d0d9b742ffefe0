/*
 * A peer is one process that uses the cache. It reports what of the log it still needs, so that garbage collection
 * leaves that alone while the peer lives. Whether it lives is not a matter of clocks: with its report a session takes
 * an advisory lock, which the server frees when the session ends, and which every role can see.
 *
 * A report that is missing, late or false makes nothing wrong: what the floor passes is stale, whoever needed it.
 */

/* Without a key, as _epochs: a restore must be able to copy foreign rows beside ours. Half of each page is kept free,
   so that reports are updated in place. */
create unlogged table module_cache._peers (
  backend_pid integer not null,
  epoch uuid not null,
  needs xid8 not null,
  reported_at timestamptz not null,
  role_name name not null,
  application_name text not null,
  client_address inet,
  name text,
  host text,
  process_id integer,
  version text,
  uptime_ms double precision,
  broadcast text,
  heartbeat_ms double precision,
  cursor xid8,
  l1_entries bigint,
  l1_bytes bigint,
  minute_reads bigint,
  minute_hits bigint
) with (fillfactor = 50);

create index _peers_backend_pid on module_cache._peers (backend_pid);

comment on table module_cache._peers is
  'What each process that uses the cache has last reported. A row counts while its session holds the lock of a peer.';
comment on column module_cache._peers.backend_pid is 'Of the dedicated connection, which alone writes this row.';
comment on column module_cache._peers.needs is
  'The oldest xmin among its cursor and the tokens of its productions; from then on it needs generations and log.';
comment on column module_cache._peers.name is 'What the peer says of itself, as all that follows, for operators.';
comment on column module_cache._peers.uptime_ms is 'Since when its cache is open; its clock may be another one.';
comment on column module_cache._peers.broadcast is 'notify: it listens; log: it only asks the log, at each heartbeat.';
comment on column module_cache._peers.cursor is 'It has applied all invalidations of transactions below, and some of later ones.';
comment on column module_cache._peers.minute_reads is 'Answers from its memory, and questions to the database, in the last minute; and how many of them memory answered.';

create function module_cache._peer_key(backend_pid integer) returns bigint
  language sql immutable parallel safe
begin atomic
  select hashtextextended('module_cache.peer ' || backend_pid, 0);
end;

comment on function module_cache._peer_key(integer) is 'The advisory lock that a peer holds on its dedicated connection.';

create function module_cache._peer_sessions() returns setof integer
  language sql volatile parallel unsafe
begin atomic
  select l.pid
  from pg_locks l
  where l.locktype = 'advisory'
    and l.database = (select d.oid from pg_database d where d.datname = current_database())
    and l.objsubid = 1
    and l.granted
    and (l.classid::bigint << 32 | l.objid::bigint) = module_cache._peer_key(l.pid);
end;

comment on function module_cache._peer_sessions() is 'The sessions of peers that are there.';

/*
 * What peers have done, for operators. Each session adds to rows of its own, so that no two peers ever wait for each
 * other; garbage collection puts those of sessions that are gone together, as session 0. What a process had not
 * reported when it was killed is lost, and nothing is made up for it.
 */
create unlogged table module_cache._activity (
  backend_pid integer not null,
  epoch uuid not null,
  realm_url text collate "C",
  kind text collate "C" not null,
  l1_hits bigint not null,
  l2_hits bigint not null,
  misses bigint not null,
  productions bigint not null,
  production_ms double precision not null,
  failures bigint not null,
  coalesced bigint not null,
  stale bigint not null,
  other_epoch bigint not null,
  older bigint not null,
  contended bigint not null,
  updated_at timestamptz not null
) with (fillfactor = 50, vacuum_truncate = off);

create index _activity_cell on module_cache._activity
  (backend_pid, hashtextextended(kind || ' ' || coalesce(realm_url, ''), 0));

comment on table module_cache._activity is
  'What each session, and in session 0 all that are gone, has served and produced in this life of the tables.';
comment on column module_cache._activity.realm_url is 'Null for all that is beyond what is counted apart.';
comment on column module_cache._activity.production_ms is 'Time that its productions took together.';
comment on column module_cache._activity.stale is 'Products that put did not store, as the other reasons of put beside it.';

/* Whoever may read may report: no count may be so high that adding to it fails, for garbage collection adds them up. */
create function module_cache._counted_to(count numeric) returns bigint
  language sql immutable parallel safe
begin atomic
  select least(greatest(count, 0), 1e15)::bigint;
end;

comment on function module_cache._counted_to(numeric) is 'A count without nulls and negative numbers, below 10^15.';

create function module_cache._add_activity(epoch uuid, backend_pid integer, activity module_cache._activity) returns void
  language plpgsql volatile parallel unsafe
  set search_path to pg_catalog, module_cache, pg_temp
  set plan_cache_mode to force_generic_plan
  set enable_seqscan to off
  set jit to off
as $$
declare
  c_rows constant integer := 2000;
begin
  update module_cache._activity a
  set l1_hits = module_cache._counted_to(a.l1_hits + activity.l1_hits),
      l2_hits = module_cache._counted_to(a.l2_hits + activity.l2_hits),
      misses = module_cache._counted_to(a.misses + activity.misses),
      productions = module_cache._counted_to(a.productions + activity.productions),
      production_ms = least(a.production_ms + activity.production_ms, 1e15),
      failures = module_cache._counted_to(a.failures + activity.failures),
      coalesced = module_cache._counted_to(a.coalesced + activity.coalesced),
      stale = module_cache._counted_to(a.stale + activity.stale),
      other_epoch = module_cache._counted_to(a.other_epoch + activity.other_epoch),
      older = module_cache._counted_to(a.older + activity.older),
      contended = module_cache._counted_to(a.contended + activity.contended),
      updated_at = clock_timestamp()
  where a.ctid = any (array(
    select o.ctid
    from module_cache._activity o
    where o.backend_pid = _add_activity.backend_pid
      and o.epoch = _add_activity.epoch
      and o.realm_url is not distinct from activity.realm_url
      and o.kind = activity.kind
      and hashtextextended(o.kind || ' ' || coalesce(o.realm_url, ''), 0)
        = hashtextextended(activity.kind || ' ' || coalesce(activity.realm_url, ''), 0)
    limit 1
    for update skip locked));
  if found then
    return;
  end if;
  -- A peer counts fewer apart, so what is beyond is no peer's doing, or that of years of realms that came and went.
  if (activity.realm_url is not null or activity.kind <> 'any')
    and c_rows <= (
      select count(*) from (select from module_cache._activity o where o.backend_pid = _add_activity.backend_pid limit c_rows) o)
  then
    activity.realm_url := null;
    activity.kind := 'any';
    perform module_cache._add_activity(epoch, backend_pid, activity);
    return;
  end if;
  activity.backend_pid := backend_pid;
  activity.epoch := epoch;
  activity.updated_at := clock_timestamp();
  insert into module_cache._activity select activity.*;
end;
$$;

comment on function module_cache._add_activity(uuid, integer, module_cache._activity) is
  'Adds to the row of a session, realm and kind, or of all others, if the session has too many.';

create function module_cache._report_activity(epoch uuid, activity jsonb) returns void
  language plpgsql volatile parallel unsafe
  set search_path to pg_catalog, module_cache, pg_temp
as $$
declare
  v_entry jsonb;
  v_activity module_cache._activity;
begin
  for v_entry in
    select e.entry from jsonb_array_elements(activity) e (entry)
  loop
    if (jsonb_typeof(v_entry->'counts') = 'object' and jsonb_typeof(v_entry->'kind') = 'string') is not true then
      perform module_cache._raise('MC003', 'not what a peer can have done', format('entry: %s', left(v_entry::text, 200)),
        'Pass objects with realm, kind and counts.');
    end if;
    v_activity := jsonb_populate_record(null::module_cache._activity, v_entry->'counts');
    v_activity.realm_url := module_cache._realm(v_entry->>'realm');
    v_activity.kind := left(v_entry->>'kind', 64);
    v_activity.l1_hits := module_cache._counted_to(v_activity.l1_hits);
    v_activity.l2_hits := module_cache._counted_to(v_activity.l2_hits);
    v_activity.misses := module_cache._counted_to(v_activity.misses);
    v_activity.productions := module_cache._counted_to(v_activity.productions);
    v_activity.production_ms := least(greatest(v_activity.production_ms, 0), 1e15);
    v_activity.failures := module_cache._counted_to(v_activity.failures);
    v_activity.coalesced := module_cache._counted_to(v_activity.coalesced);
    v_activity.stale := module_cache._counted_to(v_activity.stale);
    v_activity.other_epoch := module_cache._counted_to(v_activity.other_epoch);
    v_activity.older := module_cache._counted_to(v_activity.older);
    v_activity.contended := module_cache._counted_to(v_activity.contended);
    perform module_cache._add_activity(epoch, pg_backend_pid(), v_activity);
  end loop;
end;
$$;

comment on function module_cache._report_activity(uuid, jsonb) is
  'Adds what this session has served and produced since it last said so.';

/* It waits for nobody: the connection that reports also listens, and asks the log. */
create function module_cache._report_peer(needs text, about jsonb, activity jsonb default '[]') returns boolean
  language plpgsql volatile parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
  set lock_timeout to '100ms'
as $$
declare
  v_key constant bigint := module_cache._peer_key(pg_backend_pid());
  v_epoch uuid;
  v_peer module_cache._peers;
begin
  if needs is null or needs !~ '^[0-9a-f]{32}-[0-9a-f]{1,16}@[0-9]{1,20}$' then
    perform module_cache._raise('MC002', 'not a token', format('needs: %L', left(needs, 200)),
      'Pass the life of a token, "@" and a transaction id.');
  end if;
  -- Before Postgres 16 any text can be read as a transaction id.
  if (jsonb_typeof(about) = 'object' and octet_length(about::text) <= 8000
      and coalesce(about->>'cursor' ~ '^[0-9]{1,20}$', true)) is not true
  then
    perform module_cache._raise('MC003', 'not what a peer can say of itself', format('bytes: %s', octet_length(about::text)),
      'Pass a JSON object of at most 8,000 bytes, whose cursor is a transaction id.');
  end if;
  if (jsonb_typeof(activity) = 'array' and jsonb_array_length(activity) <= 100
      and octet_length(activity::text) <= 500000) is not true
  then
    perform module_cache._raise('MC003', 'not what a peer can have done', format('bytes: %s', octet_length(activity::text)),
      'Pass a JSON array of at most 100 realms and kinds.');
  end if;
  select e.epoch into v_epoch from module_cache._epoch() e where e.life = split_part(needs, '@', 1);
  if v_epoch is null or not (module_cache._holds_claim(v_key) or pg_try_advisory_lock(v_key)) then
    return false;
  end if;
  v_peer := jsonb_populate_record(null::module_cache._peers, about);
  -- Whatever it says, an operator can still read what all others say.
  v_peer.uptime_ms := least(greatest(v_peer.uptime_ms, 0), 1e13);
  v_peer.heartbeat_ms := least(greatest(v_peer.heartbeat_ms, 0), 1e9);
  v_peer.minute_reads := module_cache._counted_to(v_peer.minute_reads);
  v_peer.minute_hits := least(module_cache._counted_to(v_peer.minute_hits), v_peer.minute_reads);
  v_peer.backend_pid := pg_backend_pid();
  v_peer.epoch := v_epoch;
  v_peer.needs := split_part(_report_peer.needs, '@', 2)::xid8;
  v_peer.reported_at := clock_timestamp();
  v_peer.role_name := session_user;
  v_peer.application_name := current_setting('application_name');
  v_peer.client_address := inet_client_addr();
  update module_cache._peers p
  set (epoch, needs, reported_at, role_name, application_name, client_address, name, host, process_id, version,
      uptime_ms, broadcast, heartbeat_ms, cursor, l1_entries, l1_bytes, minute_reads, minute_hits)
    = (v_peer.epoch, v_peer.needs, v_peer.reported_at, v_peer.role_name, v_peer.application_name, v_peer.client_address,
      v_peer.name, v_peer.host, v_peer.process_id, v_peer.version, v_peer.uptime_ms, v_peer.broadcast,
      v_peer.heartbeat_ms, v_peer.cursor, v_peer.l1_entries, v_peer.l1_bytes, v_peer.minute_reads, v_peer.minute_hits)
  where p.ctid = any (array(
    select o.ctid from module_cache._peers o where o.backend_pid = pg_backend_pid() for update skip locked));
  if not found then
    insert into module_cache._peers select v_peer.*;
  end if;
  perform module_cache._report_activity(v_epoch, activity);
  return true;
end;
$$;

comment on function module_cache._report_peer(text, jsonb, jsonb) is
  'Says on the dedicated connection of a peer what it still needs (life@xid), what it is, and what it has done since its last report. False if that is of another life. Raises MC002 and MC003.';

/*
 * A lock of the session, because the peer that collects does so in many short transactions. A process that hangs keeps
 * its session, and with it this lock: when nothing was collected for a while, whoever comes stands in.
 */
create function module_cache._collector_key() returns bigint
  language sql immutable parallel safe
begin atomic
  select hashtextextended('module_cache.collector', 0);
end;

comment on function module_cache._collector_key() is 'The advisory lock of the one peer that collects garbage.';

create function module_cache._elect_collector(patience interval) returns boolean
  language plpgsql volatile parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
  set lock_timeout to '100ms'
as $$
begin
  return module_cache._holds_claim(module_cache._collector_key())
    or pg_try_advisory_lock(module_cache._collector_key())
    or not exists (
      select
      from module_cache._snapshots s
      join module_cache._epoch() e on e.epoch = s.epoch
      where s.taken_at > clock_timestamp() - patience);
end;
$$;

comment on function module_cache._elect_collector(interval) is
  'True if this session is the one that collects garbage for the fleet, until it ends or resigns, or if that one has not collected for so long. Never waits.';

create function module_cache._resign_collector() returns void
  language plpgsql volatile parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
as $$
begin
  if module_cache._holds_claim(module_cache._collector_key()) then
    perform pg_advisory_unlock(module_cache._collector_key());
  end if;
end;
$$;

comment on function module_cache._resign_collector() is 'Lets another session collect.';
