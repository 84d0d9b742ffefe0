/*
 * Garbage collection must be invisible: it never lets in a write that was to be rejected. What proves that a token is
 * stale are generations, so before generations go, a floor is raised that makes every token stale which would have
 * needed them.
 *
 * How high it is raised is a matter of manners, not of correctness. For the fleet it stays below what a snapshot had
 * as xmin some time ago, and below what the slowest peer needs; but nothing is kept for ever, so that a peer that was
 * stopped cannot make tables grow without an end. It drops its memory when it goes on.
 */

create unlogged table module_cache._snapshots (
  epoch uuid not null,
  taken_at timestamptz not null,
  oldest_running xid8 not null
);

comment on table module_cache._snapshots is
  'What time it was when a transaction id was the oldest one running: the floor stays below what was recorded older_than ago.';

/* One in sixteen of its age is how far a snapshot may be from the next: few rows tell the time of a day ago as well. */
create function module_cache._record_snapshot(epoch uuid, oldest_running xid8) returns void
  language plpgsql volatile parallel unsafe
  set search_path to pg_catalog, module_cache, pg_temp
as $$
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
$$;

comment on function module_cache._record_snapshot(uuid, xid8) is 'Records the present snapshot and thins out older ones.';

/*
 * Live artifacts have to be moved before the floor passes them. A few generations are not worth to move a large cache
 * for, again and again: they wait for more, though not for longer than an hour, and not if there was a clear, which may
 * have left any number of dead artifacts.
 */
create function module_cache._is_worth_it(epoch uuid, floor xid8, next_floor xid8, keep interval) returns boolean
  language plpgsql stable parallel safe
  set search_path to pg_catalog, module_cache, pg_temp
  set plan_cache_mode to force_generic_plan
  set enable_seqscan to off
  set jit to off
as $$
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
$$;

comment on function module_cache._is_worth_it(uuid, xid8, xid8, interval) is
  'False if there is little garbage beside the artifacts that would have to be moved.';

/* What sessions have said of themselves, once they are gone. */
create function module_cache._sweep_reports(epoch uuid) returns void
  language plpgsql volatile parallel unsafe
  set search_path to pg_catalog, module_cache, pg_temp
as $$
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
$$;

comment on function module_cache._sweep_reports(uuid) is
  'Forgets the claims of sessions that are gone, and puts together what they have served and produced.';

create function module_cache._collect(
  epoch uuid, keep interval, keep_at_most interval, batch integer, is_lazy boolean,
  out artifacts bigint, out renewed bigint, out generations bigint, out invalidations bigint, out complete boolean)
  language plpgsql volatile parallel unsafe
  set search_path to pg_catalog, module_cache, pg_temp
  set plan_cache_mode to force_generic_plan
  set enable_seqscan to off
  set enable_hashjoin to off
  set enable_mergejoin to off
  set jit to off
as $$
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
$$;

comment on function module_cache._collect(uuid, interval, interval, integer, boolean) is
  'One batch of garbage collection. The caller holds the lock.';

create function module_cache._collect_garbage(keep interval, keep_at_most interval, batch integer, is_lazy boolean,
  out artifacts bigint, out renewed bigint, out generations bigint, out invalidations bigint, out complete boolean)
  language plpgsql volatile parallel unsafe
  set search_path to pg_catalog, module_cache, pg_temp
as $$
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
$$;

comment on function module_cache._collect_garbage(interval, interval, integer, boolean) is
  'One batch, if nobody else collects. What is younger than keep stays, and what a peer needs, if it is younger than keep_at_most.';

create function module_cache.collect_garbage(older_than interval default '1 hour', batch integer default 10000,
  out artifacts bigint, out renewed bigint, out generations bigint, out invalidations bigint, out complete boolean)
  language plpgsql volatile parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
as $$
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
$$;

comment on function module_cache.collect_garbage(interval, integer) is
  'Removes dead artifacts, and generations and log rows that no token younger than older_than needs, up to batch rows each. Returns what it removed, how many live artifacts it moved to a newer snapshot, and whether it is done. Raises MC003.';

/*
 * What the elected peer calls. Whoever may write may call it: within these limits it takes nothing from anybody but what
 * is old, and a writer may clear realms anyway.
 */
create function module_cache._collect_for_fleet(keep interval, keep_at_most interval, batch integer,
  out artifacts bigint, out renewed bigint, out generations bigint, out invalidations bigint, out complete boolean)
  language plpgsql volatile parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
as $$
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
$$;

comment on function module_cache._collect_for_fleet(interval, interval, integer) is
  'collect_garbage for the elected peer: keeps what is younger than keep, what a peer that is there has reported to need, but nothing that is older than keep_at_most; and waits until there is enough to be worth it. Raises MC003.';
