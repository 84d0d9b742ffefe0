/*
 * Garbage collection must be invisible: it never lets in a write that was to be rejected. What proves that a token is
 * stale are generations, so before generations go, a floor is raised that makes every token stale which would have
 * needed them.
 */

create unlogged table module_cache._snapshots (
  epoch uuid not null,
  taken_at timestamptz not null,
  oldest_running xid8 not null
);

comment on table module_cache._snapshots is
  'What time it was when a transaction id was the oldest one running: the floor stays below what was recorded older_than ago.';

create function module_cache._collect(epoch uuid, older_than interval, batch integer,
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
  insert into module_cache._snapshots values (epoch, clock_timestamp(), pg_snapshot_xmin(v_snapshot));
  select max(s.oldest_running) into v_limit
  from module_cache._snapshots s
  where s.epoch = _collect.epoch and s.taken_at <= clock_timestamp() - older_than;
  delete from module_cache._snapshots s where s.epoch <> _collect.epoch or s.oldest_running < v_limit;

  -- No higher than there is something to collect: artifacts on a quiet database stay as they are. The newest row that
  -- is collected stays itself, so that the floor is never above the newest row of the log (get relies on it).
  select greatest(v_floor, max(i.xid)) into v_next_floor
  from module_cache._invalidations i
  where i.xid < v_limit and (i.epoch = _collect.epoch or i.epoch is null);

  -- Below the next floor an artifact is either dead, or moved to the present snapshot, in which it is live as well.
  v_rows := array(
    select a.ctid from module_cache._artifacts a
    where a.epoch = _collect.epoch and pg_snapshot_xmin(a.snapshot) < v_next_floor
    union
    select a.ctid from module_cache._artifacts a where a.expires_at <= clock_timestamp()
    union
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

  -- An artifact that was skipped because somebody holds it falls below the floor, which costs a miss.
  if cardinality(v_rows) < batch and v_next_floor > v_floor then
    insert into module_cache._floors values (epoch, v_next_floor);
    v_floor := v_next_floor;
  end if;

  -- Rows of other lives go as well, as long as this is the current one. A row without an epoch shows where it comes
  -- from by an id that was not given out yet.
  delete from module_cache._floors f
  where case f.epoch
      when _collect.epoch then f.floor < v_floor
      else _collect.epoch = (select e.epoch from module_cache._epoch() e)
    end;
  with deleted as (
    delete from module_cache._generations g
    where g.ctid = any (array(
      select d.ctid from module_cache._generations d
      where d.xid < v_floor
        or d.epoch <> _collect.epoch and _collect.epoch = (select e.epoch from module_cache._epoch() e)
        or d.xid >= pg_snapshot_xmax(pg_current_snapshot()) and d.xid is distinct from pg_current_xact_id_if_assigned()
      limit batch))
    returning 1
  )
  select count(*) into generations from deleted;
  with deleted as (
    delete from module_cache._invalidations i
    where i.ctid = any (array(
      select d.ctid from module_cache._invalidations d
      where d.xid < v_floor
        or d.epoch <> _collect.epoch and _collect.epoch = (select e.epoch from module_cache._epoch() e)
        or d.xid >= pg_snapshot_xmax(pg_current_snapshot()) and d.xid is distinct from pg_current_xact_id_if_assigned()
      limit batch))
    returning 1
  )
  select count(*) into invalidations from deleted;
  complete := cardinality(v_rows) < batch and generations < batch and invalidations < batch;
end;
$$;

comment on function module_cache._collect(uuid, interval, integer) is 'One batch of collect_garbage. The caller holds the lock.';

create function module_cache.collect_garbage(older_than interval default '1 hour', batch integer default 10000,
  out artifacts bigint, out renewed bigint, out generations bigint, out invalidations bigint, out complete boolean)
  language plpgsql volatile parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
as $$
declare
  v_epoch constant uuid := (select e.epoch from module_cache._epoch() e);
begin
  if older_than is null or older_than not between interval '0' and interval '1000 years' or batch is null or batch < 1 then
    perform module_cache._raise('MC003', 'not a retention or batch size',
      format('older_than: %s, batch: %s', older_than, batch),
      'Pass an interval from 0 to 1000 years and a positive number of rows.');
  end if;
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
    from module_cache._collect(v_epoch, older_than, batch) c;
    return;
  end if;
  begin
    select c.* into artifacts, renewed, generations, invalidations, complete
    from module_cache._collect(v_epoch, older_than, batch) c;
  exception when serialization_failure then
    complete := false;
  end;
end;
$$;

comment on function module_cache.collect_garbage(interval, integer) is
  'Removes dead artifacts, and generations and log rows that no token younger than older_than needs, up to batch rows each. Returns what it removed, how many live artifacts it moved to a newer snapshot, and whether it is done. Raises MC003.';
