/*
 * The epoch is the identity of one life of the unlogged tables. A crash, an immediate shutdown, a failover or a
 * restore leaves them empty or foreign while transaction ids may go backwards; nothing else in the server tells that
 * reliably. The table has to be unlogged like those that it speaks for.
 */

create unlogged table module_cache._epochs (
  epoch uuid not null,
  life text collate "C" not null,
  written_by xid not null,
  system_identifier bigint not null,
  server_started_at timestamptz not null
);

comment on table module_cache._epochs is
  'The current epoch, and rows of other lives until they are swept. Without a key on purpose: a restore must be able to copy a foreign row beside ours.';
comment on column module_cache._epochs.life is
  'Prefix of every token: epoch and start of the server. A volume that is set back to an earlier copy keeps its epoch, but not its start.';
comment on column module_cache._epochs.written_by is
  'The xmin of this very row. A restored row was written by another transaction than it says.';
comment on column module_cache._epochs.system_identifier is
  'The cluster that grew this row: in a young cluster a restored row can meet its old xmin by accident.';
comment on column module_cache._epochs.server_started_at is
  'The start of the server at which system_identifier was last compared; read on every get, so the comparison is not.';

/*
 * A function in SQL is read and planned anew in every statement that calls it, unless the planner can put its query in
 * the place of the call: that takes one that returns a set and has no settings. The others, which look something up,
 * are in plpgsql, which keeps their plans.
 */
create function module_cache._epoch() returns table (epoch uuid, life text)
  language sql stable parallel safe rows 1
begin atomic
  select e.epoch, e.life
  from module_cache._epochs e
  where e.xmin = e.written_by and e.server_started_at = pg_postmaster_start_time()
  limit 1;
end;

comment on function module_cache._epoch() is 'The current epoch and the prefix of its tokens; no row if there is none.';

/*
 * The row has to name its own xmin, which inside a savepoint is the id of a subtransaction that no function reports.
 * Writing it twice in one transaction makes the second version carry the id that the first one showed.
 */
create function module_cache._renew_epoch() returns uuid
  language plpgsql volatile parallel unsafe
  set search_path to pg_catalog, module_cache, pg_temp
as $$
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
$$;

comment on function module_cache._renew_epoch() is
  'Confirms the epoch after a clean restart, or replaces a missing or foreign one. The caller holds the lock.';

/*
 * Called by changes_since and put only: their transactions are short as a rule, that of invalidate may not be. It
 * never waits, and above READ COMMITTED it does nothing, because an old snapshot cannot tell what is there now.
 */
create function module_cache._ensure_epoch() returns void
  language plpgsql volatile parallel unsafe
  set search_path to pg_catalog, module_cache, pg_temp
as $$
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
$$;

comment on function module_cache._ensure_epoch() is
  'Makes sure that there is an epoch, if that can be done without waiting.';
