-- types

type module (realm_url text, canonical_path text);

-- tables

logged table _private_realms (
  realm_url text collate "C" not null,
  role_name name not null,
  salt uuid not null,
  realm_hash bigint not null default module_cache._realm_hash(realm_url),
  index_hash bigint not null default module_cache._module_hash(realm_url, 'index'::text)
) with (vacuum_truncate=off);

unlogged table _activity (
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
  updated_at timestamp with time zone not null
) with (fillfactor=50, vacuum_truncate=off);

unlogged table _artifacts (
  realm_url text collate "C" not null,
  canonical_path text collate "C" not null,
  kind text collate "C" not null,
  variant text collate "C" not null,
  body text not null,
  headers jsonb not null,
  dependency_keys text[] not null,
  is_error boolean not null,
  generation xid8,
  epoch uuid not null,
  snapshot pg_snapshot not null,
  put_xid xid8 not null,
  module_hash bigint not null,
  realm_hash bigint not null,
  depends_on bigint[] not null,
  created_at timestamp with time zone not null,
  expires_at timestamp with time zone
);

unlogged table _claims (
  claim_key bigint not null,
  backend_pid integer not null,
  realm_url text collate "C" not null,
  canonical_path text collate "C" not null,
  kind text collate "C" not null,
  variant text collate "C" not null,
  claimed_at timestamp with time zone not null
) with (vacuum_truncate=off);

unlogged table _epochs (
  epoch uuid not null,
  life text collate "C" not null,
  written_by xid not null,
  system_identifier bigint not null,
  server_started_at timestamp with time zone not null
);

unlogged table _floors (
  epoch uuid not null,
  floor xid8 not null
);

unlogged table _generations (
  key bigint not null,
  xid xid8 not null,
  epoch uuid,
  realm_url text collate "C",
  canonical_path text collate "C"
);

unlogged table _invalidations (
  id bigint not null generated always as identity,
  xid xid8 not null,
  epoch uuid,
  scope text not null,
  realm_url text collate "C",
  named_paths text[] not null default '{}'::text[],
  canonical_paths text[] not null default '{}'::text[],
  ignored bigint not null default 0,
  invalidated_at timestamp with time zone not null default clock_timestamp(),
  role_name name not null default SESSION_USER,
  application_name text not null default current_setting('application_name'::text),
  client_address inet default inet_client_addr(),
  backend_pid integer not null default pg_backend_pid()
);

unlogged table _peers (
  backend_pid integer not null,
  epoch uuid not null,
  needs xid8 not null,
  reported_at timestamp with time zone not null,
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
) with (fillfactor=50);

unlogged table _snapshots (
  epoch uuid not null,
  taken_at timestamp with time zone not null,
  oldest_running xid8 not null
);

-- constraints

module_cache._artifacts: _artifacts_pkey PRIMARY KEY (realm_url, canonical_path, kind, variant);

module_cache._private_realms: _private_realms_pkey PRIMARY KEY (realm_url);

-- indexes

CREATE INDEX _activity_cell ON module_cache._activity USING btree (backend_pid, hashtextextended(((kind || ' '::text) || COALESCE(realm_url, ''::text)), (0)::bigint));

CREATE INDEX _artifacts_depends_on ON module_cache._artifacts USING gin (depends_on) WITH (fastupdate=off);

CREATE INDEX _artifacts_epoch_xmin ON module_cache._artifacts USING btree (epoch, pg_snapshot_xmin(snapshot));

CREATE INDEX _artifacts_expires_at ON module_cache._artifacts USING btree (expires_at) WHERE (expires_at IS NOT NULL);

CREATE INDEX _artifacts_module_hash ON module_cache._artifacts USING btree (module_hash);

CREATE INDEX _claims_claim_key ON module_cache._claims USING btree (claim_key);

CREATE INDEX _generations_key_xid ON module_cache._generations USING btree (key, xid);

CREATE INDEX _invalidations_xid ON module_cache._invalidations USING btree (xid);

CREATE INDEX _peers_backend_pid ON module_cache._peers USING btree (backend_pid);

CREATE INDEX _private_realms_index_hash ON module_cache._private_realms USING btree (index_hash);

CREATE INDEX _private_realms_realm_hash ON module_cache._private_realms USING btree (realm_hash);

CREATE UNIQUE INDEX _artifacts_pkey ON module_cache._artifacts USING btree (realm_url, canonical_path, kind, variant);

CREATE UNIQUE INDEX _private_realms_pkey ON module_cache._private_realms USING btree (realm_url);

-- views

view artifacts as
 SELECT realm_url,
    canonical_path,
    kind,
    variant,
    (module_cache._status(realm_url, canonical_path, kind, variant) COLLATE "default") AS status,
    generation,
    octet_length(body) AS bytes,
    created_at,
    expires_at,
        CASE
            WHEN (EXISTS ( SELECT
               FROM module_cache._private_realms)) THEN (module_cache._visible_keys(realm_url, dependency_keys, depends_on) COLLATE "default")
            ELSE dependency_keys
        END AS dependency_keys,
    headers,
    body,
    put_xid
   FROM module_cache._artifacts a
  WHERE ((NOT (EXISTS ( SELECT
           FROM module_cache._private_realms))) OR (NOT module_cache._is_closed(realm_url, canonical_path)))
  ORDER BY realm_url, canonical_path, kind, variant;

view claims as
 SELECT date_trunc('milliseconds'::text, (clock_timestamp() - claimed_at)) AS age,
    producer,
    realm_url,
    canonical_path,
    cardinality(waiting) AS waiting,
    kind,
    variant,
    claimed_at AS since,
    backend_pid,
    waiting AS waiting_peers
   FROM module_cache._named_claims() c(realm_url, canonical_path, kind, variant, claimed_at, producer, backend_pid, waiting)
  ORDER BY claimed_at;

view invalidations as
 SELECT i.invalidated_at,
    i.xid,
    i.scope,
    i.realm_url,
    v.named_paths,
    cardinality(v.canonical_paths) AS modules,
    v.canonical_paths,
    i.ignored,
    i.role_name,
    i.application_name,
    i.client_address,
    i.backend_pid
   FROM (module_cache._invalidations i
     CROSS JOIN LATERAL ( SELECT p.is_open,
                CASE
                    WHEN p.is_open THEN i.named_paths
                    ELSE (module_cache._visible_paths(i.realm_url, i.named_paths) COLLATE "default")
                END AS named_paths,
                CASE
                    WHEN p.is_open THEN i.canonical_paths
                    ELSE (module_cache._visible_paths(i.realm_url, i.canonical_paths) COLLATE "default")
                END AS canonical_paths
           FROM ( SELECT (NOT (EXISTS ( SELECT
                           FROM module_cache._private_realms))) AS is_open) p) v)
  WHERE (((i.epoch IS NULL) OR (i.epoch = ( SELECT e.epoch
           FROM module_cache._epochs e
          WHERE ((e.xmin = e.written_by) AND (e.server_started_at = pg_postmaster_start_time()))
         LIMIT 1))) AND (v.is_open OR (v.canonical_paths <> '{}'::text[]) OR (NOT module_cache._is_closed(i.realm_url, ''::text))))
  ORDER BY i.xid DESC, i.id DESC
 LIMIT ALL;

view peers as
 SELECT name,
    status,
    behind,
    lag,
    hit_rate,
    reads,
    entries,
    bytes,
    silent_for,
    version,
    since,
    host,
    process_id,
    role_name,
    application_name,
    client_address,
    backend_pid
   FROM module_cache._peer_reports() p(name, status, behind, lag, hit_rate, reads, entries, bytes, silent_for, version, since, host, process_id, role_name, application_name, client_address, backend_pid);

view private_realms as
 SELECT realm_url,
    role_name,
    (to_regrole(quote_ident((role_name)::text)) IS NOT NULL) AS has_role
   FROM module_cache._private_realms p
  WHERE module_cache._is_member(role_name)
  ORDER BY realm_url
 LIMIT ALL;

view stats as
 SELECT realm_url,
    kind,
    artifacts,
    bytes,
    hits,
    misses,
    productions,
    coalesced,
    rejected,
    failures,
    invalidations,
    l1_hits,
    l2_hits,
    production_ms,
    rejected_by
   FROM module_cache._counted() c(realm_url, kind, artifacts, bytes, hits, misses, productions, coalesced, rejected, failures, invalidations, l1_hits, l2_hits, production_ms, rejected_by);

view tombstones as
 SELECT realm_url,
    canonical_path,
    max(xid) AS generation,
    ( SELECT max(i.invalidated_at) AS max
           FROM module_cache._invalidations i
          WHERE (i.xid = max(g.xid))) AS invalidated_at
   FROM module_cache._generations g
  WHERE ((canonical_path IS NOT NULL) AND ((epoch IS NULL) OR (epoch = ( SELECT e.epoch
           FROM module_cache._epochs e
          WHERE ((e.xmin = e.written_by) AND (e.server_started_at = pg_postmaster_start_time()))
         LIMIT 1))) AND (NOT (EXISTS ( SELECT
           FROM module_cache._artifacts a
          WHERE ((a.realm_url = g.realm_url) AND (a.canonical_path = g.canonical_path) AND (module_cache._status(a.realm_url, a.canonical_path, a.kind, a.variant) = ANY (ARRAY['live'::text, 'error'::text])))))) AND ((NOT (EXISTS ( SELECT
           FROM module_cache._private_realms))) OR (NOT module_cache._is_closed(realm_url, canonical_path))))
  GROUP BY realm_url, canonical_path
  ORDER BY (max(xid)) DESC, realm_url, canonical_path;

view tracked_tables as
 SELECT source,
    realm_url,
    path_column,
    realm_column,
    tables,
    problem
   FROM module_cache._tracked_tables() t(source, realm_url, path_column, realm_column, tables, problem)
  ORDER BY (source)::text;

-- functions

CREATE OR REPLACE FUNCTION module_cache._add_activity(epoch uuid, backend_pid integer, activity module_cache._activity)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET jit TO 'off'
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION module_cache._advisory_locks()
 RETURNS TABLE(lock_key bigint, backend_pid integer, is_shared boolean)
 LANGUAGE sql
BEGIN ATOMIC
 SELECT (((l.classid)::bigint << 32) | (l.objid)::bigint),
     l.pid,
     (l.mode = 'ShareLock'::text)
    FROM pg_locks l
   WHERE ((l.locktype = 'advisory'::text) AND (l.database = ( SELECT d.oid
            FROM pg_database d
           WHERE (d.datname = current_database()))) AND (l.objsubid = 1) AND l.granted);
END;

CREATE OR REPLACE FUNCTION module_cache._after_realm(realm_url text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
 SELECT (("left"(realm_url, '-1'::integer) || '0'::text) COLLATE "C");
END;

CREATE OR REPLACE FUNCTION module_cache._broadcast(scope text, realm_url text, canonical_paths text[], xid xid8)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
declare
  v_payload text;
begin
  if not module_cache._may_notify() then
    return;
  end if;
  -- Everybody who may log in hears it.
  if scope = 'closed'
    or exists (select from module_cache._private_realms) and module_cache._names_private(realm_url, canonical_paths)
  then
    perform pg_notify('module_cache_invalidated', module_cache._payload('log', null, null, xid));
    return;
  end if;
  if scope <> 'module' or cardinality(canonical_paths) <= 100 then
    v_payload := module_cache._payload(scope, realm_url, canonical_paths, xid);
    if octet_length(v_payload) <= 7000 then
      perform pg_notify('module_cache_invalidated', v_payload);
      return;
    end if;
  end if;
  perform module_cache._broadcast_in_parts(scope, realm_url, canonical_paths, xid);
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._broadcast_in_parts(scope text, realm_url text, canonical_paths text[], xid xid8)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
declare
  c_limit constant integer := 7000;
  c_parts constant integer := 6;
  v_payloads text[] := '{}';
  v_payload text;
  v_part text[] := '{}';
  v_base constant integer := octet_length(module_cache._payload(scope, realm_url, '{}', xid));
  v_part_bytes integer := v_base;
  v_path text;
  v_bytes integer;
begin
  foreach v_path in array canonical_paths loop
    v_bytes := octet_length(to_json(v_path)::text) + 1;
    if v_part_bytes + v_bytes > c_limit then
      v_payloads := v_payloads || module_cache._payload(scope, realm_url, v_part, xid);
      v_part := '{}';
      v_part_bytes := v_base;
    end if;
    exit when v_part_bytes + v_bytes > c_limit or cardinality(v_payloads) >= c_parts;
    v_part := v_part || v_path;
    v_part_bytes := v_part_bytes + v_bytes;
  end loop;
  if v_part = '{}' then
    perform pg_notify('module_cache_invalidated', module_cache._payload('log', null, null, xid));
    return;
  end if;
  v_payloads := v_payloads || module_cache._payload(scope, realm_url, v_part, xid);
  foreach v_payload in array v_payloads loop
    perform pg_notify('module_cache_invalidated', v_payload);
  end loop;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._caller()
 RETURNS name
 LANGUAGE sql
 STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
 SELECT COALESCE((NULLIF(current_setting('role'::text), 'none'::text))::name, SESSION_USER) AS "coalesce";
END;

CREATE OR REPLACE FUNCTION module_cache._claim_key(realm_url text, canonical_path text, kind text, variant text)
 RETURNS bigint
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
declare
  v_realm constant text := module_cache._require_artifact(realm_url, canonical_path, kind, variant);
  v_salt uuid;
begin
  if exists (select from module_cache._private_realms) then
    perform module_cache._privacy(v_realm, canonical_path);
    v_salt := (module_cache._private_realm(v_realm || canonical_path)).salt;
  end if;
  -- With two lengths, so that names which run into each other are told apart.
  return hashtextextended(
    concat_ws(' ', length(canonical_path), length(kind), v_realm, canonical_path, kind, variant, v_salt) collate "C", 3);
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._clear(scope text, key bigint, realm_url text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
AS $function$
declare
  v_epoch uuid;
  v_xid constant xid8 := pg_current_xact_id();
  v_lock_timeout constant text := current_setting('lock_timeout');
  v_is_hurried constant boolean := module_cache._has_short_lock_timeout();
begin
  if v_is_hurried then
    perform set_config('lock_timeout', '1s', true);
  end if;
  select e.epoch into v_epoch from module_cache._epoch() e;
  insert into module_cache._generations (key, xid, epoch, realm_url) values (key, v_xid, v_epoch, realm_url);
  -- Who declared the folder that is this realm, without its final slash, means its index.
  insert into module_cache._generations (key, xid, epoch, realm_url)
  select module_cache._module_hash(realm_url, 'index'), v_xid, v_epoch, realm_url
  where realm_url collate "C" ~ '^[^:]*://[^/]*/.';
  insert into module_cache._invalidations (xid, epoch, scope, realm_url) values (v_xid, v_epoch, scope, realm_url);
  if v_is_hurried then
    perform set_config('lock_timeout', v_lock_timeout, true);
  end if;
  perform module_cache._broadcast(scope, realm_url, null, v_xid);
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._clear_sources(realm_url text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
declare
  v_realm constant text := module_cache._realm(realm_url);
begin
  if v_realm is null then
    perform module_cache._clear('global', module_cache._global_hash(), null);
  else
    perform module_cache._clear('realm', module_cache._realm_hash(v_realm), v_realm);
  end if;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._collect(epoch uuid, keep interval, keep_at_most interval, batch integer, is_lazy boolean, OUT artifacts bigint, OUT renewed bigint, OUT generations bigint, OUT invalidations bigint, OUT complete boolean)
 RETURNS record
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET jit TO 'off'
AS $function$
declare
  v_snapshot constant pg_snapshot := module_cache._snapshot();
  v_limit xid8;
  v_floor xid8 := module_cache._floor(epoch);
  v_next_floor xid8;
  v_rows tid[];
begin
  -- For the trigger on deleted artifacts. Not a SET clause of this function: only a superuser could create that.
  perform set_config('module_cache.collecting', 'on', true);
  perform module_cache._record_snapshot(epoch, pg_snapshot_xmin(v_snapshot));
  select max(s.oldest_running) into v_limit
  from module_cache._snapshots s
  where s.epoch = _collect.epoch and s.taken_at <= clock_timestamp() - keep;
  if v_limit is not null then
    select
      greatest(
        least(
          v_limit,
          (
            select min(p.needs)
            from module_cache._peers p
            where p.epoch = _collect.epoch and p.backend_pid in (select module_cache._peer_sessions())
          )),
        max(s.oldest_running))
    into v_limit
    from module_cache._snapshots s
    where s.epoch = _collect.epoch and s.taken_at <= clock_timestamp() - keep_at_most;
  end if;
  -- Not what was reported right now, perhaps by a session that has just been given the number of one that is gone.
  delete from module_cache._peers p
  where p.ctid = any (array(
    select d.ctid
    from module_cache._peers d
    where (d.epoch <> _collect.epoch or d.backend_pid not in (select module_cache._peer_sessions()))
      and d.reported_at < clock_timestamp() - interval '1 minute'
    for update skip locked));
  perform module_cache._sweep_reports(epoch);

  -- No higher than there is something to collect: artifacts on a quiet database stay as they are. The newest row that
  -- is collected stays itself, so that the floor is never above the newest row of the log (get relies on it).
  select greatest(v_floor, max(i.xid)) into v_next_floor
  from module_cache._invalidations i
  where i.xid < v_limit and (i.epoch = _collect.epoch or i.epoch is null);
  if is_lazy and v_next_floor > v_floor and not module_cache._is_worth_it(epoch, v_floor, v_next_floor, keep) then
    v_next_floor := v_floor;
  end if;

  -- Below the next floor an artifact is either dead, or moved to the present snapshot, in which it is live as well.
  v_rows := array(
    select a.ctid from module_cache._artifacts a
    where a.epoch = _collect.epoch and pg_snapshot_xmin(a.snapshot) < v_next_floor
    union all
    select a.ctid from module_cache._artifacts a where a.expires_at <= clock_timestamp()
    union all
    select a.ctid from module_cache._artifacts a where a.epoch < _collect.epoch or a.epoch > _collect.epoch
    limit batch);
  with candidates as materialized (
    select a.ctid, module_cache._is_live(a) as live
    from module_cache._artifacts a
    where a.ctid = any (v_rows)
    for update skip locked
  ), deleted as (
    delete from module_cache._artifacts a using candidates c where a.ctid = c.ctid and not c.live returning 1
  ), moved as (
    update module_cache._artifacts a set snapshot = v_snapshot from candidates c where a.ctid = c.ctid and c.live
    returning 1
  )
  select (select count(*) from deleted), (select count(*) from moved) into artifacts, renewed;
  perform set_config('module_cache.collecting', '', true);

  -- The rows are locked, and a put that wants one of them cannot wait for long: the rest is for another call.
  generations := 0;
  invalidations := 0;
  complete := false;
  if cardinality(v_rows) >= batch then
    return;
  end if;

  -- An artifact that was skipped because somebody holds it falls below the floor, which costs a miss.
  if v_next_floor > v_floor then
    insert into module_cache._floors values (epoch, v_next_floor);
    v_floor := v_next_floor;
  end if;

  delete from module_cache._floors f
  where case f.epoch
      when _collect.epoch then f.floor < v_floor
      else _collect.epoch = (select e.epoch from module_cache._epoch() e)
    end;
  with deleted as (
    delete from module_cache._generations g
    where g.ctid = any (array(select d.ctid from module_cache._generations d where d.xid < v_floor limit batch))
    returning 1
  )
  select count(*) into generations from deleted;
  with deleted as (
    delete from module_cache._invalidations i
    where i.ctid = any (array(select d.ctid from module_cache._invalidations d where d.xid < v_floor limit batch))
    returning 1
  )
  select count(*) into invalidations from deleted;
  if generations >= batch or invalidations >= batch then
    return;
  end if;

  -- Rows of other lives go as well, as long as this is the current one. A row without an epoch shows where it comes
  -- from by an id that was not given out yet. No index finds them, so they come last.
  with deleted as (
    delete from module_cache._generations g
    where g.ctid = any (array(
      select d.ctid from module_cache._generations d
      where d.epoch <> _collect.epoch and _collect.epoch = (select e.epoch from module_cache._epoch() e)
        or d.xid >= pg_snapshot_xmax(pg_current_snapshot()) and d.xid is distinct from pg_current_xact_id_if_assigned()
      limit batch - generations))
    returning 1
  )
  select count(*) + generations into generations from deleted;
  with deleted as (
    delete from module_cache._invalidations i
    where i.ctid = any (array(
      select d.ctid from module_cache._invalidations d
      where d.epoch <> _collect.epoch and _collect.epoch = (select e.epoch from module_cache._epoch() e)
        or d.xid >= pg_snapshot_xmax(pg_current_snapshot()) and d.xid is distinct from pg_current_xact_id_if_assigned()
      limit batch - invalidations))
    returning 1
  )
  select count(*) + invalidations into invalidations from deleted;
  complete := generations < batch and invalidations < batch;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._collect_for_fleet(keep interval, keep_at_most interval, batch integer, OUT artifacts bigint, OUT renewed bigint, OUT generations bigint, OUT invalidations bigint, OUT complete boolean)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
begin
  if (keep between interval '1 minute' and keep_at_most
      and keep_at_most between interval '1 hour' and interval '1000 years'
      and batch between 1 and 10000) is not true
  then
    perform module_cache._raise('MC003', 'not a retention or batch size',
      format('keep: %s, keep_at_most: %s, batch: %s', keep, keep_at_most, batch),
      'Keep at least a minute, at most an hour or more, and pass 1 to 10,000 rows.');
  end if;
  select c.* into artifacts, renewed, generations, invalidations, complete
  from module_cache._collect_garbage(keep, keep_at_most, batch, true) c;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._collect_garbage(keep interval, keep_at_most interval, batch integer, is_lazy boolean, OUT artifacts bigint, OUT renewed bigint, OUT generations bigint, OUT invalidations bigint, OUT complete boolean)
 RETURNS record
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
declare
  v_epoch constant uuid := (select e.epoch from module_cache._epoch() e);
begin
  artifacts := 0;
  renewed := 0;
  generations := 0;
  invalidations := 0;
  complete := false;
  -- One collector at a time; a second one has nothing to add.
  if v_epoch is null or not pg_try_advisory_xact_lock(hashtextextended('module_cache.garbage', 0)) then
    return;
  end if;
  if current_setting('transaction_isolation') = 'read committed' then
    select c.* into artifacts, renewed, generations, invalidations, complete
    from module_cache._collect(v_epoch, keep, keep_at_most, batch, is_lazy) c;
    return;
  end if;
  begin
    select c.* into artifacts, renewed, generations, invalidations, complete
    from module_cache._collect(v_epoch, keep, keep_at_most, batch, is_lazy) c;
  exception when serialization_failure then
    complete := false;
  end;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._collector_key()
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
 SELECT hashtextextended('module_cache.collector'::text, (0)::bigint) AS hashtextextended;
END;

CREATE OR REPLACE FUNCTION module_cache._counted()
 RETURNS TABLE(realm_url text, kind text, artifacts bigint, bytes bigint, hits bigint, misses bigint, productions bigint, coalesced bigint, rejected bigint, failures bigint, invalidations bigint, l1_hits bigint, l2_hits bigint, production_ms double precision, rejected_by jsonb)
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION module_cache._counted_to(count numeric)
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
 SELECT (LEAST(GREATEST(count, (0)::numeric), '1000000000000000'::numeric))::bigint AS "least";
END;

CREATE OR REPLACE FUNCTION module_cache._declared_key(realm_url text, key text)
 RETURNS text
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
declare
  c_url constant text := '^[a-z][a-z0-9+.-]*://';
  v_host text;
  v_path text;
  v_own text;
  v_folder text;
begin
  if key !~* c_url then
    return module_cache._dependency_key(module_cache._path(realm_url, rtrim(key, '/')));
  end if;
  -- With all slashes behind it: a realm may begin with an empty folder, a path may not.
  v_host := module_cache._realm(substring(key from '^[^:]*://[^/]*/+'));
  v_path := module_cache._path(v_host, rtrim(substr(key, length(v_host) + 1), '/'));
  if starts_with(v_host || v_path, realm_url) then
    v_own := substr(v_host || v_path, length(realm_url) + 1);
    if v_own !~* c_url and v_own !~ '^/' then
      return module_cache._dependency_key(nullif(v_own, ''));
    end if;
  end if;
  -- Without a backslash, which standard_conforming_strings = off would read in another way.
  v_path := regexp_replace(v_path, '((?<=[^/])(?<![.]d)[.]ts|(?<=[^/])[.](?:tsx|mts|js|jsx|mjs|gts|gjs))+$', '');
  v_folder := substring(v_path from '^(.+)/index$');
  return v_host || case when module_cache._dependency_key(v_folder) = v_folder then v_folder else v_path end;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._deleted_artifacts()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
AS $function$
begin
  -- Garbage collection removes only what is dead already, and says so for the time of its call.
  if current_setting('module_cache.collecting', true) = 'on' then
    return null;
  end if;
  perform module_cache._invalidate(d.realm_url, array_agg(distinct d.canonical_path), 0)
  from deleted d
  group by d.realm_url;
  return null;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._dependency_hashes(realm_url text, dependency_keys text[])
 RETURNS bigint[]
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
declare
  v_hashes bigint[] := '{}';
  v_folders text[] := '{}';
  v_key text;
  v_prefix text;
  v_folder text;
  v_slash integer;
begin
  foreach v_key in array dependency_keys loop
    v_prefix := coalesce(substring(v_key from '^[a-z][a-z0-9+.-]*://'), '');
    v_key := substr(v_key, length(v_prefix) + 1);
    v_prefix := coalesce(nullif(v_prefix, ''), realm_url);
    v_hashes := v_hashes || module_cache._module_hash(v_prefix, v_key);
    -- Most keys share their folder with others.
    v_folder := v_prefix || substring(v_key from '^.*/');
    continue when v_folder is null or v_folder = any (v_folders);
    v_folders := v_folders || v_folder;
    loop
      v_slash := strpos(v_key, '/');
      exit when v_slash = 0;
      v_prefix := v_prefix || left(v_key, v_slash);
      v_key := substr(v_key, v_slash + 1);
      v_hashes := v_hashes || module_cache._realm_hash(v_prefix);
    end loop;
  end loop;
  return array(select distinct h from unnest(v_hashes) h);
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._dependency_key(canonical_path text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
 SELECT
         CASE
             WHEN (canonical_path ~ '^/|(^|/)\.|\.d\.ts'::text) THEN regexp_replace(canonical_path, '((?<=[^/])(?<!\.d)\.ts|(?<=[^/])\.(?:tsx|mts|js|jsx|mjs|gts|gjs)|(?<=.)/index)+$'::text, ''::text)
             ELSE regexp_replace(canonical_path, '(?:\.(?:ts|tsx|mts|js|jsx|mjs|gts|gjs)|/index)+$'::text, ''::text)
         END AS regexp_replace;
END;

CREATE OR REPLACE FUNCTION module_cache._describe_invalidation(epoch uuid, home text, module_hash bigint, depends_on bigint[], generation module_cache._generations, OUT log_entry module_cache._invalidations, OUT through text[], OUT description text)
 RETURNS record
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
declare
  v_named_realms text[];
  v_named_paths text[];
  v_who text;
begin
  select i.* into log_entry
  from module_cache._invalidations i
  where i.xid = generation.xid
    and (i.epoch = _describe_invalidation.epoch or i.epoch is null)
    and i.realm_url is not distinct from generation.realm_url
    and case
      when generation.realm_url is null then i.scope = 'global'
      when generation.canonical_path is null then i.scope in ('realm', 'closed')
      else i.scope = 'module' and generation.canonical_path = any (i.canonical_paths)
    end
  order by i.id desc
  limit 1;

  v_who := case
    when log_entry.id is null then format('by transaction %s', generation.xid)
    else concat_ws(' ',
      module_cache._time_since(log_entry.invalidated_at) || ' ago',
      format('by transaction %s of role %s', generation.xid, log_entry.role_name),
      'from ' || nullif(log_entry.application_name, ''),
      'at ' || host(log_entry.client_address))
  end;
  through := '{}';
  if generation.realm_url is null then
    description := 'everything was cleared ' || v_who;
  elsif generation.canonical_path is null and generation.realm_url = home then
    description := 'its realm was cleared ' || v_who;
  elsif generation.canonical_path is null then
    description := format('%s, which it depends on, was cleared %s',
      case
        when module_cache._is_closed(generation.realm_url, '') then 'a private realm'
        else 'the realm ' || generation.realm_url
      end,
      v_who);
  else
    select
      array_agg(i.realm_url), array_agg(n.path)
    into v_named_realms, v_named_paths
    from module_cache._invalidations i
    cross join unnest(i.named_paths) n (path)
    where i.xid = generation.xid and (i.epoch = _describe_invalidation.epoch or i.epoch is null)
      and module_cache._path(i.realm_url, n.path) is not null;
    if generation.key <> module_hash
      or not exists (
        select
        from unnest(v_named_realms, v_named_paths) n (realm, path)
        where module_cache._module_hash(n.realm, n.path) = module_hash)
    then
      through := array(
        select module_cache._name_for_caller(home, w.name)
        from unnest(module_cache._way_to_named(epoch, home, depends_on, v_named_realms, v_named_paths, generation.xid))
          with ordinality w (name, position)
        order by w.position);
    end if;
    description := concat_ws(', through ', 'it was invalidated ' || v_who, nullif(array_to_string(through, ', '), ''));
  end if;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._elect_collector(patience interval)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET lock_timeout TO '100ms'
AS $function$
begin
  return module_cache._holds_claim(module_cache._collector_key())
    or pg_try_advisory_lock(module_cache._collector_key())
    or not exists (
      select
      from module_cache._snapshots s
      join module_cache._epoch() e on e.epoch = s.epoch
      where s.taken_at > clock_timestamp() - patience);
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._ensure_epoch()
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
begin
  if (select e.epoch from module_cache._epoch() e) is not null
    or current_setting('transaction_isolation') not in ('read committed', 'read uncommitted')
    or current_setting('transaction_read_only') = 'on'
    or not pg_try_advisory_xact_lock(hashtextextended('module_cache.epoch', 0))
  then
    return;
  end if;
  -- Whoever held the lock until now has committed: look again, in a new snapshot.
  if (select e.epoch from module_cache._epoch() e) is null then
    perform module_cache._renew_epoch();
  end if;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._epoch()
 RETURNS TABLE(epoch uuid, life text)
 LANGUAGE sql
 STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
 SELECT e.epoch,
     e.life
    FROM module_cache._epochs e
   WHERE ((e.xmin = e.written_by) AND (e.server_started_at = pg_postmaster_start_time()))
  LIMIT 1;
END;

CREATE OR REPLACE FUNCTION module_cache._floor(epoch uuid)
 RETURNS xid8
 LANGUAGE plpgsql
 STABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
AS $function$
begin
  return coalesce((select max(f.floor) from module_cache._floors f where f.epoch = _floor.epoch), '0');
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._forget_claim(claim_key bigint)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET jit TO 'off'
 SET lock_timeout TO '100ms'
AS $function$
begin
  if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted')
    or current_setting('transaction_read_only') = 'on'
  then
    return;
  end if;
  lock table module_cache._claims in row exclusive mode nowait;
  delete from module_cache._claims c
  where c.ctid = any (array(
    select o.ctid
    from module_cache._claims o
    where o.claim_key = _forget_claim.claim_key and o.backend_pid = pg_backend_pid()
    for update skip locked));
exception when others then
  null;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._global_hash()
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
 SELECT (0)::bigint AS int8;
END;

CREATE OR REPLACE FUNCTION module_cache._has_short_lock_timeout()
 RETURNS boolean
 LANGUAGE sql
 STABLE PARALLEL SAFE
BEGIN ATOMIC
 SELECT (((current_setting('lock_timeout'::text))::interval >= '00:00:00.000001'::interval) AND ((current_setting('lock_timeout'::text))::interval <= '00:00:00.999'::interval));
END;

CREATE OR REPLACE FUNCTION module_cache._holds_claim(claim_key bigint)
 RETURNS boolean
 LANGUAGE sql
BEGIN ATOMIC
 SELECT (EXISTS ( SELECT
            FROM pg_locks l
           WHERE ((l.pid = pg_backend_pid()) AND (l.locktype = 'advisory'::text) AND (l.database = ( SELECT d.oid
                    FROM pg_database d
                   WHERE (d.datname = current_database()))) AND (l.objsubid = 1) AND (l.mode = 'ExclusiveLock'::text) AND ((((l.classid)::bigint << 32) | (l.objid)::bigint) = _holds_claim.claim_key)))) AS "exists";
END;

CREATE OR REPLACE FUNCTION module_cache._importers(epoch uuid, module_hashes bigint[], OUT realm_urls text[], OUT canonical_paths text[], OUT hashes bigint[])
 RETURNS record
 LANGUAGE plpgsql
 STABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_indexscan TO 'off'
 SET enable_material TO 'off'
 SET enable_bitmapscan TO 'on'
 SET enable_nestloop TO 'on'
 SET gin_fuzzy_search_limit TO '0'
 SET jit TO 'off'
AS $function$
begin
  with recursive reached (module_hash) as (
    select unnest(module_hashes)
    union
    select a.module_hash
    from reached r
    join module_cache._artifacts a on a.depends_on @> array[r.module_hash]
    where a.epoch is not distinct from _importers.epoch
  ), modules as (
    select distinct a.realm_url, a.canonical_path, a.module_hash
    from reached r
    join module_cache._artifacts a on a.module_hash = r.module_hash
    where a.epoch is not distinct from _importers.epoch
  )
  select array_agg(m.realm_url), array_agg(m.canonical_path), array_agg(m.module_hash)
  into realm_urls, canonical_paths, hashes
  from modules m;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._insert(artifact module_cache._artifacts)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET lock_timeout TO '1ms'
AS $function$
declare
  v_next_timeout text;
begin
  foreach v_next_timeout in array array['10ms', '100ms', null] loop
    begin
      insert into module_cache._artifacts select artifact.* on conflict do nothing;
      return found;
    exception when lock_not_available then
      perform set_config('lock_timeout', v_next_timeout, true) where v_next_timeout is not null;
    end;
  end loop;
  return null;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._invalidate(realm_url text, canonical_paths text[], ignored bigint, OUT realm_urls text[], OUT invalidated_paths text[])
 RETURNS record
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'on'
 SET gin_fuzzy_search_limit TO '0'
 SET jit TO 'off'
AS $function$
declare
  v_epoch uuid;
  v_xid constant xid8 := pg_current_xact_id();
  v_named bigint[];
  v_hashes bigint[];
  v_has_importers boolean := true;
  v_lock_timeout constant text := current_setting('lock_timeout');
  v_is_hurried constant boolean := module_cache._has_short_lock_timeout();
  v_realm record;
begin
  -- Nothing here waits for another transaction, but maybe a moment: for a new page of a table, or until VACUUM has cut
  -- off the end of one.
  if v_is_hurried then
    perform set_config('lock_timeout', '1s', true);
  end if;
  select e.epoch into v_epoch from module_cache._epoch() e;
  if cardinality(canonical_paths) = 1 then
    v_named := array[module_cache._module_hash(realm_url, canonical_paths[1])];
  else
    v_named := array(select module_cache._module_hash(realm_url, n.path) from unnest(canonical_paths) n (path));
  end if;

  -- Most often nobody imports them. (To ask an index of this kind for very many keys at once is slow.)
  if cardinality(v_named) <= 100 then
    select
      array_agg(a.realm_url), array_agg(a.canonical_path), array_agg(a.module_hash),
      exists (select from module_cache._artifacts i where i.depends_on && v_named)
    into realm_urls, invalidated_paths, v_hashes, v_has_importers
    from (
      select distinct s.realm_url, s.canonical_path, s.module_hash
      from module_cache._artifacts s
      where s.module_hash = any (v_named) and s.epoch is not distinct from v_epoch
    ) a;
  end if;
  if v_has_importers then
    select i.realm_urls, i.canonical_paths, i.hashes into realm_urls, invalidated_paths, v_hashes
    from module_cache._importers(v_epoch, v_named) i;
  end if;

  if v_hashes is null then
    realm_urls := array_fill(realm_url, array[cardinality(canonical_paths)]);
    invalidated_paths := canonical_paths;
    v_hashes := v_named;
  elsif invalidated_paths <> canonical_paths or not realm_url = all (realm_urls) then
    -- A name without an extension stands for the modules that have its key, unless there are none yet.
    select array_agg(m.realm_url), array_agg(m.path), array_agg(m.hash) into realm_urls, invalidated_paths, v_hashes
    from (
      select r.realm_url, r.path, r.hash from unnest(realm_urls, invalidated_paths, v_hashes) r (realm_url, path, hash)
      union
      select _invalidate.realm_url, n.path, n.hash
      from unnest(canonical_paths, v_named) n (path, hash)
      where module_cache._dependency_key(n.path) <> n.path
        or n.hash not in (
          select r.hash from unnest(realm_urls, v_hashes) r (realm_url, hash) where r.realm_url = _invalidate.realm_url)
    ) m;
  end if;

  insert into module_cache._generations (key, xid, epoch, realm_url, canonical_path)
  select m.hash, v_xid, v_epoch, m.realm_url, m.path
  from unnest(realm_urls, invalidated_paths, v_hashes) m (realm_url, path, hash);
  -- One log row for each realm, and one for the caller's realm if all that there is to say is what was ignored.
  if not realm_url = all (realm_urls) then
    insert into module_cache._invalidations (xid, epoch, scope, realm_url, named_paths, canonical_paths, ignored)
    select
      v_xid, v_epoch, 'module', m.realm_url,
      case when m.realm_url = _invalidate.realm_url then canonical_paths else '{}' end,
      array_agg(m.path),
      case when m.realm_url = _invalidate.realm_url then ignored else 0 end
    from unnest(realm_urls, invalidated_paths) m (realm_url, path)
    group by m.realm_url;
  elsif invalidated_paths <> '{}' or ignored > 0 then
    insert into module_cache._invalidations (xid, epoch, scope, realm_url, named_paths, canonical_paths, ignored)
    values (v_xid, v_epoch, 'module', realm_url, canonical_paths, invalidated_paths, ignored);
  end if;
  if v_is_hurried then
    perform set_config('lock_timeout', v_lock_timeout, true);
  end if;

  if not realm_url = all (realm_urls) then
    for v_realm in
      select m.realm_url as url, array_agg(m.path) as paths
      from unnest(realm_urls, invalidated_paths) m (realm_url, path)
      group by m.realm_url
    loop
      perform module_cache._broadcast('module', v_realm.url, v_realm.paths, v_xid);
    end loop;
  elsif invalidated_paths <> '{}' then
    perform module_cache._broadcast('module', realm_url, invalidated_paths, v_xid);
  end if;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._invalidate_sources(realm_url text, old_paths text[], old_realms text[], new_paths text[], new_realms text[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET jit TO 'off'
AS $function$
declare
  c_notifications constant integer := 6;
  v_notify constant text := coalesce(current_setting('module_cache.notify', true), '');
  v_sources record;
  v_realms integer := 0;
begin
  for v_sources in
    select
      m.realm_url,
      coalesce(array_agg(distinct m.path) filter (where m.path is not null), '{}') as paths,
      greatest(
        count(*) filter (where m.path is null and m.is_new), count(*) filter (where m.path is null and not m.is_new)
      ) as ignored
    from (
      select
        s.realm_url,
        case when s.realm_url is not null then module_cache._path(s.realm_url, s.path) end collate "C" as path,
        s.is_new
      from (
        select
          case when r.realm_url is null then _invalidate_sources.realm_url else module_cache._realm(r.realm_url) end
            collate "C" as realm_url,
          r.path,
          r.is_new
        from (
          select n.realm_url, n.path, true from unnest(new_realms, new_paths) n (realm_url, path)
          union all
          select o.realm_url, o.path, false from unnest(old_realms, old_paths) o (realm_url, path)
        ) r (realm_url, path, is_new)
        -- The realm is worked out once for each row.
        offset 0
      ) s
    ) m
    group by m.realm_url
  loop
    v_realms := v_realms + 1;
    if v_realms = c_notifications + 1 then
      perform set_config('module_cache.notify', 'off', true);
    end if;
    -- Without a realm there is only a number to write down, in a row that peers do not get to see.
    perform module_cache._invalidate(v_sources.realm_url, v_sources.paths, v_sources.ignored);
  end loop;

  if v_realms > c_notifications then
    perform set_config('module_cache.notify', v_notify, true);
    if module_cache._may_notify() then
      perform pg_notify('module_cache_invalidated', '{"k":"log","x":"' || pg_current_xact_id() || '"}');
    end if;
  end if;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._is_closed(realm_url text, canonical_path text)
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER COST 0.0001
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
declare
  v_private constant module_cache._private_realms := module_cache._private_realm(realm_url || canonical_path);
begin
  return v_private.role_name is not null and not module_cache._is_member(v_private.role_name);
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._is_live(artifact module_cache._artifacts)
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
AS $function$
declare
  v_epoch constant uuid := (select e.epoch from module_cache._epoch() e);
begin
  return artifact.epoch is not distinct from v_epoch
    -- One of the future was stored before the server's clock was set back: what is left of its life cannot be told.
    and (artifact.expires_at is null
      or artifact.created_at <= clock_timestamp() and artifact.expires_at > clock_timestamp())
    and pg_snapshot_xmin(artifact.snapshot) >= module_cache._floor(v_epoch)
    and not module_cache._is_outdated(
      v_epoch, artifact.snapshot, artifact.module_hash, artifact.realm_hash, artifact.depends_on);
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._is_maintenance()
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
begin
  unlisten module_cache_nothing;
  -- What listens could not prepare its transaction behind it: an error takes it back.
  if current_setting('max_prepared_transactions') <> '0' then
    raise exception using errcode = 'MC000';
  end if;
  return false;
exception
  when insufficient_privilege then
    return true;
  when sqlstate 'MC000' then
    return false;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._is_member(role_name name)
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
declare
  v_caller constant oid := (select r.oid from pg_roles r where r.rolname = module_cache._caller());
begin
  return (
      coalesce(
        pg_has_role(v_caller, (select r.oid from pg_roles r where r.rolname = _is_member.role_name), 'usage'), false)
      or coalesce(
        pg_has_role(v_caller, (select n.nspowner from pg_namespace n where n.nspname = 'module_cache'), 'usage'), false))
    and not module_cache._is_maintenance();
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._is_newer(a pg_snapshot, b pg_snapshot)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
begin
  if pg_snapshot_xmax(a) <> pg_snapshot_xmax(b) then
    return pg_snapshot_xmax(a) > pg_snapshot_xmax(b);
  end if;
  return (select count(*) from pg_snapshot_xip(a)) < (select count(*) from pg_snapshot_xip(b));
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._is_off(setting text)
 RETURNS boolean
 LANGUAGE sql
 STABLE PARALLEL SAFE
BEGIN ATOMIC
 SELECT (lower(COALESCE(current_setting(setting, true), ''::text)) = ANY (ARRAY['off'::text, 'false'::text, 'no'::text, '0'::text]));
END;

CREATE OR REPLACE FUNCTION module_cache._is_outdated(epoch uuid, snapshot pg_snapshot, module_hash bigint, realm_hash bigint, depends_on bigint[])
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET jit TO 'off'
AS $function$
declare
  v_xmin constant xid8 := pg_snapshot_xmin(snapshot);
begin
  if (select max(i.xid) from module_cache._invalidations i) < v_xmin then
    return false;
  end if;
  return exists (
    select
    from module_cache._generations g
    where g.key = any (array[module_hash, realm_hash, 0] || depends_on)
      and g.xid >= v_xmin
      and not pg_visible_in_snapshot(g.xid, snapshot)
      and (g.epoch = _is_outdated.epoch or g.epoch is null));
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._is_worth_it(epoch uuid, floor xid8, next_floor xid8, keep interval)
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET jit TO 'off'
AS $function$
declare
  c_much constant integer := 100000;
  v_garbage constant bigint := (
    select coalesce(sum(cardinality(i.canonical_paths) + 1), 0)
    from (
      select l.canonical_paths from module_cache._invalidations l where l.xid < next_floor order by l.xid limit c_much
    ) i);
  v_artifacts constant bigint := (
    select count(*)
    from (
      select
      from module_cache._artifacts a
      where a.epoch = _is_worth_it.epoch and pg_snapshot_xmin(a.snapshot) < next_floor
      limit 10 * least(v_garbage, c_much) + 1
    ) a);
begin
  return v_garbage >= c_much
    or v_artifacts <= 10 * v_garbage
    or exists (
      select
      from module_cache._invalidations i
      where i.xid > floor
        and i.xid <= next_floor
        and (i.scope <> 'module' or i.invalidated_at < clock_timestamp() - keep - interval '1 hour'));
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._may_be_merge(context text)
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE PARALLEL RESTRICTED
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
begin
  -- A regular expression over a text of some hundred megabytes raises.
  if octet_length(current_query()) > 1000000 or octet_length(context) > 1000000 then
    return true;
  end if;
  return concat_ws(' ', current_query(), context) ~* 'merge'
    or exists (select from pg_prepared_statements s where s.from_sql and s.statement ~* 'merge')
    or strpos(context, chr(10)) > 0 and exists (
      select
      from pg_proc p
      join pg_language l on l.oid = p.prolang
      where l.lanname = 'sql'
        and strpos(context, p.proname) > 0
        and (p.prosrc ~* 'merge' or strpos(p.prosqlbody::text, '{MERGEACTION') > 0));
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._may_be_private(depends_on bigint[])
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE PARALLEL RESTRICTED
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET jit TO 'off'
AS $function$
begin
  return exists (select from module_cache._private_realms p where p.realm_hash = any (depends_on))
    or exists (select from module_cache._private_realms p where p.index_hash = any (depends_on));
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._may_notify()
 RETURNS boolean
 LANGUAGE sql
BEGIN ATOMIC
 SELECT ((NOT module_cache._is_off('module_cache.notify'::text)) AND (pg_notification_queue_usage() < (0.5)::double precision) AND (NOT module_cache._has_short_lock_timeout()));
END;

CREATE OR REPLACE FUNCTION module_cache._module_hash(realm_url text, canonical_path text)
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
 SELECT hashtextextended(
         CASE
             WHEN (strpos((realm_url || canonical_path), '.d.ts'::text) > 0) THEN regexp_replace((realm_url || canonical_path), '((?<!\.d)\.ts|\.(?:tsx|mts|js|jsx|mjs|gts|gjs)|/index|/)+$'::text, ''::text)
             ELSE regexp_replace((realm_url || canonical_path), '(?:\.(?:ts|tsx|mts|js|jsx|mjs|gts|gjs)|/index|/)+$'::text, ''::text)
         END, (1)::bigint) AS hashtextextended;
END;

CREATE OR REPLACE FUNCTION module_cache._name_claim(claim_key bigint, realm_url text, canonical_path text, kind text, variant text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET lock_timeout TO '100ms'
AS $function$
begin
  -- Above READ COMMITTED a name could make transactions of others conflict that look at them.
  if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted')
    or current_setting('transaction_read_only') = 'on'
  then
    return;
  end if;
  lock table module_cache._claims in row exclusive mode nowait;
  insert into module_cache._claims
  values (claim_key, pg_backend_pid(), realm_url, canonical_path, kind, variant, clock_timestamp());
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._name_for_caller(home text, name text)
 RETURNS text
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
begin
  return case when module_cache._visible_keys(home, array[name], null) = '{}' then 'a private module' else name end;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._named_claims()
 RETURNS TABLE(realm_url text, canonical_path text, kind text, variant text, claimed_at timestamp with time zone, producer text, backend_pid integer, waiting text[])
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION module_cache._named_from(home text, realm_url text, canonical_path text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
 SELECT
         CASE
             WHEN (realm_url = home) THEN canonical_path
             ELSE (realm_url || canonical_path)
         END AS "case";
END;

CREATE OR REPLACE FUNCTION module_cache._names_private(realm_url text, canonical_paths text[])
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE PARALLEL RESTRICTED
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
begin
  return (module_cache._private_realm(realm_url)).role_name is not null
    or exists (
      select
      from module_cache._private_realms p
      where p.realm_url >= _names_private.realm_url collate "C"
        and p.realm_url < module_cache._after_realm(_names_private.realm_url))
    and exists (
      select
      from (select distinct coalesce(substring(n.path from '^.*/'), '') as folder from unnest(canonical_paths) n (path)) f
      where (module_cache._private_realm(realm_url || f.folder)).role_name is not null);
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._newest_generation(epoch uuid, key bigint)
 RETURNS xid8
 LANGUAGE plpgsql
 STABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET jit TO 'off'
AS $function$
begin
  return (
    select max(g.xid)
    from module_cache._generations g
    where g.key = _newest_generation.key and (g.epoch = _newest_generation.epoch or g.epoch is null));
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._parse_token(token text, OUT life text, OUT snapshot pg_snapshot)
 RETURNS record
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
begin
  if token ~ '^[0-9a-f]{32}-[0-9a-f]{1,16}/[0-9]{1,20}:[0-9]{1,20}:[0-9,]*(/private)?$' then
    life := split_part(token, '/', 1);
    begin
      snapshot := split_part(token, '/', 2)::pg_snapshot;
    exception when invalid_text_representation then
      snapshot := null;
    end;
  end if;
  if snapshot is null then
    perform module_cache._raise('MC002', 'not a token', format('token: %L', left(token, 200)),
      'Pass a token exactly as get or changes_since returned it.');
  end if;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._path(realm_url text, canonical_path text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
 SELECT
         CASE
             WHEN ((octet_length(realm_url) + octet_length(canonical_path)) > 2000) THEN NULL::text
             WHEN ((canonical_path <> ''::text) AND (canonical_path !~ '^/|[?#]|(^|/)\.\.?(/|$)'::text)) THEN canonical_path
             ELSE NULL::text
         END AS "case";
END;

CREATE OR REPLACE FUNCTION module_cache._payload(scope text, realm_url text, canonical_paths text[], xid xid8)
 RETURNS text
 LANGUAGE sql
 STABLE PARALLEL SAFE
BEGIN ATOMIC
 SELECT (((((('{"k":'::text || to_json(scope)) ||
         CASE
             WHEN (realm_url IS NULL) THEN ''::text
             ELSE (',"r":'::text || to_json(realm_url))
         END) ||
         CASE
             WHEN (canonical_paths IS NULL) THEN ''::text
             ELSE (',"m":'::text || array_to_json(canonical_paths))
         END) || ',"x":"'::text) || xid) || '"}'::text);
END;

CREATE OR REPLACE FUNCTION module_cache._peer_key(backend_pid integer)
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
 SELECT hashtextextended(('module_cache.peer '::text || backend_pid), (0)::bigint) AS hashtextextended;
END;

CREATE OR REPLACE FUNCTION module_cache._peer_reports()
 RETURNS TABLE(name text, status text, behind bigint, lag interval, hit_rate numeric, reads bigint, entries bigint, bytes bigint, silent_for interval, version text, since timestamp with time zone, host text, process_id integer, role_name name, application_name text, client_address inet, backend_pid integer)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION module_cache._peer_sessions()
 RETURNS SETOF integer
 LANGUAGE sql
BEGIN ATOMIC
 SELECT l.pid
    FROM pg_locks l
   WHERE ((l.locktype = 'advisory'::text) AND (l.database = ( SELECT d.oid
            FROM pg_database d
           WHERE (d.datname = current_database()))) AND (l.objsubid = 1) AND l.granted AND ((((l.classid)::bigint << 32) | (l.objid)::bigint) = module_cache._peer_key(l.pid)));
END;

CREATE OR REPLACE FUNCTION module_cache._privacy(realm_url text, canonical_path text, dependency_keys text[] DEFAULT '{}'::text[], depends_on bigint[] DEFAULT '{}'::bigint[], OUT is_private boolean, OUT is_hidden boolean)
 RETURNS record
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET jit TO 'off'
AS $function$
declare
  v_private constant module_cache._private_realms := module_cache._private_realm(realm_url || canonical_path);
  v_roles name[];
begin
  if v_private.role_name is not null and not module_cache._is_member(v_private.role_name) then
    perform module_cache._raise('MC006', 'the realm is private', format('realm_url: %L', left(realm_url, 200)),
      'Connect as a member of the role that it belongs to. Who owns the schema module_cache can tell which one that is.');
  end if;
  is_private := v_private.role_name is not null;
  is_hidden := false;
  if depends_on = '{}' or v_private.role_name is null and not module_cache._may_be_private(depends_on) then
    return;
  end if;
  v_roles := array_remove(
    array(select d.role_name from module_cache._private_dependencies(realm_url, dependency_keys, depends_on) d (role_name)),
    null);
  is_private := is_private or v_roles <> '{}';
  is_hidden := exists (select from unnest(v_roles) r (role_name) where not module_cache._is_member(r.role_name));
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._private_dependencies(realm_url text, dependency_keys text[], depends_on bigint[])
 RETURNS SETOF name
 LANGUAGE plpgsql
 STABLE PARALLEL RESTRICTED
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET jit TO 'off'
AS $function$
begin
  if not module_cache._may_be_private(depends_on) and (module_cache._private_realm(realm_url)).role_name is null then
    return;
  end if;
  return query
    select (module_cache._private_realm(u.url)).role_name
    from unnest(dependency_keys) k (key)
    cross join lateral (
      select case when k.key ~ '^[a-z][a-z0-9+.-]*://' then k.key else realm_url || k.key end as url
    ) u
    union
    select p.role_name
    from module_cache._private_realms p
    where p.index_hash = any (depends_on);
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._private_realm(url text)
 RETURNS module_cache._private_realms
 LANGUAGE plpgsql
 STABLE PARALLEL RESTRICTED
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET jit TO 'off'
AS $function$
declare
  v_parts constant text[] := string_to_array(url, '/');
  v_found module_cache._private_realms;
begin
  for v_count in reverse cardinality(v_parts) - 1 .. 3 loop
    select p.* into v_found
    from module_cache._private_realms p
    where p.realm_url = array_to_string(v_parts[:v_count], '/') || '/';
    exit when found;
  end loop;
  return v_found;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._raise(errcode text, message text, detail text, hint text)
 RETURNS void
 LANGUAGE plpgsql
 PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
begin
  raise exception using
    errcode = _raise.errcode,
    message = _raise.message,
    detail = coalesce(_raise.detail, ''),
    hint = _raise.hint;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._realm(realm_url text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
 SELECT
         CASE
             WHEN (octet_length(realm_url) > 2000) THEN NULL::text
             WHEN ((realm_url ~ '^[A-Za-z][A-Za-z0-9+.-]*://[^/?#@\\]*/([^?#]*/)?$'::text) AND (realm_url !~ '[\x01-\x20\x7f]'::text) AND (regexp_replace(realm_url, '^[^:]*://[^/]*/'::text, ''::text) !~ '(^|/)\.\.?(/|$)'::text)) THEN (lower(("substring"(realm_url, '^[^:]*://[^/]*'::text) COLLATE "C")) || substr(realm_url, (length("substring"(realm_url, '^[^:]*://[^/]*'::text)) + 1)))
             ELSE NULL::text
         END AS "case";
END;

CREATE OR REPLACE FUNCTION module_cache._realm_hash(realm_url text)
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
 SELECT hashtextextended(realm_url, (2)::bigint) AS hashtextextended;
END;

CREATE OR REPLACE FUNCTION module_cache._record_snapshot(epoch uuid, oldest_running xid8)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
begin
  insert into module_cache._snapshots values (epoch, clock_timestamp(), oldest_running);
  delete from module_cache._snapshots s
  where s.epoch <> _record_snapshot.epoch
    or s.ctid = any (array(
      select t.ctid
      from (
        select
          n.ctid,
          row_number() over w % 2 = 0 as is_even,
          lead(n.taken_at) over w - lag(n.taken_at) over w as gap,
          clock_timestamp() - lead(n.taken_at) over w as age
        from module_cache._snapshots n
        where n.epoch = _record_snapshot.epoch
        window w as (order by n.taken_at)
      ) t
      where t.is_even and t.gap * 16 < t.age));
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._renew_epoch()
 RETURNS uuid
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
declare
  v_system_identifier constant bigint := (select c.system_identifier from pg_control_system() c);
  v_epoch uuid;
  v_is_upgraded boolean;
  v_is_busy boolean;
begin
  select e.epoch, e.server_started_at = '-infinity' into v_epoch, v_is_upgraded
  from module_cache._epochs e
  where e.xmin = e.written_by and e.system_identifier = v_system_identifier;

  if not found then
    v_epoch := gen_random_uuid();
    insert into module_cache._epochs
    values (v_epoch, '', '0', v_system_identifier, '-infinity');
    -- A prepared transaction that invalidated may have survived the crash that took its generation along. As long as
    -- it is open no snapshot has an xmin above this floor, so nothing counts as live.
    if exists (select from pg_prepared_xacts p where p.database = current_database()) then
      insert into module_cache._floors values (v_epoch, pg_current_xact_id());
      insert into module_cache._invalidations (xid, epoch, scope) values (pg_current_xact_id(), v_epoch, 'global');
    end if;
  elsif v_is_upgraded then
    -- What was stored may cover less than the same keys do now, and so may what the functions of before have invalidated
    -- in transactions that are still open. They have begun by now, so as long as they last nothing counts as live.
    v_is_busy := exists (
      select
      from pg_locks l
      join pg_locks x on x.virtualtransaction = l.virtualtransaction
      where l.relation = 'module_cache._epochs'::regclass
        and l.database = (select d.oid from pg_database d where d.datname = current_database())
        and l.pid is distinct from pg_backend_pid()
        and x.locktype = 'transactionid'
        and x.mode = 'ExclusiveLock');
    if v_is_busy then
      insert into module_cache._floors values (v_epoch, pg_current_xact_id());
    end if;
    if v_is_busy
      or exists (select from module_cache._artifacts)
      or exists (select from module_cache._generations)
    then
      insert into module_cache._generations (key, xid, epoch)
      values (module_cache._global_hash(), pg_current_xact_id(), v_epoch);
      insert into module_cache._invalidations (xid, epoch, scope) values (pg_current_xact_id(), v_epoch, 'global');
    end if;
  end if;

  delete from module_cache._epochs e where e.epoch <> v_epoch or e.xmin <> e.written_by and e.written_by <> '0';
  update module_cache._epochs e
  set life = replace(v_epoch::text, '-', '') || '-' ||
        to_hex((extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint),
      server_started_at = pg_postmaster_start_time()
  where e.epoch = v_epoch;
  update module_cache._epochs e set written_by = e.xmin where e.epoch = v_epoch;
  return v_epoch;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._report_activity(epoch uuid, activity jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION module_cache._report_peer(needs text, about jsonb, activity jsonb DEFAULT '[]'::jsonb)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET lock_timeout TO '100ms'
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION module_cache._require_artifact(realm_url text, canonical_path text, kind text, variant text)
 RETURNS text
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
declare
  v_realm constant text := module_cache._require_realm(realm_url);
begin
  if module_cache._path(v_realm, canonical_path) is null then
    perform module_cache._raise('MC001', 'not a canonical path', format('canonical_path: %L', left(canonical_path, 200)),
      'A canonical path is not empty, has no leading "/", no "?" or "#", no "." or ".." segment, and takes at most 2000 bytes together with its realm.');
  end if;
  if kind is null or octet_length(kind) not between 1 and 64 then
    perform module_cache._raise('MC001', 'not a kind', format('kind: %L', left(kind, 200)),
      'A kind is 1 to 64 bytes, for example transpile.');
  end if;
  if variant is null or octet_length(variant) > 500 then
    perform module_cache._raise('MC001', 'not a variant', format('variant: %L', left(variant, 200)),
      'A variant is at most 500 bytes; pass an empty string for none.');
  end if;
  return v_realm;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._require_not_serializable()
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
begin
  if current_setting('transaction_isolation') = 'serializable' then
    perform module_cache._raise('MC003', 'realms are not closed or opened in a serializable transaction', null,
      'Do it in READ COMMITTED: transactions of others that invalidate must not fail because of it.');
  end if;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._require_past(snapshot pg_snapshot)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
declare
  v_last xid8;
begin
  if pg_snapshot_xmax(snapshot) <= pg_snapshot_xmax(pg_current_snapshot()) then
    return;
  end if;
  v_last := (pg_snapshot_xmax(snapshot)::text::numeric - 1)::text::xid8;
  begin
    perform pg_xact_status(v_last);
  exception when invalid_parameter_value then
    perform module_cache._raise('MC002', 'a token or cursor from the future',
      format('It has seen transaction %s, which has not begun.', v_last),
      'Pass a token exactly as get or changes_since of this database returned it.');
  end;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._require_publishable(realm_url text, canonical_path text, dependency_keys text[], depends_on bigint[])
 RETURNS void
 LANGUAGE plpgsql
 PARALLEL RESTRICTED
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
declare
  v_private constant module_cache._private_realms := module_cache._private_realm(realm_url || canonical_path);
  v_role constant oid := (select r.oid from pg_roles r where r.rolname = v_private.role_name);
begin
  if exists (
    select
    from module_cache._private_dependencies(realm_url, dependency_keys, depends_on) d (role_name)
    left join pg_roles r on r.rolname = d.role_name
    where d.role_name is not null
      and pg_has_role(v_role, r.oid, 'usage') is not true)
  then
    perform module_cache._raise('MC006', 'a dependency lies in a private realm',
      format('realm_url: %L, dependency_keys: %s', left(realm_url, 200), left(dependency_keys::text, 400)),
      'Everybody who reads this realm would see it. Close this realm as well, to the same role or one that is a member of it.');
  end if;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._require_realm(realm_url text)
 RETURNS text
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
declare
  v_realm constant text := module_cache._realm(realm_url);
begin
  if v_realm is null then
    -- A user part may hold a password, and errors are logged.
    perform module_cache._raise('MC001', 'not a realm URL',
      format('realm_url: %L', regexp_replace(left(realm_url, 200), '//[^/]*@', '//***@')),
      'A realm is a URL such as https://example.com/app/: it has a host part, ends in "/", and has no user, query or fragment.');
  end if;
  return v_realm;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._resign_collector()
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
begin
  if module_cache._holds_claim(module_cache._collector_key()) then
    perform pg_advisory_unlock(module_cache._collector_key());
  end if;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._show_waiting(claim_key bigint, is_waiting boolean)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
begin
  if is_waiting then
    return pg_try_advisory_lock_shared(module_cache._waiting_key(claim_key));
  end if;
  return pg_advisory_unlock_shared(module_cache._waiting_key(claim_key));
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._snapshot()
 RETURNS pg_snapshot
 LANGUAGE plpgsql
 STABLE PARALLEL RESTRICTED
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
declare
  v_snapshot constant pg_snapshot := pg_current_snapshot();
  v_own constant xid8 := pg_current_xact_id_if_assigned();
begin
  if v_own is null or v_own >= pg_snapshot_xmax(v_snapshot) then
    return v_snapshot;
  end if;
  return (
    select format('%s:%s:%s', min(x.xid), pg_snapshot_xmax(v_snapshot), string_agg(x.xid::text, ',' order by x.xid))
    from (select pg_snapshot_xip(v_snapshot) union select v_own) x (xid));
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._source_columns(relation oid)
 RETURNS TABLE(column_name name, value text)
 LANGUAGE sql
 STABLE PARALLEL SAFE
BEGIN ATOMIC
 SELECT a.attname,
     format(
         CASE t.typoutput
             WHEN 'bpcharout'::regproc THEN 'left(rtrim(concat(r.%I)), 2001)'::text
             ELSE 'left(concat(r.%I), 2001)'::text
         END, a.attname) AS format
    FROM (pg_attribute a
      JOIN pg_type t ON ((t.oid = a.atttypid)))
   WHERE ((a.attrelid = _source_columns.relation) AND (a.attnum > 0) AND (NOT a.attisdropped) AND (a.attgenerated <> 'v'::"char") AND (t.typcategory = ANY (ARRAY['S'::"char", 'E'::"char"])));
END;

CREATE OR REPLACE FUNCTION module_cache._source_parents(source oid)
 RETURNS SETOF oid
 LANGUAGE sql
 STABLE PARALLEL SAFE
BEGIN ATOMIC
 WITH RECURSIVE up(relation) AS (
          SELECT i.inhparent
            FROM pg_inherits i
           WHERE (i.inhrelid = _source_parents.source)
         UNION
          SELECT i.inhparent
            FROM (up u_1
              JOIN pg_inherits i ON ((i.inhrelid = u_1.relation)))
         )
  SELECT u.relation
    FROM up u;
END;

CREATE OR REPLACE FUNCTION module_cache._source_relations(source oid)
 RETURNS TABLE(relation oid, name text, kind "char", owner oid, depth integer)
 LANGUAGE sql
 STABLE PARALLEL SAFE
BEGIN ATOMIC
 WITH RECURSIVE tree(relation, depth) AS (
          SELECT _source_relations.source AS source,
             0 AS "?column?"
         UNION ALL
          SELECT i.inhrelid,
             (t_1.depth + 1)
            FROM (tree t_1
              JOIN pg_inherits i ON ((i.inhparent = t_1.relation)))
         )
  SELECT c.oid,
     format('%I.%I'::text, n.nspname, c.relname) AS format,
     c.relkind,
     c.relowner,
     min(t.depth) AS min
    FROM ((tree t
      JOIN pg_class c ON ((c.oid = t.relation)))
      JOIN pg_namespace n ON ((n.oid = c.relnamespace)))
   GROUP BY c.oid, n.nspname, c.relname, c.relkind, c.relowner;
END;

CREATE OR REPLACE FUNCTION module_cache._status(realm_url text, canonical_path text, kind text, variant text)
 RETURNS text
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION module_cache._store(artifact module_cache._artifacts)
 RETURNS text
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET jit TO 'off'
AS $function$
declare
  v_old module_cache._artifacts;
  v_inserted boolean;
begin
  for v_attempt in 1..2 loop
    select a.* into v_old
    from module_cache._artifacts a
    where a.realm_url = artifact.realm_url
      and a.canonical_path = artifact.canonical_path
      and a.kind = artifact.kind
      and a.variant = artifact.variant
    for update skip locked;

    if found then
      if module_cache._is_newer(v_old.snapshot, artifact.snapshot) and module_cache._is_live(v_old) then
        return 'older';
      end if;
      update module_cache._artifacts a
      set body = artifact.body,
          headers = artifact.headers,
          dependency_keys = artifact.dependency_keys,
          is_error = artifact.is_error,
          generation = artifact.generation,
          epoch = artifact.epoch,
          snapshot = artifact.snapshot,
          put_xid = artifact.put_xid,
          module_hash = artifact.module_hash,
          depends_on = artifact.depends_on,
          created_at = artifact.created_at,
          expires_at = artifact.expires_at
      where a.realm_url = artifact.realm_url
        and a.canonical_path = artifact.canonical_path
        and a.kind = artifact.kind
        and a.variant = artifact.variant;
      return 'stored';
    end if;

    -- Somebody holds the row, or it is absent.
    if exists (
      select
      from module_cache._artifacts a
      where a.realm_url = artifact.realm_url
        and a.canonical_path = artifact.canonical_path
        and a.kind = artifact.kind
        and a.variant = artifact.variant)
    then
      return 'contended';
    end if;
    v_inserted := module_cache._insert(artifact);
    if v_inserted then
      return 'stored';
    end if;
    -- It has appeared since, or is held; the second attempt tells which.
    exit when v_inserted is null;
  end loop;
  return 'contended';
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._sweep_reports(epoch uuid)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
declare
  v_row record;
begin
  delete from module_cache._claims c
  where c.ctid = any (array(
    select d.ctid
    from module_cache._claims d
    where d.claimed_at < clock_timestamp() - interval '1 minute'
      and (d.claim_key, d.backend_pid) not in (select l.lock_key, l.backend_pid from module_cache._advisory_locks() l)
    for update skip locked));
  for v_row in
    with gone as (
      delete from module_cache._activity a
      where a.ctid = any (array(
        select d.ctid
        from module_cache._activity d
        where (d.epoch <> _sweep_reports.epoch
            or d.backend_pid <> 0 and d.backend_pid not in (select module_cache._peer_sessions()))
          and d.updated_at < clock_timestamp() - interval '1 minute'
        for update skip locked))
      returning a.*
    )
    select
      (0, _sweep_reports.epoch, g.realm_url, g.kind, module_cache._counted_to(sum(g.l1_hits)), module_cache._counted_to(sum(g.l2_hits)),
        module_cache._counted_to(sum(g.misses)), module_cache._counted_to(sum(g.productions)), sum(g.production_ms),
        module_cache._counted_to(sum(g.failures)), module_cache._counted_to(sum(g.coalesced)), module_cache._counted_to(sum(g.stale)),
        module_cache._counted_to(sum(g.other_epoch)), module_cache._counted_to(sum(g.older)), module_cache._counted_to(sum(g.contended)),
        max(g.updated_at))::module_cache._activity as activity
    from gone g
    where g.epoch = _sweep_reports.epoch
    group by g.realm_url, g.kind
  loop
    perform module_cache._add_activity(epoch, 0, v_row.activity);
  end loop;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._time_since(since timestamp with time zone)
 RETURNS text
 LANGUAGE sql
 PARALLEL SAFE
BEGIN ATOMIC
 SELECT
         CASE
             WHEN (a.s < (10)::numeric) THEN (trim_scale(round(GREATEST(a.s, 0.01),
             CASE
                 WHEN (a.s < (1)::numeric) THEN 2
                 ELSE 1
             END)) || ' s'::text)
             WHEN (a.s < (120)::numeric) THEN (round(a.s) || ' s'::text)
             WHEN (a.s < (7200)::numeric) THEN (round((a.s / (60)::numeric)) || ' min'::text)
             WHEN (a.s < (172800)::numeric) THEN (round((a.s / (3600)::numeric)) || ' h'::text)
             ELSE (round((a.s / (86400)::numeric)) || ' days'::text)
         END AS "case"
    FROM ( SELECT EXTRACT(epoch FROM (clock_timestamp() - _time_since.since)) AS s) a;
END;

CREATE OR REPLACE FUNCTION module_cache._told(scope text, realm_url text, canonical_paths text[], xid xid8)
 RETURNS text
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
declare
  c_private constant text := module_cache._payload('private', null, null, xid);
  v_paths text[];
begin
  if scope = 'closed' then
    -- Who has read it until now holds it under its name, and nobody else is to learn that.
    return module_cache._payload('global', null, null, xid);
  elsif scope = 'global' then
    return module_cache._payload(scope, null, null, xid);
  elsif scope = 'realm' then
    return case
      when module_cache._is_closed(realm_url, '') then c_private
      else module_cache._payload(scope, realm_url, null, xid)
    end;
  end if;
  v_paths := module_cache._visible_paths(realm_url, canonical_paths);
  return concat_ws(',',
    case when v_paths <> '{}' then module_cache._payload(scope, realm_url, v_paths, xid) end,
    case when cardinality(v_paths) < cardinality(canonical_paths) then c_private end);
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._tracked_change()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
declare
  c_rows constant integer := 100000;
  v_realm constant text collate "C" := nullif(tg_argv[0], '');
  v_has_realms constant boolean := tg_argv[2] <> '';
  v_old text := case when tg_op = 'INSERT' then null when tg_level = 'ROW' then '(select ($1).*)' else 'old_rows' end;
  v_new text := case when tg_op = 'DELETE' then null when tg_level = 'ROW' then '(select ($2).*)' else 'new_rows' end;
  v_path_value text;
  v_realm_value text;
  v_old_paths text[];
  v_old_realms text[];
  v_new_paths text[];
  v_new_realms text[];
  v_paths text[] collate "C";
  v_context text;
begin
  -- The rows that a TRUNCATE removes are not at hand, and an old snapshot would not even show them all.
  if tg_op = 'TRUNCATE' then
    perform module_cache._clear_sources(case when not v_has_realms then v_realm end);
    return null;
  end if;

  if tg_nargs > 3 then
    get diagnostics v_context = pg_context;
    if module_cache._may_be_merge(v_context) then
      perform module_cache._clear_sources(case when not v_has_realms then v_realm end);
      return null;
    end if;
  end if;

  select c.value into v_path_value from module_cache._source_columns(tg_relid) c where c.column_name = tg_argv[1];
  if v_has_realms then
    select format('case when r.%I is not null then %s end', c.column_name, c.value) into v_realm_value
    from module_cache._source_columns(tg_relid) c
    where c.column_name = tg_argv[2];
  end if;
  if v_path_value is null or v_has_realms and v_realm_value is null then
    raise warning using
      message = 'a tracked column is gone, so everything that it could name was invalidated',
      detail = format('table: %s, columns: %s', tg_relid::regclass, concat_ws(', ', tg_argv[1], nullif(tg_argv[2], ''))),
      hint = 'Call module_cache.track_table again with the names that the columns have now.';
    perform module_cache._clear_sources(case when not v_has_realms then v_realm end);
    return null;
  end if;

  -- What is null here is left out of the statement.
  v_old := ' from ' || v_old || ' r limit ' || c_rows + 1 || ')';
  v_new := ' from ' || v_new || ' r limit ' || c_rows + 1 || ')';
  execute 'select '
      || coalesce('array(select ' || v_path_value || v_old, 'null') || ', '
      || coalesce('array(select ' || v_realm_value || v_old, 'null') || ', '
      || coalesce('array(select ' || v_path_value || v_new, 'null') || ', '
      || coalesce('array(select ' || v_realm_value || v_new, 'null')
    into v_old_paths, v_old_realms, v_new_paths, v_new_realms
    using old, new;

  v_paths := coalesce(v_new_paths, v_old_paths);
  -- Not always as many after the change as before it: a trigger can turn down a row that moves to another partition.
  if greatest(cardinality(v_old_paths), cardinality(v_new_paths)) > c_rows then
    perform module_cache._clear_sources(case when not v_has_realms then v_realm end);
  elsif cardinality(v_paths) = 1
    and not v_has_realms
    and v_paths = coalesce(v_old_paths, v_paths)
    and module_cache._path(v_realm, v_paths[1]) is not null
  then
    perform module_cache._invalidate(v_realm, v_paths, 0);
  else
    perform module_cache._invalidate_sources(v_realm, v_old_paths, v_old_realms, v_new_paths, v_new_realms);
  end if;
  return null;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._tracked_tables()
 RETURNS TABLE(source regclass, realm_url text, path_column text, realm_column text, tables bigint, problem text)
 LANGUAGE sql
 STABLE SECURITY DEFINER
BEGIN ATOMIC
 SELECT (t.source)::regclass AS source,
     NULLIF(t.arguments[1], ''::text) AS "nullif",
     t.arguments[2] AS arguments,
     NULLIF(t.arguments[3], ''::text) AS "nullif",
     ( SELECT count(*) AS count
            FROM module_cache._source_relations(t.source) _source_relations(relation, name, kind, owner, depth)) AS count,
     module_cache._tracking_problem(t.source, t.arguments) AS _tracking_problem
    FROM ( SELECT g.tgrelid AS source,
             min(module_cache._trigger_arguments(g.tgargs)) AS arguments
            FROM pg_trigger g
           WHERE ((g.tgfoid = ('module_cache._tracked_change'::regproc)::oid) AND (g.tgparentid = (0)::oid))
           GROUP BY g.tgrelid) t
   WHERE ((NOT (EXISTS ( SELECT
            FROM (module_cache._source_parents(t.source) p(parent)
              JOIN pg_trigger g ON ((g.tgrelid = p.parent)))
           WHERE (g.tgfoid = ('module_cache._tracked_change'::regproc)::oid)))) AND (NOT module_cache._is_closed(t.arguments[1], ''::text)));
END;

CREATE OR REPLACE FUNCTION module_cache._tracking_gaps(source oid, arguments text[])
 RETURNS TABLE(step bigint, relation oid, trigger_name name, is_missing boolean, is_by_row boolean, statements text[])
 LANGUAGE sql
 STABLE PARALLEL SAFE
BEGIN ATOMIC
 SELECT row_number() OVER (ORDER BY r.depth, r.relation, w.name) AS row_number,
     r.relation,
     w.name,
     (t.oid IS NULL),
     (EXISTS ( SELECT
            FROM pg_trigger c
           WHERE ((c.tgrelid = r.relation) AND (c.tgparentid <> (0)::oid) AND (c.tgenabled = 'A'::"char") AND (c.tgfoid = ('module_cache._tracked_change'::regproc)::oid)))) AS "exists",
     (
         CASE
             WHEN ((t.oid IS NULL) AND (NOT w.is_copy)) THEN ARRAY[format('create or replace trigger %I after %s on %s %s execute function module_cache._tracked_change(%L, %L, %L%s)'::text, w.name, w.event, r.name, w.level, (_tracking_gaps.arguments)[1], (_tracking_gaps.arguments)[2], (_tracking_gaps.arguments)[3],
             CASE
                 WHEN ((w.name = 'module_cache_update'::name) AND (r.kind = 'p'::"char")) THEN ', ''partitioned'''::text
                 ELSE NULL::text
             END)]
             ELSE '{}'::text[]
         END || format('alter table only %s %s trigger %I'::text, r.name, w.state, w.name))
    FROM ((module_cache._source_relations(_tracking_gaps.source) r(relation, name, kind, owner, depth)
      CROSS JOIN LATERAL ( VALUES ('module_cache_insert'::name,'insert'::text,'referencing new table as new_rows for each statement'::text,'enable always'::text,'A'::"char",false,true), ('module_cache_update'::name,'update'::text,'referencing old table as old_rows new table as new_rows for each statement'::text,'enable always'::text,'A'::"char",false,true), ('module_cache_delete'::name,'delete'::text,'referencing old table as old_rows for each statement'::text,'enable always'::text,'A'::"char",false,true), ('module_cache_truncate'::name,'truncate'::text,'for each statement'::text,'enable always'::text,'A'::"char",false,true), ('module_cache_rows'::name,'insert or update or delete'::text,'for each row'::text,
                 CASE r.kind
                     WHEN 'p'::"char" THEN 'enable always'::text
                     ELSE 'disable'::text
                 END,(
                 CASE r.kind
                     WHEN 'p'::"char" THEN 'A'::text
                     ELSE 'D'::text
                 END)::"char",(r.depth > 0),( SELECT (c.relkind = 'p'::"char")
                    FROM pg_class c
                   WHERE (c.oid = _tracking_gaps.source))), ('module_cache_replicated'::name,'insert or update or delete'::text,'for each row when (pg_catalog.inet_client_port() is null and pg_catalog.current_query() is null)'::text,'enable replica'::text,'R'::"char",false,(r.kind = 'r'::"char"))) w(name, event, level, state, tgenabled, is_copy, is_wanted))
      LEFT JOIN pg_trigger t ON (((t.tgrelid = r.relation) AND (t.tgname = w.name) AND (t.tgfoid = ('module_cache._tracked_change'::regproc)::oid) AND ((t.tgparentid <> (0)::oid) = w.is_copy) AND (module_cache._trigger_arguments(t.tgargs) = _tracking_gaps.arguments))))
   WHERE (w.is_wanted AND (r.kind = ANY (ARRAY['r'::"char", 'p'::"char"])) AND (t.tgenabled IS DISTINCT FROM w.tgenabled));
END;

CREATE OR REPLACE FUNCTION module_cache._tracking_problem(source oid, arguments text[])
 RETURNS text
 LANGUAGE sql
 STABLE PARALLEL SAFE
BEGIN ATOMIC
 SELECT COALESCE(( SELECT format('column %I is gone'::text, a.column_name) AS format
            FROM unnest((_tracking_problem.arguments)[2:3]) a(column_name)
           WHERE ((a.column_name <> ''::text) AND (NOT (a.column_name IN ( SELECT (c.column_name)::text AS column_name
                    FROM module_cache._source_columns(_tracking_problem.source) c(column_name, value)))))
          LIMIT 1), ( SELECT format('writes through its parent %s are missed'::text, (p.parent)::regclass) AS format
            FROM module_cache._source_parents(_tracking_problem.source) p(parent)
          LIMIT 1), ( SELECT format('%s is a foreign table'::text, (r.relation)::regclass) AS format
            FROM module_cache._source_relations(_tracking_problem.source) r(relation, name, kind, owner, depth)
           WHERE (r.kind <> ALL (ARRAY['r'::"char", 'p'::"char"]))
          LIMIT 1), ( SELECT
                 CASE
                     WHEN (g.is_missing AND g.is_by_row) THEN format('%s is tracked row by row'::text, (g.relation)::regclass)
                     ELSE format('%s of %s is %s'::text, g.trigger_name, (g.relation)::regclass,
                     CASE
                         WHEN g.is_missing THEN 'missing'::text
                         ELSE 'not as it was'::text
                     END)
                 END AS format
            FROM module_cache._tracking_gaps(_tracking_problem.source, _tracking_problem.arguments) g(step, relation, trigger_name, is_missing, is_by_row, statements)
           ORDER BY g.step
          LIMIT 1)) AS "coalesce";
END;

CREATE OR REPLACE FUNCTION module_cache._tracking_statements(source regclass, realm_url text, path_column name, realm_column name, caller name)
 RETURNS SETOF text
 LANGUAGE plpgsql
 STABLE PARALLEL SAFE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
declare
  v_realm text;
  v_name text;
begin
  if source is null or path_column is null or realm_url is null and realm_column is null then
    perform module_cache._raise('MC003', 'an argument of track_table is null',
      concat_ws(', ',
        case when source is null then 'source' end,
        case when path_column is null then 'path_column' end,
        case when realm_url is null and realm_column is null then 'realm_url and realm_column' end),
      'Name the table, the realm of its rows, and the column that holds their paths; realm_url may be null if realm_column names the column that holds realms.');
  end if;
  if realm_url is not null then
    v_realm := module_cache._require_realm(realm_url);
  end if;

  if not exists (
    select
    from pg_class c
    where c.oid = source
      and c.relkind in ('r', 'p')
      and c.oid >= 16384
      and c.relnamespace <> 'module_cache'::regnamespace)
  then
    perform module_cache._raise('MC003', 'not a table that can be tracked', format('source: %s', source),
      'Only tables can be: no views, materialized views, foreign tables, indexes, system catalogs, or tables of the schema module_cache. Track the tables that a view reads from.');
  end if;
  select p.inhparent::regclass into v_name
  from module_cache._source_relations(source) r
  join pg_inherits p on p.inhrelid = r.relation
  where p.inhparent not in (select o.relation from module_cache._source_relations(source) o)
  limit 1;
  if found then
    perform module_cache._raise('MC003', 'a partition or child cannot be tracked without its parent',
      format('source: %s, parent: %s', source, v_name),
      'Track the parent: what is written through it does not fire the triggers of a partition. A realm for each partition is what realm_column is for.');
  end if;
  select r.name into v_name from module_cache._source_relations(source) r where r.kind not in ('r', 'p') limit 1;
  if found then
    perform module_cache._raise('MC003', 'a partition or child is a foreign table', format('source: %s, foreign table: %s', source, v_name),
      'Postgres does not tell triggers what was written to a foreign table. Detach it first.');
  end if;
  select r.name into v_name from module_cache._source_relations(source) r where not pg_has_role(caller, r.owner, 'usage') limit 1;
  if found then
    perform module_cache._raise('MC003', 'not the owner of the table', format('table: %s, role: %I', v_name, caller),
      'Call it as the owner of the table and of all its partitions.');
  end if;

  foreach v_name in array array_remove(array[path_column, realm_column], null) loop
    if not exists (select from pg_attribute a where a.attrelid = source and a.attname = v_name and a.attnum > 0 and not a.attisdropped) then
      perform module_cache._raise('MC003', 'no such column', format('table: %s, column: %I', source, v_name),
        'Names are compared as they are, upper and lower case included: pass them without quotes of their own.');
    end if;
    if not exists (select from module_cache._source_columns(source) c where c.column_name = v_name) then
      perform module_cache._raise('MC003', 'not a column that holds paths or realms', format('table: %s, column: %I', source, v_name),
        'The type has to be text, varchar, char, name, citext, an enum or a domain over one of these; a generated column has to be a stored one.');
    end if;
  end loop;

  return query
    select s.statement
    from module_cache._tracking_gaps(source, array[coalesce(v_realm, ''), path_column, coalesce(realm_column, '')]) g,
      unnest(g.statements) with ordinality s (statement, position)
    order by g.step, s.position;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._trigger_arguments(tgargs bytea)
 RETURNS text[]
 LANGUAGE sql
 STABLE PARALLEL SAFE
BEGIN ATOMIC
 SELECT ARRAY( SELECT convert_from(decode(a.argument, 'hex'::text), getdatabaseencoding()) AS convert_from
            FROM string_to_table(regexp_replace(encode(_trigger_arguments.tgargs, 'hex'::text), '..'::text, '\& '::text, 'g'::text), '00 '::text) WITH ORDINALITY a(argument, "position")
           WHERE (a."position" <= 3)
           ORDER BY a."position") AS "array";
END;

CREATE OR REPLACE FUNCTION module_cache._untracking_statements(source regclass, caller name)
 RETURNS SETOF text
 LANGUAGE plpgsql
 STABLE PARALLEL SAFE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
declare
  v_name text;
begin
  if source is null then
    perform module_cache._raise('MC003', 'source is null', null, 'Name the table.');
  end if;
  select p.parent::regclass into v_name
  from module_cache._source_parents(source) p (parent)
  join pg_trigger t on t.tgrelid = p.parent
  where t.tgfoid = 'module_cache._tracked_change'::regproc
  limit 1;
  if found then
    perform module_cache._raise('MC003', 'a partition or child is tracked with its parent',
      format('source: %s, parent: %s', source, v_name),
      'Call untrack_table for the parent, or detach the partition first.');
  end if;
  select r.name into v_name
  from module_cache._source_relations(source) r
  join pg_trigger t on t.tgrelid = r.relation
  where t.tgfoid = 'module_cache._tracked_change'::regproc and not pg_has_role(caller, r.owner, 'usage')
  limit 1;
  if found then
    perform module_cache._raise('MC003', 'not the owner of the table', format('table: %s, role: %I', v_name, caller),
      'Call it as the owner of the table and of all its partitions.');
  end if;

  return query
    select format('drop trigger if exists %I on %s', t.tgname, r.name)
    from module_cache._source_relations(source) r
    join pg_trigger t on t.tgrelid = r.relation
    where t.tgfoid = 'module_cache._tracked_change'::regproc and t.tgparentid = 0
    order by r.depth, r.relation, t.tgname;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._visible_keys(realm_url text, dependency_keys text[], depends_on bigint[])
 RETURNS text[]
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
begin
  if depends_on is not null
    and not module_cache._may_be_private(depends_on)
    and (module_cache._private_realm(realm_url)).role_name is null
  then
    return dependency_keys;
  end if;
  return array(
    select k.key
    from unnest(dependency_keys) with ordinality k (key, position)
    where not module_cache._is_closed(
      case when k.key ~ '^[a-z][a-z0-9+.-]*://' then '' else realm_url end, k.key || '/')
    order by k.position);
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._visible_paths(realm_url text, canonical_paths text[])
 RETURNS text[]
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
begin
  -- Most realms have no other inside: then all their modules are alike.
  if exists (
    select
    from module_cache._private_realms p
    where p.realm_url > _visible_paths.realm_url collate "C"
      and p.realm_url < module_cache._after_realm(_visible_paths.realm_url))
  then
    return array(
      select n.path
      from unnest(canonical_paths) with ordinality n (path, position)
      join (
        select f.folder, module_cache._is_closed(realm_url, f.folder) as is_closed
        from (select distinct coalesce(substring(p.path from '^.*/'), '') as folder from unnest(canonical_paths) p (path)) f
        offset 0
      ) c on c.folder = coalesce(substring(n.path from '^.*/'), '')
      where not c.is_closed
      order by n.position);
  end if;
  return case when module_cache._is_closed(realm_url, '') then '{}' else canonical_paths end;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache._waiting_key(claim_key bigint)
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
 SELECT hashtextextended(('module_cache.waiting '::text || claim_key), (0)::bigint) AS hashtextextended;
END;

CREATE OR REPLACE FUNCTION module_cache._way_to_named(epoch uuid, home text, depends_on bigint[], named_realms text[], named_paths text[], xid xid8)
 RETURNS text[]
 LANGUAGE plpgsql
 STABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_seqscan TO 'off'
 SET jit TO 'off'
AS $function$
declare
  c_steps constant integer := 100;
  c_modules constant integer := 20000;
  v_named constant bigint[] := array(
    select module_cache._module_hash(n.realm, n.path) from unnest(named_realms, named_paths) n (realm, path));
  v_looked_at bigint[] := '{}';
  -- What is looked at next, and for each the names of the modules on the way to it.
  v_hashes bigint[] := depends_on;
  v_ways jsonb[] := array_fill(jsonb '[]', array[cardinality(depends_on)]);
  v_way jsonb;
begin
  for v_step in 1..c_steps loop
    select
      f.way || to_jsonb(module_cache._named_from(home, named_realms[n.position], named_paths[n.position]))
    into v_way
    from unnest(v_hashes, v_ways) f (hash, way)
    join unnest(v_named) with ordinality n (hash, position) on n.hash = f.hash
    order by 1
    limit 1;
    if found then
      return array(select jsonb_array_elements_text(v_way));
    end if;
    v_looked_at := v_looked_at || v_hashes;
    exit when cardinality(v_looked_at) > c_modules;
    select array_agg(s.hash), array_agg(v_ways[s.position] || to_jsonb(s.name))
    into v_hashes, v_ways
    from (
      select t.hash, t.position, min(module_cache._named_from(home, a.realm_url, a.canonical_path) collate "C") as name
      from (
        select d.hash, min(f.position) as position
        from unnest(v_hashes) with ordinality f (hash, position)
        join module_cache._artifacts a on a.module_hash = f.hash and a.epoch = _way_to_named.epoch
        cross join unnest(a.depends_on) d (hash)
        where d.hash not in (select unnest(v_looked_at))
        group by d.hash
      ) t
      join module_cache._artifacts a
        on a.module_hash = v_hashes[t.position] and a.epoch = _way_to_named.epoch and t.hash = any (a.depends_on)
      where exists (select from module_cache._generations g where g.key = t.hash and g.xid = _way_to_named.xid)
      group by t.hash, t.position
    ) s;
    exit when v_hashes is null;
  end loop;
  return '{}';
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache.changes_since(INOUT cursor text, OUT complete boolean, OUT changes jsonb)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET jit TO 'off'
AS $function$
declare
  c_too_many constant integer := 100000;
  v_life text;
  v_snapshot pg_snapshot;
  v_epoch uuid;
  v_current_life text;
begin
  complete := false;
  changes := '[]';
  if pg_is_in_recovery() then
    perform module_cache._raise('MC005', 'the server is a standby', null,
      'Connect to the primary: tokens and cursors have no meaning on a standby.');
  end if;
  if cursor is not null then
    select p.life, p.snapshot into v_life, v_snapshot from module_cache._parse_token(cursor collate "C") p;
  end if;

  select e.epoch, e.life into v_epoch, v_current_life from module_cache._epoch() e;
  if v_epoch is null then
    perform module_cache._ensure_epoch();
    select e.life into v_current_life from module_cache._epoch() e;
  end if;
  if v_epoch is null or v_life is distinct from v_current_life then
    cursor := v_current_life || '/' || module_cache._snapshot();
    return;
  end if;

  -- One statement reads rows, floor and snapshot together: the next cursor has seen exactly what is returned. The
  -- rows are counted before they are put together: what is too much may not even fit into one value. (They are put
  -- together as text, because jsonb_agg of Postgres 18 takes a minute for 100,000 paths.)
  with missed as materialized (
    select l.*
    from (
      select i.* from module_cache._invalidations i
      where i.xid >= pg_snapshot_xmax(v_snapshot)
      union all
      select i.* from module_cache._invalidations i
      where i.xid = any (array(select pg_snapshot_xip(v_snapshot)))
    ) l
    where (l.epoch = v_epoch or l.epoch is null)
      and l.xid is distinct from pg_current_xact_id_if_assigned()
  ), reached as (
    select
      module_cache._snapshot() as snapshot,
      pg_snapshot_xmin(v_snapshot) >= module_cache._floor(v_epoch)
        and coalesce(sum(cardinality(m.canonical_paths) + 1), 0) <= c_too_many as complete,
      exists (select from module_cache._private_realms) as has_private
    from missed m
  )
  select
    r.snapshot, r.complete,
    '[' || coalesce(
      (
        select
          string_agg(
            case
              when r.has_private or m.scope = 'closed' then
                module_cache._told(m.scope, m.realm_url, m.canonical_paths, m.xid)
              else
                module_cache._payload(
                  m.scope, m.realm_url, case when m.scope = 'module' then m.canonical_paths end, m.xid)
            end,
            ',' order by m.xid, m.id)
        from missed m
        where r.complete and (m.scope <> 'module' or m.canonical_paths <> '{}')
      ),
      '') || ']'
  into cursor, complete, changes
  from reached r;

  perform module_cache._require_past(v_snapshot);
  cursor := v_current_life || '/' || cursor;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache.claim(realm_url text, canonical_path text, kind text, variant text)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
AS $function$
declare
  v_key constant bigint := module_cache._claim_key(realm_url, canonical_path, kind, variant);
begin
  if pg_is_in_recovery() then
    perform module_cache._raise('MC005', 'the server is a standby', null,
      'Connect to the primary: a claim on a standby excludes nobody.');
  end if;
  -- Advisory locks can be taken twice by one session; a claim cannot.
  if module_cache._holds_claim(v_key) or not pg_try_advisory_lock(v_key) then
    return false;
  end if;
  begin
    perform module_cache._name_claim(v_key, module_cache._realm(realm_url), canonical_path, kind, variant);
  exception
    -- Who gets an error does not know of the lock, and would keep it as long as the session lasts.
    when query_canceled then
      perform pg_advisory_unlock(v_key);
      raise;
    when others then
      null;
  end;
  return true;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache.clear_all()
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
begin
  perform module_cache._clear('global', module_cache._global_hash(), null);
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache.clear_realm(realm_url text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
declare
  v_realm constant text := module_cache._require_realm(realm_url);
begin
  perform module_cache._clear('realm', module_cache._realm_hash(v_realm), v_realm);
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache.close_realm(realm_url text, role_name name)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
declare
  v_realm constant text := module_cache._require_realm(realm_url);
begin
  perform module_cache._require_not_serializable();
  if role_name is null or not exists (select from pg_roles r where r.rolname = close_realm.role_name) then
    perform module_cache._raise('MC003', 'no such role', format('role_name: %L', role_name),
      'Names are compared as they are, upper and lower case included. Create the role first.');
  end if;
  insert into module_cache._private_realms as p
  values (v_realm, role_name, gen_random_uuid())
  on conflict on constraint _private_realms_pkey do update
  set role_name = excluded.role_name, salt = excluded.salt;
  perform module_cache._clear('closed', module_cache._realm_hash(v_realm), v_realm);
  -- What is stored under a realm around it, or inside, has no such key.
  insert into module_cache._generations (key, xid, epoch, realm_url)
  select distinct a.module_hash, pg_current_xact_id(), e.epoch, v_realm
  from module_cache._epoch() e
  cross join (
    select array_to_string((string_to_array(v_realm, '/'))[:n], '/') || '/' as url
    from generate_series(3, cardinality(string_to_array(v_realm, '/')) - 2) n
  ) around
  join module_cache._artifacts a
    on a.realm_url = around.url
    and starts_with(a.canonical_path, substr(v_realm, length(around.url) + 1))
  union
  select distinct a.module_hash, pg_current_xact_id(), e.epoch, v_realm
  from module_cache._epoch() e
  join module_cache._artifacts a on a.realm_url > v_realm and a.realm_url < module_cache._after_realm(v_realm);
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache.coherence_token()
 RETURNS text
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
begin
  return coalesce((select e.life from module_cache._epoch() e), repeat('0', 32) || '-0') || '@' || pg_current_xact_id();
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache.collect_garbage(older_than interval DEFAULT '01:00:00'::interval, batch integer DEFAULT 10000, OUT artifacts bigint, OUT renewed bigint, OUT generations bigint, OUT invalidations bigint, OUT complete boolean)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
begin
  if older_than is null or older_than not between interval '0' and interval '1000 years' or batch is null or batch < 1 then
    perform module_cache._raise('MC003', 'not a retention or batch size',
      format('older_than: %s, batch: %s', older_than, batch),
      'Pass an interval from 0 to 1000 years and a positive number of rows.');
  end if;
  -- An operator's word counts for more than what peers say.
  select c.* into artifacts, renewed, generations, invalidations, complete
  from module_cache._collect_garbage(older_than, older_than, batch, false) c;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache.explain(realm_url text, canonical_path text, OUT kind text, OUT variant text, OUT status text, OUT reason text, OUT through text[], OUT invalidated_at timestamp with time zone, OUT xid xid8, OUT role_name name, OUT application_name text, OUT client_address inet, OUT backend_pid integer, OUT dependencies text[], OUT dependents text[], OUT created_at timestamp with time zone, OUT expires_at timestamp with time zone, OUT bytes integer)
 RETURNS SETOF record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET gin_fuzzy_search_limit TO '0'
AS $function$
declare
  v_realm constant text := module_cache._require_artifact(realm_url, canonical_path, 'transpile', '');
  v_module_hash constant bigint := module_cache._module_hash(v_realm, canonical_path);
  v_epoch uuid;
  v_artifact module_cache._artifacts;
  v_has_private constant boolean := exists (select from module_cache._private_realms);
  v_is_live boolean;
  v_is_hidden boolean;
  v_is_outdated boolean;
  v_generation module_cache._generations;
  v_invalidation record;
  v_claims jsonb;
begin
  if pg_is_in_recovery() then
    perform module_cache._raise('MC005', 'the server is a standby', null,
      'Connect to the primary: the cache is empty on a standby.');
  end if;
  if v_has_private then
    perform module_cache._privacy(v_realm, canonical_path);
  end if;
  select e.epoch into v_epoch from module_cache._epoch() e;
  dependents := array(
    select distinct module_cache._named_from(v_realm, d.realm_url, d.canonical_path) collate "C"
    from module_cache._artifacts d
    where d.depends_on @> array[v_module_hash] and d.epoch = v_epoch
      and (not v_has_private or not module_cache._is_closed(d.realm_url, d.canonical_path))
    order by 1);
  select
    jsonb_agg(jsonb_build_object('kind', c.kind, 'variant', c.variant, 'description',
      format('; being produced by %s for %s%s', c.producer, module_cache._time_since(c.claimed_at),
        case when cardinality(c.waiting) > 0 then format(', awaited by %s', array_to_string(c.waiting, ', ')) else '' end)))
  into v_claims
  from module_cache._named_claims() c
  where c.realm_url = v_realm and c.canonical_path = explain.canonical_path;

  for v_artifact in
    select a.*
    from (select) one
    left join module_cache._artifacts a
      on a.module_hash = v_module_hash
      and (not v_has_private or not module_cache._is_closed(a.realm_url, a.canonical_path))
    order by a.realm_url, a.canonical_path, a.kind, a.variant
  loop
    v_is_live := coalesce(module_cache._is_live(v_artifact), false);
    v_is_hidden := false;
    if v_has_private and v_is_live then
      select p.is_hidden into v_is_hidden
      from module_cache._privacy(
        v_artifact.realm_url, v_artifact.canonical_path, v_artifact.dependency_keys, v_artifact.depends_on) p;
      v_is_live := not v_is_hidden;
    end if;
    -- The newest one that outdates it; else the newest one that it has seen. Of one transaction, the nearest.
    select g.*
    into v_generation
    from module_cache._generations g
    where g.key = any (
        array[v_module_hash, module_cache._realm_hash(coalesce(v_artifact.realm_url, v_realm)), 0] || v_artifact.depends_on)
      and (g.epoch = v_epoch or g.epoch is null)
    order by
      pg_visible_in_snapshot(g.xid, v_artifact.snapshot) nulls first,
      g.xid desc,
      g.key = v_module_hash desc,
      g.canonical_path
    limit 1;
    v_is_outdated := found
      and (v_artifact.kind is null or not pg_visible_in_snapshot(v_generation.xid, v_artifact.snapshot));
    select d.* into v_invalidation
    from module_cache._describe_invalidation(
      v_epoch, v_realm, v_module_hash, coalesce(v_artifact.depends_on, '{}'), v_generation) d
    where v_generation.xid is not null;

    kind := v_artifact.kind;
    variant := v_artifact.variant;
    through := v_invalidation.through;
    xid := v_generation.xid;
    invalidated_at := (v_invalidation.log_entry).invalidated_at;
    role_name := (v_invalidation.log_entry).role_name;
    application_name := (v_invalidation.log_entry).application_name;
    client_address := (v_invalidation.log_entry).client_address;
    backend_pid := (v_invalidation.log_entry).backend_pid;
    dependencies := case
      when v_has_private then module_cache._visible_keys(v_artifact.realm_url, v_artifact.dependency_keys, v_artifact.depends_on)
      else v_artifact.dependency_keys
    end;
    created_at := v_artifact.created_at;
    expires_at := v_artifact.expires_at;
    bytes := octet_length(v_artifact.body);
    status := case
      when v_is_live and v_artifact.is_error then 'error'
      when v_is_live then 'hit'
      when v_is_outdated and (v_artifact.kind is null or v_artifact.epoch = v_epoch) then 'tombstone'
      else 'miss'
    end;
    reason := case
      when v_is_live then concat_ws(', after ',
        format('%s: stored %s ago by transaction %s', status, module_cache._time_since(v_artifact.created_at), v_artifact.put_xid),
        v_invalidation.description)
      when v_is_hidden then 'miss: it depends on a private realm, which this role may not read'
      when v_artifact.kind is null and v_is_outdated then 'miss: not stored since ' || v_invalidation.description
      when v_artifact.kind is null then 'miss: never stored, or collected since'
      when v_artifact.epoch is distinct from v_epoch then
        'miss: stored in another life of the database, before a crash, a restore or a failover'
      when v_is_outdated then 'miss: ' || regexp_replace(v_invalidation.description, '^it was ', '')
      when v_artifact.expires_at <= clock_timestamp() then format('miss: expired %s ago', module_cache._time_since(v_artifact.expires_at))
      else 'miss: stored before the floor of garbage collection, or by a clock that was set back since'
    end;
    reason := reason
      || case
        when v_artifact.realm_url || v_artifact.canonical_path <> v_realm || explain.canonical_path
          then '; stored as ' || module_cache._named_from(v_realm, v_artifact.realm_url, v_artifact.canonical_path)
        else ''
      end
      || coalesce(
        (
          select string_agg(c.description, '' order by c.kind, c.variant)
          from jsonb_to_recordset(v_claims) c (kind text, variant text, description text)
          where v_artifact.kind is null or (c.kind, c.variant) = (v_artifact.kind, v_artifact.variant)
        ),
        '');
    return next;
  end loop;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache.get(realm_url text, canonical_path text, kind text DEFAULT 'transpile'::text, variant text DEFAULT ''::text, OUT status text, OUT body text, OUT headers jsonb, OUT dependency_keys text[], OUT generation xid8, OUT token text, OUT expires_in interval)
 RETURNS record
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET jit TO 'off'
AS $function$
declare
  v_realm text := realm_url;
  v_normal_realm text;
  v_epoch uuid;
  v_artifact_epoch uuid;
  v_snapshot pg_snapshot;
  v_module_hash bigint;
  v_realm_hash bigint;
  v_depends_on bigint[];
  v_is_live boolean;
  v_is_quiet boolean;
  v_has_private boolean;
begin
  if pg_is_in_recovery() then
    perform module_cache._raise('MC005', 'the server is a standby', null,
      'Connect to the primary: the cache is empty on a standby, and a token taken there has no meaning.');
  end if;
  loop
    -- One look at the newest invalidation decides the reads of a quiet database: a snapshot whose xmin is above it has
    -- seen every generation there is, and the floor is never above it. Whatever collation the caller's columns have,
    -- keys compare by their bytes.
    select
      e.epoch,
      case when pg_current_xact_id_if_assigned() is null then e.life || '/' || pg_current_snapshot() end,
      a.epoch, a.snapshot, a.module_hash, a.realm_hash, a.depends_on,
      a.epoch = e.epoch
        and (a.expires_at is null or a.created_at <= clock_timestamp() and a.expires_at > clock_timestamp()),
      not exists (select from module_cache._invalidations i where i.xid >= pg_snapshot_xmin(a.snapshot)),
      exists (select from module_cache._private_realms),
      case when a.is_error then 'error' else 'hit' end,
      a.body, a.headers, a.dependency_keys, a.generation,
      case when a.expires_at is not null then greatest(a.expires_at - clock_timestamp(), '1 microsecond') end
    into
      v_epoch,
      token,
      v_artifact_epoch, v_snapshot, v_module_hash, v_realm_hash, v_depends_on,
      v_is_live,
      v_is_quiet,
      v_has_private,
      status,
      body, headers, dependency_keys, generation,
      expires_in
    from module_cache._epoch() e
    left join module_cache._artifacts a
      on a.realm_url = v_realm collate "C"
      and a.canonical_path = get.canonical_path collate "C"
      and a.kind = get.kind collate "C"
      and a.variant = get.variant collate "C";
    -- Stored rows are well-formed, so only a key without a row needs a check.
    exit when v_artifact_epoch is not null;
    v_normal_realm := module_cache._require_artifact(v_realm, canonical_path, kind, variant);
    exit when v_normal_realm = v_realm collate "C";
    v_realm := v_normal_realm;
  end loop;

  if v_has_private then
    select v_is_live and not p.is_hidden, case when p.is_private then token || '/private' else token end
    into v_is_live, token
    from module_cache._privacy(v_realm, canonical_path, dependency_keys, v_depends_on) p;
  end if;

  -- On its own, because the executor prepares for every part of a query, whether it gets to it or not.
  if v_is_live and not v_is_quiet then
    v_is_live := (
      select
        pg_snapshot_xmin(v_snapshot) >= coalesce(max(f.floor), '0')
        and not exists (
          select
          from module_cache._generations g
          where g.key = any (array[v_module_hash, v_realm_hash, 0] || v_depends_on)
            and g.xid >= pg_snapshot_xmin(v_snapshot)
            and not pg_visible_in_snapshot(g.xid, v_snapshot)
            and (g.epoch = v_epoch or g.epoch is null))
      from module_cache._floors f
      where f.epoch = v_epoch);
  end if;
  if v_is_live then
    return;
  end if;
  status := 'miss';
  body := null;
  headers := null;
  dependency_keys := null;
  expires_in := null;
  generation := module_cache._newest_generation(v_epoch, module_cache._module_hash(v_realm, canonical_path));
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache.grant_roles()
 RETURNS SETOF text
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
declare
  v_role text;
  v_reader constant text :=
    'get(text, text, text, text), is_current(text, text, text, text, text), changes_since(text), '
    'coherence_token(), schema_version(), oldest_client(), _report_peer(text, jsonb, jsonb)';
  v_writer constant text := v_reader ||
    ', put(text, text, text, text, text, jsonb, text[], text, interval, boolean), invalidate(text, text[]), '
    'clear_realm(text), claim(text, text, text, text), release(text, text, text, text), _claim_key(text, text, text, text), '
    'track_table(regclass, text, name, name), untrack_table(regclass), _tracked_change(), _clear_sources(text), '
    '_tracking_statements(regclass, text, name, name, name), _untracking_statements(regclass, name), '
    '_show_waiting(bigint, boolean), _elect_collector(interval), _resign_collector(), _collect_for_fleet(interval, interval, integer)';
  v_operator constant text := v_writer ||
    ', clear_all(), collect_garbage(interval, integer), _status(text, text, text, text), _tracked_tables(), '
    '_peer_reports(), _named_claims(), _counted(), explain(text, text), '
    '_is_closed(text, text), _visible_paths(text, text[]), _visible_keys(text, text[], bigint[]), _is_member(name)';
begin
  foreach v_role in array array['module_cache_reader', 'module_cache_writer', 'module_cache_operator'] loop
    if to_regrole(v_role) is null then
      return next v_role;
      continue;
    end if;
    execute format('grant usage on schema module_cache to %I', v_role);
    execute format('grant execute on function %s to %I',
      case v_role
        when 'module_cache_reader' then v_reader
        when 'module_cache_writer' then v_writer
        else v_operator
      end, v_role);
    if v_role = 'module_cache_operator' then
      execute format('grant select, delete on module_cache.artifacts to %I', v_role);
      execute format(
        'grant select on module_cache.tombstones, module_cache.invalidations, module_cache.tracked_tables, '
        'module_cache.peers, module_cache.claims, module_cache.stats, module_cache.private_realms to %I', v_role);
    end if;
  end loop;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache.invalidate(realm_url text, canonical_paths text[])
 RETURNS SETOF module_cache.module
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
AS $function$
declare
  v_realm constant text collate "C" := module_cache._require_realm(realm_url);
  v_paths text[] collate "C";
  v_ignored bigint := 0;
begin
  if cardinality(canonical_paths) = 1 and module_cache._path(v_realm, canonical_paths[1]) is not null then
    v_paths := canonical_paths;
  else
    v_paths := array(
      select distinct n.path collate "C"
      from unnest(canonical_paths) n (path)
      where module_cache._path(v_realm, n.path) is not null);
    v_ignored := (
      select count(*) from unnest(canonical_paths) n (path) where module_cache._path(v_realm, n.path) is null);
  end if;
  return query
    with invalidated as materialized (
      select m.realm_url, m.path
      from module_cache._invalidate(v_realm, v_paths, v_ignored) i, unnest(i.realm_urls, i.invalidated_paths) m (realm_url, path)
    ), told as (
      select i.realm_url, array_agg(i.path) as paths
      from invalidated i
      where exists (select from module_cache._private_realms)
      group by i.realm_url
    )
    select i.realm_url, i.path from invalidated i where not exists (select from module_cache._private_realms)
    union all
    select t.realm_url, v.path from told t, unnest(module_cache._visible_paths(t.realm_url, t.paths)) v (path);
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache.is_current(realm_url text, canonical_path text, kind text, variant text, token text)
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET jit TO 'off'
AS $function$
declare
  v_realm constant text := module_cache._require_artifact(realm_url, canonical_path, kind, variant);
  v_life text;
  v_snapshot pg_snapshot;
  v_has_private constant boolean := exists (select from module_cache._private_realms);
begin
  if v_has_private then
    perform module_cache._privacy(v_realm, canonical_path);
  end if;
  select p.life, p.snapshot into v_life, v_snapshot from module_cache._parse_token(token collate "C") p;
  return coalesce(
    (
      select
        module_cache._is_live(a)
        and pg_visible_in_snapshot(a.put_xid, v_snapshot)
        and (not v_has_private
          or not (module_cache._privacy(a.realm_url, a.canonical_path, a.dependency_keys, a.depends_on)).is_hidden)
      from module_cache._artifacts a
      where a.realm_url = v_realm collate "C"
        and a.canonical_path = is_current.canonical_path collate "C"
        and a.kind = is_current.kind collate "C"
        and a.variant = is_current.variant collate "C"
        and v_life = (select e.life from module_cache._epoch() e)
    ),
    false);
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache.oldest_client()
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
 SELECT '0.1.0'::text AS text;
END;

CREATE OR REPLACE FUNCTION module_cache.open_realm(realm_url text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
declare
  v_realm constant text := module_cache._require_realm(realm_url);
begin
  perform module_cache._require_not_serializable();
  delete from module_cache._private_realms p where p.realm_url = v_realm;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache.put(realm_url text, canonical_path text, kind text, variant text, body text, headers jsonb, dependency_keys text[], token text, expires_in interval DEFAULT NULL::interval, is_error boolean DEFAULT false, OUT stored boolean, OUT reason text)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
AS $function$
declare
  v_new module_cache._artifacts;
  v_epoch uuid;
  v_life text;
  v_token_life text;
  v_has_private constant boolean := exists (select from module_cache._private_realms);
begin
  stored := false;
  v_new.realm_url := module_cache._require_artifact(realm_url, canonical_path, kind, variant);
  if v_has_private then
    perform module_cache._privacy(v_new.realm_url, canonical_path);
  end if;
  if body is null then
    perform module_cache._raise('MC003', 'body is null', null, 'Pass the text of the artifact; an empty text is allowed.');
  end if;
  if expires_in <= interval '0' or expires_in > interval '10000 years' then
    perform module_cache._raise('MC003', 'expires_in is not a possible life', format('expires_in: %s', expires_in),
      'Pass a positive interval of at most 10,000 years, or null for an artifact that lives until it is invalidated.');
  end if;
  v_new.canonical_path := canonical_path;
  v_new.kind := kind;
  v_new.variant := variant;
  v_new.body := body;
  v_new.headers := coalesce(headers, '{}');
  v_new.is_error := coalesce(is_error, false);
  select coalesce(array_agg(d.declared order by d.position), '{}') into v_new.dependency_keys
  from (
    select module_cache._declared_key(v_new.realm_url, k.key collate "C") as declared, min(k.position) as position
    from unnest(dependency_keys) with ordinality k (key, position)
    group by declared
  ) d;
  if array_position(v_new.dependency_keys, null) is not null then
    perform module_cache._raise('MC001', 'not a dependency key',
      format('dependency_keys: %s', left(put.dependency_keys::text, 400)),
      'A dependency key is a canonical path or key of the same realm, or a URL for a module of another realm.');
  end if;

  if token is not null then
    select p.life, p.snapshot into v_token_life, v_new.snapshot from module_cache._parse_token(token collate "C") p;
  end if;
  select e.epoch, e.life into v_epoch, v_life from module_cache._epoch() e;
  if v_token_life is distinct from v_life or v_life is null then
    perform module_cache._ensure_epoch();
    reason := 'epoch';
    return;
  end if;
  perform module_cache._require_past(v_new.snapshot);

  v_new.epoch := v_epoch;
  v_new.module_hash := module_cache._module_hash(v_new.realm_url, canonical_path);
  v_new.realm_hash := module_cache._realm_hash(v_new.realm_url);
  v_new.depends_on := module_cache._dependency_hashes(v_new.realm_url, v_new.dependency_keys);
  if v_has_private then
    perform module_cache._require_publishable(
      v_new.realm_url, canonical_path, v_new.dependency_keys, v_new.depends_on);
  end if;
  if pg_snapshot_xmin(v_new.snapshot) < module_cache._floor(v_epoch)
    or module_cache._is_outdated(v_epoch, v_new.snapshot, v_new.module_hash, v_new.realm_hash, v_new.depends_on)
  then
    reason := 'stale';
    return;
  end if;

  v_new.generation := module_cache._newest_generation(v_epoch, v_new.module_hash);
  v_new.put_xid := pg_current_xact_id();
  v_new.created_at := clock_timestamp();
  v_new.expires_at := v_new.created_at + expires_in;

  if current_setting('transaction_isolation') = 'read committed' then
    reason := module_cache._store(v_new);
  else
    -- An old snapshot cannot see who wrote the row since; that is contention, not a failure of the caller's work.
    begin
      reason := module_cache._store(v_new);
    exception when serialization_failure or unique_violation then
      reason := 'contended';
    end;
  end if;
  stored := reason = 'stored';
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache.release(realm_url text, canonical_path text, kind text, variant text)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
AS $function$
declare
  v_realm constant text := module_cache._require_artifact(realm_url, canonical_path, kind, variant);
  v_key bigint;
begin
  -- Of a realm that was closed or opened since, claims have other keys; and whoever may not read it any more must not
  -- keep everybody else waiting.
  if not exists (select from module_cache._private_realms) or not module_cache._is_closed(v_realm, canonical_path) then
    v_key := module_cache._claim_key(realm_url, canonical_path, kind, variant);
  end if;
  if v_key is null or not module_cache._holds_claim(v_key) then
    select c.claim_key into v_key
    from module_cache._claims c
    where c.backend_pid = pg_backend_pid()
      and c.realm_url = v_realm collate "C"
      and c.canonical_path = release.canonical_path collate "C"
      and c.kind = release.kind collate "C"
      and c.variant = release.variant collate "C"
      and module_cache._holds_claim(c.claim_key)
    limit 1;
    if not found then
      -- It raises for a realm that is closed.
      perform module_cache._claim_key(realm_url, canonical_path, kind, variant);
      return false;
    end if;
  end if;
  perform pg_advisory_unlock(v_key);
  perform module_cache._forget_claim(v_key);
  if module_cache._may_notify() then
    perform pg_notify('module_cache_populated', v_key::text);
  end if;
  return true;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache.schema_version()
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
 SELECT '0.2.0'::text AS text;
END;

CREATE OR REPLACE FUNCTION module_cache.track_table(source regclass, realm_url text, path_column name, realm_column name DEFAULT NULL::name)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
declare
  v_statement text;
  v_changed boolean := false;
begin
  for v_statement in
    select s.statement
    from module_cache._tracking_statements(source, realm_url, path_column, realm_column, current_user) s (statement)
  loop
    execute v_statement;
    v_changed := true;
  end loop;
  if v_changed then
    perform module_cache._clear_sources(case when realm_column is null then realm_url end);
  end if;
end;
$function$;

CREATE OR REPLACE FUNCTION module_cache.untrack_table(source regclass)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'module_cache', 'pg_temp'
AS $function$
declare
  v_statement text;
begin
  for v_statement in
    select s.statement from module_cache._untracking_statements(source, current_user) s (statement)
  loop
    execute v_statement;
  end loop;
end;
$function$;

-- triggers

CREATE TRIGGER _deleted_artifacts AFTER DELETE ON module_cache._artifacts REFERENCING OLD TABLE AS deleted FOR EACH STATEMENT EXECUTE FUNCTION module_cache._deleted_artifacts();

-- comments

comment on column age of view module_cache.claims is 'For how long.';

comment on column application_name of view module_cache.invalidations is 'What the session calls itself.';

comment on column application_name of view module_cache.peers is 'What its dedicated connection calls itself.';

comment on column artifacts of view module_cache.stats is 'Stored, live or dead.';

comment on column backend_pid of table module_cache._peers is 'Of the dedicated connection, which alone writes this row.';

comment on column backend_pid of view module_cache.claims is 'Session of the producer: pg_terminate_backend ends it, and another process takes over.';

comment on column backend_pid of view module_cache.invalidations is 'The session, as pid in pg_stat_activity; it may be over, and its number given to another.';

comment on column backend_pid of view module_cache.peers is 'Session of its dedicated connection, as in pg_stat_activity.';

comment on column behind of view module_cache.peers is 'Transactions of the log that it may not have applied yet: since its last heartbeat but one, or since its last report where the owner of the schema may not see its session.';

comment on column body of view module_cache.artifacts is 'The product itself; of an error what was found out.';

comment on column broadcast of table module_cache._peers is 'notify: it listens; log: it only asks the log, at each heartbeat.';

comment on column bytes of view module_cache.artifacts is 'Size of the body.';

comment on column bytes of view module_cache.peers is 'What they take of its memory.';

comment on column bytes of view module_cache.stats is 'Size of their bodies.';

comment on column canonical_path of table module_cache._generations is 'Null for a realm and for everything.';

comment on column canonical_path of view module_cache.artifacts is 'The module: its path in the realm, with its extension.';

comment on column canonical_path of view module_cache.claims is 'The module: its path in the realm.';

comment on column canonical_path of view module_cache.tombstones is 'The module: its path in the realm.';

comment on column canonical_paths of table module_cache._invalidations is 'Every module of this realm that the invalidation reached, by name or through the fan-out.';

comment on column canonical_paths of view module_cache.invalidations is 'Which modules those are.';

comment on column client_address of view module_cache.invalidations is 'Where the session came from; null through a Unix socket.';

comment on column client_address of view module_cache.peers is 'Where its dedicated connection came from; null through a Unix socket.';

comment on column coalesced of view module_cache.stats is 'Answers that were the work of another caller or process.';

comment on column created_at of view module_cache.artifacts is 'When it was stored.';

comment on column cursor of table module_cache._peers is 'It has applied all invalidations of transactions below, and some of later ones.';

comment on column dependency_keys of view module_cache.artifacts is 'What its producer said it read: modules without their extension, those of other realms with the URL of the realm.';

comment on column depends_on of table module_cache._artifacts is 'Cover keys of what its producer declared; with module, realm and everything they are what it covers.';

comment on column entries of view module_cache.peers is 'Artifacts in its memory.';

comment on column epoch of table module_cache._invalidations is 'Null if the transaction saw no epoch; such a row counts in any.';

comment on column expires_at of view module_cache.artifacts is 'When it is dead in any case; null for never.';

comment on column failures of view module_cache.stats is 'Productions that threw.';

comment on column generation of table module_cache._artifacts is 'The newest generation of its module that its token had seen; it cannot change while the artifact is live.';

comment on column generation of view module_cache.artifacts is 'The transaction that last invalidated its module by the time it was made; null if none was known.';

comment on column generation of view module_cache.tombstones is 'The transaction that invalidated it last, as xid in the view invalidations.';

comment on column has_role of view module_cache.private_realms is 'False if there is no such role any more: then only the owner of the schema may read it.';

comment on column headers of view module_cache.artifacts is 'What its producer stored beside the body.';

comment on column hit_rate of view module_cache.peers is 'Of its reads in the minute before its last report, percent that its memory answered; null without any.';

comment on column hits of view module_cache.stats is 'Answers from the memory of a process (l1_hits) or from the database (l2_hits).';

comment on column host of view module_cache.peers is 'Name of the machine, or container, that it runs on.';

comment on column ignored of table module_cache._invalidations is 'How many of the named paths can name no module.';

comment on column ignored of view module_cache.invalidations is 'How many of the named paths can name no module.';

comment on column invalidated_at of view module_cache.invalidations is 'When it was called; it took effect when its transaction committed.';

comment on column invalidated_at of view module_cache.tombstones is 'When that was; null if the log does not go back that far.';

comment on column invalidations of view module_cache.stats is 'Calls that reached the realm, since the log was last collected; the same for each kind.';

comment on column key of table module_cache._generations is 'Cover key: hash of a module, a realm, or everything.';

comment on column kind of view module_cache.artifacts is 'What was made of it: transpile, definition, or a kind of your own.';

comment on column kind of view module_cache.claims is 'What is made of it: transpile, definition, or a kind of your own.';

comment on column kind of view module_cache.stats is 'transpile, definition, or a kind of your own; null for a realm of which nothing is known but that it was invalidated.';

comment on column l1_hits of view module_cache.stats is 'Answers from the memory of a process.';

comment on column l2_hits of view module_cache.stats is 'Answers from the database.';

comment on column lag of view module_cache.peers is 'How long ago the first of those transactions invalidated; 0 if there is none.';

comment on column life of table module_cache._epochs is 'Prefix of every token: epoch and start of the server. A volume that is set back to an earlier copy keeps its epoch, but not its start.';

comment on column minute_reads of table module_cache._peers is 'Answers from its memory, and questions to the database, in the last minute; and how many of them memory answered.';

comment on column misses of view module_cache.stats is 'Reads that found nothing live.';

comment on column modules of view module_cache.invalidations is 'How many modules of this realm it reached: those that were named, and all that depend on them. 0 if a realm or everything was cleared.';

comment on column name of table module_cache._peers is 'What the peer says of itself, as all that follows, for operators.';

comment on column name of view module_cache.peers is 'What it calls itself: the option name, or else its application_name.';

comment on column named_paths of table module_cache._invalidations is 'What the caller named.';

comment on column named_paths of view module_cache.invalidations is 'Paths that the caller named.';

comment on column needs of table module_cache._peers is 'The oldest xmin among its cursor and the tokens of its productions; from then on it needs generations and log.';

comment on column path_column of view module_cache.tracked_tables is 'Column with the path of each module.';

comment on column problem of view module_cache.tracked_tables is 'Why changes might be missed, or cost more than they should: call track_table again. Null if all is well.';

comment on column process_id of view module_cache.peers is 'Its process there.';

comment on column producer of view module_cache.claims is 'The peer, or the application_name of a session that is none.';

comment on column production_ms of table module_cache._activity is 'Time that its productions took together.';

comment on column production_ms of view module_cache.stats is 'Time that the productions took together, in ms; null if nothing was reported.';

comment on column productions of view module_cache.stats is 'How often something was produced, which took production_ms together.';

comment on column put_xid of table module_cache._artifacts is 'The transaction that stored this body. Garbage collection leaves it alone.';

comment on column put_xid of view module_cache.artifacts is 'The transaction that stored it.';

comment on column reads of view module_cache.peers is 'Answers from its memory, and questions to the database, in the minute before its last report.';

comment on column realm_column of view module_cache.tracked_tables is 'Column with the realm of each module; null if all are of one.';

comment on column realm_hash of table module_cache._private_realms is 'Its own cover key, and that of its index.';

comment on column realm_url of table module_cache._activity is 'Null for all that is beyond what is counted apart.';

comment on column realm_url of table module_cache._generations is 'Null for everything.';

comment on column realm_url of view module_cache.artifacts is 'The realm that owns the module: a URL ending in /.';

comment on column realm_url of view module_cache.claims is 'The realm that owns the module: a URL ending in /.';

comment on column realm_url of view module_cache.invalidations is 'Of which realm; null if everything was cleared.';

comment on column realm_url of view module_cache.private_realms is 'Private is all that lies under this URL.';

comment on column realm_url of view module_cache.stats is 'Null for what is beyond the 1,000 realms and kinds that a process counts apart, or the 2,000 of those that are gone.';

comment on column realm_url of view module_cache.tombstones is 'The realm that owns the module: a URL ending in /.';

comment on column realm_url of view module_cache.tracked_tables is 'The realm of its modules; with a realm_column of the rows that have none.';

comment on column rejected of view module_cache.stats is 'Products that put did not store; rejected_by says for which reason.';

comment on column rejected_by of view module_cache.stats is 'How many for each reason of put: stale (invalidated meanwhile), epoch (the database began another life), older, contended (several made the same).';

comment on column role_name of view module_cache.invalidations is 'Role that the session logged in as.';

comment on column role_name of view module_cache.peers is 'Role that its dedicated connection logged in as.';

comment on column role_name of view module_cache.private_realms is 'The role whose members may read it.';

comment on column salt of table module_cache._private_realms is 'Goes into the keys of its claims, which everybody who may log in can see: no name is to be guessed from them.';

comment on column scope of table module_cache._invalidations is 'module, realm or global; closed: a realm that became private, or was made to be forgotten again.';

comment on column scope of view module_cache.invalidations is 'module: modules of a realm; realm: all of a realm; global: everything.';

comment on column server_started_at of table module_cache._epochs is 'The start of the server at which system_identifier was last compared; read on every get, so the comparison is not.';

comment on column silent_for of view module_cache.peers is 'Since its last heartbeat, or since its last report where the owner of the schema may not see its session.';

comment on column since of view module_cache.claims is 'Since when.';

comment on column since of view module_cache.peers is 'When it opened its cache.';

comment on column snapshot of table module_cache._artifacts is 'Taken before its sources were read. Garbage collection moves it forward while the artifact is live.';

comment on column source of view module_cache.tracked_tables is 'The table that track_table was called for.';

comment on column stale of table module_cache._activity is 'Products that put did not store, as the other reasons of put beside it.';

comment on column status of view module_cache.artifacts is 'live, error (a live error), or dead: expired, or something that it covers was invalidated.';

comment on column status of view module_cache.peers is 'listening; polling: it asks the log, by choice; silent: its session is there, but it was not heard for three heartbeats and 10 s.';

comment on column system_identifier of table module_cache._epochs is 'The cluster that grew this row: in a young cluster a restored row can meet its old xmin by accident.';

comment on column tables of view module_cache.tracked_tables is 'The table with its partitions or children.';

comment on column uptime_ms of table module_cache._peers is 'Since when its cache is open; its clock may be another one.';

comment on column variant of view module_cache.artifacts is 'What must not be mixed within a kind, such as the fingerprint of the compiler and its options.';

comment on column variant of view module_cache.claims is 'What must not be mixed within a kind, such as the fingerprint of the compiler.';

comment on column version of view module_cache.peers is 'Version of the client that it runs.';

comment on column waiting of view module_cache.claims is 'Peers that have waited for it for more than a second.';

comment on column waiting_peers of view module_cache.claims is 'Which those are.';

comment on column written_by of table module_cache._epochs is 'The xmin of this very row. A restored row was written by another transaction than it says.';

comment on column xid of table module_cache._generations is 'The top-level transaction that invalidated.';

comment on column xid of view module_cache.invalidations is 'The transaction, as explain names it. There may be several rows of one.';

comment on function module_cache._add_activity(uuid,integer,module_cache._activity) is 'Adds to the row of a session, realm and kind, or of all others, if the session has too many.';

comment on function module_cache._advisory_locks() is 'The advisory locks of this database that sessions hold.';

comment on function module_cache._after_realm(text) is 'By their bytes, what lies in a realm comes before this.';

comment on function module_cache._broadcast(text,text,text[],xid8) is 'Notifies the listeners of one log row when the transaction commits.';

comment on function module_cache._broadcast_in_parts(text,text,text[],xid8) is 'Notifies the listeners of a log row that names many modules, or long ones.';

comment on function module_cache._caller() is 'The role that calls, whatever function runs.';

comment on function module_cache._claim_key(text,text,text,text) is 'The advisory lock of an artifact, and the payload of module_cache_populated. Raises MC001, MC006.';

comment on function module_cache._clear(text,bigint,text) is 'One generation for a realm or for everything, whatever the size, and one for the index of a realm that is a folder.';

comment on function module_cache._clear_sources(text) is 'Clears the realm of a tracked table; null for one whose rows name their realms: it clears everything.';

comment on function module_cache._collect(uuid,interval,interval,integer,boolean) is 'One batch of garbage collection. The caller holds the lock.';

comment on function module_cache._collect_for_fleet(interval,interval,integer) is 'collect_garbage for the elected peer: keeps what is younger than keep, what a peer that is there has reported to need, but nothing that is older than keep_at_most; and waits until there is enough to be worth it. Raises MC003.';

comment on function module_cache._collect_garbage(interval,interval,integer,boolean) is 'One batch, if nobody else collects. What is younger than keep stays, and what a peer needs, if it is younger than keep_at_most.';

comment on function module_cache._collector_key() is 'The advisory lock of the one peer that collects garbage.';

comment on function module_cache._counted() is 'What the view stats shows.';

comment on function module_cache._counted_to(numeric) is 'A count without nulls and negative numbers, below 10^15.';

comment on function module_cache._declared_key(text,text) is 'The normalised form of a declared dependency key; null if it is none.';

comment on function module_cache._deleted_artifacts() is 'Turns a DELETE into tombstones, generations and notifications.';

comment on function module_cache._dependency_hashes(text,text[]) is 'Cover keys of declared dependencies, and of the realms that they could lie in.';

comment on function module_cache._dependency_key(text) is 'A path without its executable extension and without a final /index below the root.';

comment on function module_cache._describe_invalidation(uuid,text,bigint,bigint[],module_cache._generations) is 'Who has invalidated, when, and through which modules.';

comment on function module_cache._elect_collector(interval) is 'True if this session is the one that collects garbage for the fleet, until it ends or resigns, or if that one has not collected for so long. Never waits.';

comment on function module_cache._ensure_epoch() is 'Makes sure that there is an epoch, if that can be done without waiting.';

comment on function module_cache._epoch() is 'The current epoch and the prefix of its tokens; no row if there is none.';

comment on function module_cache._floor(uuid) is 'Snapshots with an xmin below this transaction id count as stale.';

comment on function module_cache._forget_claim(bigint) is 'Takes back what _name_claim wrote; else it is swept.';

comment on function module_cache._global_hash() is 'Cover key of everything.';

comment on function module_cache._has_short_lock_timeout() is 'True if this session or transaction waits for locks, but less than a second.';

comment on function module_cache._holds_claim(bigint) is 'True if this session holds the claim.';

comment on function module_cache._importers(uuid,bigint[]) is 'The stored modules with one of the given keys, and all that declared them as a dependency, directly or through others.';

comment on function module_cache._insert(module_cache._artifacts) is 'False if a row of this key is there, null if another transaction is inserting one.';

comment on function module_cache._invalidate(text,text[],bigint) is 'Invalidates well-formed paths of one realm with all that depends on them; ignored is only written down.';

comment on function module_cache._invalidate_sources(text,text[],text[],text[],text[]) is 'Invalidates the modules that changed rows are the sources of: one log row for each realm. Null arrays are empty.';

comment on function module_cache._is_closed(text,text) is 'True if a module, or for an empty path a realm, is not for the caller to see.';

comment on function module_cache._is_live(module_cache._artifacts) is 'True if get would return this artifact: same epoch, not expired, nothing that it covers invalidated since.';

comment on function module_cache._is_maintenance() is 'True while Postgres runs expressions with the rights of the owner of a table, whoever has started that.';

comment on function module_cache._is_member(name) is 'True if the caller has the rights of the role, or of the owner of this schema.';

comment on function module_cache._is_newer(pg_snapshot,pg_snapshot) is 'True if a has seen strictly more than b.';

comment on function module_cache._is_off(text) is 'True if the named setting was switched off for this session or transaction.';

comment on function module_cache._is_outdated(uuid,pg_snapshot,bigint,bigint,bigint[]) is 'True if a generation of a covered key is visible here that the snapshot has not seen.';

comment on function module_cache._is_worth_it(uuid,xid8,xid8,interval) is 'False if there is little garbage beside the artifacts that would have to be moved.';

comment on function module_cache._may_be_merge(text) is 'False if the statement whose trigger has this context is certainly no MERGE.';

comment on function module_cache._may_be_private(bigint[]) is 'False if what has these cover keys depends on no private realm but one around its own, as most artifacts.';

comment on function module_cache._may_notify() is 'False if module_cache.notify is off, if the notification queue of the server is half full, or if the transaction waits less than a second for locks.';

comment on function module_cache._module_hash(text,text) is 'Cover key of a module, the same for every realm that its URL could be split at.';

comment on function module_cache._name_claim(bigint,text,text,text,text) is 'Writes down what a claim of this session is called, if that can be done.';

comment on function module_cache._name_for_caller(text,text) is 'The name of a module, if the caller may see it.';

comment on function module_cache._named_claims() is 'What the view claims shows.';

comment on function module_cache._named_from(text,text,text) is 'What a module is called in another realm, or in its own.';

comment on function module_cache._names_private(text,text[]) is 'True if a notification would tell everybody who may log in what not everybody may see.';

comment on function module_cache._newest_generation(uuid,bigint) is 'The current generation of a key as far as this snapshot shows; null if none is on record.';

comment on function module_cache._parse_token(text) is 'Life and snapshot of a token; raises MC002 for other text.';

comment on function module_cache._path(text,text) is 'The path, or null if it is no canonical path of the realm.';

comment on function module_cache._payload(text,text,text[],xid8) is 'The JSON text of a notification and of an entry of changes_since.';

comment on function module_cache._peer_key(integer) is 'The advisory lock that a peer holds on its dedicated connection.';

comment on function module_cache._peer_reports() is 'What the view peers shows.';

comment on function module_cache._peer_sessions() is 'The sessions of peers that are there.';

comment on function module_cache._privacy(text,text,text[],bigint[]) is 'Whether a module or what it depends on is private, and whether it depends on what the caller may not read. Raises MC006 for a module that the caller may not read.';

comment on function module_cache._private_dependencies(text,text[],bigint[]) is 'The roles of the private realms that an artifact depends on, and maybe null.';

comment on function module_cache._private_realm(text) is 'The innermost private realm that a URL lies in; null if there is none.';

comment on function module_cache._raise(text,text,text,text) is 'Raises an error of the MC class.';

comment on function module_cache._realm(text) is 'The realm with scheme and host in lower case; null if it is no realm.';

comment on function module_cache._realm_hash(text) is 'Cover key of a realm.';

comment on function module_cache._record_snapshot(uuid,xid8) is 'Records the present snapshot and thins out older ones.';

comment on function module_cache._renew_epoch() is 'Confirms the epoch after a clean restart, or replaces a missing or foreign one. The caller holds the lock.';

comment on function module_cache._report_activity(uuid,jsonb) is 'Adds what this session has served and produced since it last said so.';

comment on function module_cache._report_peer(text,jsonb,jsonb) is 'Says on the dedicated connection of a peer what it still needs (life@xid), what it is, and what it has done since its last report. False if that is of another life. Raises MC002 and MC003.';

comment on function module_cache._require_artifact(text,text,text,text) is 'The normalised realm of a well-formed artifact key; raises MC001 for any part that is not.';

comment on function module_cache._require_not_serializable() is 'Raises MC003 where serializable transactions of others could conflict with this one.';

comment on function module_cache._require_past(pg_snapshot) is 'Raises MC002 for a snapshot that this server cannot have given out.';

comment on function module_cache._require_publishable(text,text,text[],bigint[]) is 'Raises MC006 if some who may read this module may not read what it depends on.';

comment on function module_cache._require_realm(text) is 'The normalised realm; raises MC001 if it is none.';

comment on function module_cache._resign_collector() is 'Lets another session collect.';

comment on function module_cache._show_waiting(bigint,boolean) is 'Shows operators that this session waits for the end of a claim, or no longer does.';

comment on function module_cache._snapshot() is 'The current snapshot, with the own transaction counted as in progress.';

comment on function module_cache._source_columns(oid) is 'The columns that can hold paths or realms, each with the expression that reads it from a row r.';

comment on function module_cache._source_parents(oid) is 'The tables that a partition or child belongs to, at every level.';

comment on function module_cache._source_relations(oid) is 'A table with all of its partitions or children.';

comment on function module_cache._status(text,text,text,text) is 'Of a stored artifact live, error or dead; null for one that is not stored, or not for the caller to see.';

comment on function module_cache._store(module_cache._artifacts) is 'Writes a checked artifact unless a live one of a newer token is there; never waits for another writer.';

comment on function module_cache._sweep_reports(uuid) is 'Forgets the claims of sessions that are gone, and puts together what they have served and produced.';

comment on function module_cache._time_since(timestamp with time zone) is 'How long ago that was, in words.';

comment on function module_cache._told(text,text,text[],xid8) is 'A row of the log as the caller may see it: one payload or two, with a comma between them.';

comment on function module_cache._tracked_change() is 'Trigger of a tracked table: invalidates the modules whose sources a statement changed, under their old and their new names.';

comment on function module_cache._tracked_tables() is 'Rows of the view tracked_tables.';

comment on function module_cache._tracking_gaps(oid,text[]) is 'Triggers of a tracked table that are missing or not switched on as they should be, and the statements that mend it, in order.';

comment on function module_cache._tracking_problem(oid,text[]) is 'Why calling track_table again would help; null if all is well.';

comment on function module_cache._tracking_statements(regclass,text,name,name,name) is 'The statements that make a table a tracked one, none if it is. Raises MC001 and MC003.';

comment on function module_cache._trigger_arguments(bytea) is 'Realm, path column and realm column of a tracked table, as its triggers hold them.';

comment on function module_cache._untracking_statements(regclass,name) is 'The statements that drop the triggers of a tracked table, none if it is not tracked. Raises MC003.';

comment on function module_cache._visible_keys(text,text[],bigint[]) is 'Those dependency keys that the caller may see. Their cover keys, if they are at hand, make it fast.';

comment on function module_cache._visible_paths(text,text[]) is 'Those modules of a realm that the caller may see.';

comment on function module_cache._waiting_key(bigint) is 'The shared advisory lock of those who wait for the end of a claim.';

comment on function module_cache._way_to_named(uuid,text,bigint[],text[],text[],xid8) is 'Through which modules a transaction has reached what depends on the given keys: the nearest first, the named one last.';

comment on function module_cache.changes_since(text) is 'The invalidations that became visible since the cursor, and the next cursor. complete = false: drop everything. null starts a cursor. What the caller may not see has no name: {"k":"private"} stands for it. Raises MC002 for what is no cursor or comes from the future.';

comment on function module_cache.claim(text,text,text,text) is 'True if this session is now the one to produce the artifact; false if another, or this one already, is. Never waits. It writes down what it is called, so get has no token behind it in the same transaction. Raises MC001, MC005, MC006.';

comment on function module_cache.clear_all() is 'Invalidates everything, at the cost of one row.';

comment on function module_cache.clear_realm(text) is 'Invalidates every module of the realm, and what declared a dependency in it, at the cost of a row or two. Raises MC001.';

comment on function module_cache.close_realm(text,name) is 'From now on only members of the role can read what lies in this realm. Clears it, and makes every process forget all that it holds; again with the same role, it does so again, which is what taking a member from the role asks for. Raises MC001, MC003.';

comment on function module_cache.coherence_token() is 'Names the current transaction. A read that passes it as "after" sees the invalidations of this transaction; without an epoch no cache holds anything, and the token only makes reads strong.';

comment on function module_cache.collect_garbage(interval,integer) is 'Removes dead artifacts, and generations and log rows that no token younger than older_than needs, up to batch rows each. Returns what it removed, how many live artifacts it moved to a newer snapshot, and whether it is done. Raises MC003.';

comment on function module_cache.explain(text,text) is 'Why get answers as it does: a row for each kind and variant of the module that is stored, live or dead, or one without a kind. status: hit, error, tombstone (invalidated, and not produced again) or miss; reason says it in words. The invalidation is the one that outdates it, or else the last one that it has seen. Raises MC001, MC005, MC006.';

comment on function module_cache.get(text,text,text,text) is 'The live artifact of a module (status hit or error), or a miss; always with a token for put, null in a transaction that has written or while there is no epoch. Raises MC001 for a malformed key, MC005 on a standby, MC006 for a private realm of others.';

comment on function module_cache.grant_roles() is 'Grants the three roles what they may do, and returns those that do not exist; run it again after creating one.';

comment on function module_cache.invalidate(text,text[]) is 'Call this in the transaction that changes the sources. Returns every module invalidated, all importers included, but for those that the caller may not see. A path that can name no module is ignored and counted in the log. Raises MC001 only for a realm that is none.';

comment on function module_cache.is_current(text,text,text,text,text) is 'True if the artifact read with this token is still the stored one and still live: a strong read without its body. Raises MC001, MC002 and MC006.';

comment on function module_cache.oldest_client() is 'The oldest version of the client that works with this schema: in a rolling deploy the schema comes first.';

comment on function module_cache.open_realm(text) is 'Takes back close_realm: whoever may read realms reads this one, with all that is stored. Does nothing for a realm that is not private. Raises MC001, MC003.';

comment on function module_cache.put(text,text,text,text,text,jsonb,text[],text,interval,boolean) is 'Offers an artifact made after token was taken, naming everything its producer read. reason: stored; stale: something it covers was invalidated since; epoch: the token is of another life, or null; older: a live artifact of a newer token is there; contended: another put holds the row. Raises MC001, MC002, MC003, and MC006 for a private realm of others, or a dependency there.';

comment on function module_cache.release(text,text,text,text) is 'Ends the claim and tells all who wait to look again; false if this session does not hold it. Raises MC001, MC006.';

comment on function module_cache.schema_version() is 'Version of this schema. A client states the oldest one that it works with.';

comment on function module_cache.track_table(regclass,text,name,name) is 'From now on every change of this table invalidates the modules that its rows are the sources of, in the same transaction. path_column holds their paths; realm_column, if given, their realms, and a null there stands for realm_url. Again with the same arguments it changes nothing but what is amiss, such as new partitions; with others it replaces. Raises MC001 and MC003.';

comment on function module_cache.untrack_table(regclass) is 'Takes back track_table, and leaves nothing behind. Does nothing for a table that is not tracked. Raises MC003.';

comment on schema module_cache is 'Coherent cache of compiled modules: artifacts are checked against append-only generations whenever they are read.';

comment on table module_cache._activity is 'What each session, and in session 0 all that are gone, has served and produced in this life of the tables.';

comment on table module_cache._artifacts is 'L2: one row for each artifact, live or dead.';

comment on table module_cache._claims is 'What claims are called. A row counts while its session holds the lock.';

comment on table module_cache._epochs is 'The current epoch, and rows of other lives until they are swept. Without a key on purpose: a restore must be able to copy a foreign row beside ours.';

comment on table module_cache._floors is 'The highest floor of the current epoch holds.';

comment on table module_cache._generations is 'Append-only: which transaction invalidated which cover key. Rows below the floor are collected.';

comment on table module_cache._invalidations is 'One row for each call and realm. Peers read it by snapshot: the id only orders rows of one transaction.';

comment on table module_cache._peers is 'What each process that uses the cache has last reported. A row counts while its session holds the lock of a peer.';

comment on table module_cache._private_realms is 'Realms that only members of a role may read.';

comment on table module_cache._snapshots is 'What time it was when a transaction id was the oldest one running: the floor stays below what was recorded older_than ago.';

comment on type module_cache.module is 'One module: the URL of its realm, and its canonical path in it.';

comment on view module_cache.artifacts is 'Every stored artifact. DELETE invalidates: it leaves a tombstone, a generation, a log row and a notification, in the same transaction.';

comment on view module_cache.claims is 'What is being produced now, by whom, and since when: the lock table, with names. The oldest comes first.';

comment on view module_cache.invalidations is 'The invalidation log since the last garbage collection: what was named, what it reached, and who did it.';

comment on view module_cache.peers is 'Every process that uses the cache now, as it reported within the last few seconds, or the last minute if it is idle.';

comment on view module_cache.private_realms is 'Realms that only members of a role may read, of roles that you are a member of. See close_realm.';

comment on view module_cache.stats is 'For each realm and kind what is stored, and what all processes, also those that are gone, have reported to have done in this life of the tables.';

comment on view module_cache.tombstones is 'Modules that were invalidated and not produced again: the newest generation that a writer has to have seen.';

comment on view module_cache.tracked_tables is 'Tables whose changes invalidate, as their triggers say. A problem is what calling track_table again would mend.';

-- grants

grant delete, select on relation module_cache.artifacts to module_cache_operator;

grant execute on function module_cache._claim_key(text,text,text,text) to module_cache_operator;

grant execute on function module_cache._claim_key(text,text,text,text) to module_cache_writer;

grant execute on function module_cache._clear_sources(text) to module_cache_operator;

grant execute on function module_cache._clear_sources(text) to module_cache_writer;

grant execute on function module_cache._collect_for_fleet(interval,interval,integer) to module_cache_operator;

grant execute on function module_cache._collect_for_fleet(interval,interval,integer) to module_cache_writer;

grant execute on function module_cache._counted() to module_cache_operator;

grant execute on function module_cache._elect_collector(interval) to module_cache_operator;

grant execute on function module_cache._elect_collector(interval) to module_cache_writer;

grant execute on function module_cache._is_closed(text,text) to module_cache_operator;

grant execute on function module_cache._is_member(name) to module_cache_operator;

grant execute on function module_cache._named_claims() to module_cache_operator;

grant execute on function module_cache._peer_reports() to module_cache_operator;

grant execute on function module_cache._report_peer(text,jsonb,jsonb) to module_cache_operator;

grant execute on function module_cache._report_peer(text,jsonb,jsonb) to module_cache_reader;

grant execute on function module_cache._report_peer(text,jsonb,jsonb) to module_cache_writer;

grant execute on function module_cache._resign_collector() to module_cache_operator;

grant execute on function module_cache._resign_collector() to module_cache_writer;

grant execute on function module_cache._show_waiting(bigint,boolean) to module_cache_operator;

grant execute on function module_cache._show_waiting(bigint,boolean) to module_cache_writer;

grant execute on function module_cache._status(text,text,text,text) to module_cache_operator;

grant execute on function module_cache._tracked_change() to module_cache_operator;

grant execute on function module_cache._tracked_change() to module_cache_writer;

grant execute on function module_cache._tracked_tables() to module_cache_operator;

grant execute on function module_cache._tracking_statements(regclass,text,name,name,name) to module_cache_operator;

grant execute on function module_cache._tracking_statements(regclass,text,name,name,name) to module_cache_writer;

grant execute on function module_cache._untracking_statements(regclass,name) to module_cache_operator;

grant execute on function module_cache._untracking_statements(regclass,name) to module_cache_writer;

grant execute on function module_cache._visible_keys(text,text[],bigint[]) to module_cache_operator;

grant execute on function module_cache._visible_paths(text,text[]) to module_cache_operator;

grant execute on function module_cache.changes_since(text) to module_cache_operator;

grant execute on function module_cache.changes_since(text) to module_cache_reader;

grant execute on function module_cache.changes_since(text) to module_cache_writer;

grant execute on function module_cache.claim(text,text,text,text) to module_cache_operator;

grant execute on function module_cache.claim(text,text,text,text) to module_cache_writer;

grant execute on function module_cache.clear_all() to module_cache_operator;

grant execute on function module_cache.clear_realm(text) to module_cache_operator;

grant execute on function module_cache.clear_realm(text) to module_cache_writer;

grant execute on function module_cache.coherence_token() to module_cache_operator;

grant execute on function module_cache.coherence_token() to module_cache_reader;

grant execute on function module_cache.coherence_token() to module_cache_writer;

grant execute on function module_cache.collect_garbage(interval,integer) to module_cache_operator;

grant execute on function module_cache.explain(text,text) to module_cache_operator;

grant execute on function module_cache.get(text,text,text,text) to module_cache_operator;

grant execute on function module_cache.get(text,text,text,text) to module_cache_reader;

grant execute on function module_cache.get(text,text,text,text) to module_cache_writer;

grant execute on function module_cache.invalidate(text,text[]) to module_cache_operator;

grant execute on function module_cache.invalidate(text,text[]) to module_cache_writer;

grant execute on function module_cache.is_current(text,text,text,text,text) to module_cache_operator;

grant execute on function module_cache.is_current(text,text,text,text,text) to module_cache_reader;

grant execute on function module_cache.is_current(text,text,text,text,text) to module_cache_writer;

grant execute on function module_cache.oldest_client() to module_cache_operator;

grant execute on function module_cache.oldest_client() to module_cache_reader;

grant execute on function module_cache.oldest_client() to module_cache_writer;

grant execute on function module_cache.put(text,text,text,text,text,jsonb,text[],text,interval,boolean) to module_cache_operator;

grant execute on function module_cache.put(text,text,text,text,text,jsonb,text[],text,interval,boolean) to module_cache_writer;

grant execute on function module_cache.release(text,text,text,text) to module_cache_operator;

grant execute on function module_cache.release(text,text,text,text) to module_cache_writer;

grant execute on function module_cache.schema_version() to module_cache_operator;

grant execute on function module_cache.schema_version() to module_cache_reader;

grant execute on function module_cache.schema_version() to module_cache_writer;

grant execute on function module_cache.track_table(regclass,text,name,name) to module_cache_operator;

grant execute on function module_cache.track_table(regclass,text,name,name) to module_cache_writer;

grant execute on function module_cache.untrack_table(regclass) to module_cache_operator;

grant execute on function module_cache.untrack_table(regclass) to module_cache_writer;

grant select on relation module_cache.claims to module_cache_operator;

grant select on relation module_cache.invalidations to module_cache_operator;

grant select on relation module_cache.peers to module_cache_operator;

grant select on relation module_cache.private_realms to module_cache_operator;

grant select on relation module_cache.stats to module_cache_operator;

grant select on relation module_cache.tombstones to module_cache_operator;

grant select on relation module_cache.tracked_tables to module_cache_operator;

grant usage on schema module_cache to module_cache_operator;

grant usage on schema module_cache to module_cache_reader;

grant usage on schema module_cache to module_cache_writer;

grant usage on type module_cache.module to public;
