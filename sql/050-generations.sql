/*
 * A generation says: this transaction invalidated that key. Rows are only ever appended, by the transaction whose id
 * they carry, so that no two invalidations touch the same row. An artifact is compared with them when it is read.
 *
 * The epoch of a row is null if its transaction saw none. Such a transaction can be older than the epoch that comes
 * next, and must count in it.
 */

create unlogged table module_cache._generations (
  key bigint not null,
  xid xid8 not null,
  epoch uuid,
  realm_url text collate "C",
  canonical_path text collate "C"
);

create index _generations_key_xid on module_cache._generations (key, xid);

comment on table module_cache._generations is
  'Append-only: which transaction invalidated which cover key. Rows below the floor are collected.';
comment on column module_cache._generations.key is 'Cover key: hash of a module, a realm, or everything.';
comment on column module_cache._generations.xid is 'The top-level transaction that invalidated.';
comment on column module_cache._generations.realm_url is 'Null for everything.';
comment on column module_cache._generations.canonical_path is 'Null for a realm and for everything.';

/*
 * Below the floor generations may be missing, so a snapshot whose xmin is below it proves nothing. Raised by garbage
 * collection; a row is never changed.
 */
create unlogged table module_cache._floors (
  epoch uuid not null,
  floor xid8 not null
);

comment on table module_cache._floors is 'The highest floor of the current epoch holds.';

create function module_cache._floor(epoch uuid) returns xid8
  language plpgsql stable parallel safe
  set search_path to pg_catalog, module_cache, pg_temp
  set plan_cache_mode to force_generic_plan
as $$
begin
  return coalesce((select max(f.floor) from module_cache._floors f where f.epoch = _floor.epoch), '0');
end;
$$;

comment on function module_cache._floor(uuid) is 'Snapshots with an xmin below this transaction id count as stale.';

/*
 * The check at read, which everything else only saves work for. The newest generation of all decides most calls with
 * one look: a snapshot whose xmin is above it has seen every generation there is.
 */
create function module_cache._is_outdated(
  epoch uuid, snapshot pg_snapshot, module_hash bigint, realm_hash bigint, depends_on bigint[])
  returns boolean
  language plpgsql stable parallel safe
  set search_path to pg_catalog, module_cache, pg_temp
  set plan_cache_mode to force_generic_plan
  set enable_seqscan to off
  set enable_bitmapscan to off
  set jit to off
as $$
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
$$;

comment on function module_cache._is_outdated(uuid, pg_snapshot, bigint, bigint, bigint[]) is
  'True if a generation of a covered key is visible here that the snapshot has not seen.';

create function module_cache._newest_generation(epoch uuid, key bigint) returns xid8
  language plpgsql stable parallel safe
  set search_path to pg_catalog, module_cache, pg_temp
  set plan_cache_mode to force_generic_plan
  set enable_seqscan to off
  set enable_bitmapscan to off
  set jit to off
as $$
begin
  return (
    select max(g.xid)
    from module_cache._generations g
    where g.key = _newest_generation.key and (g.epoch = _newest_generation.epoch or g.epoch is null));
end;
$$;

comment on function module_cache._newest_generation(uuid, bigint) is
  'The current generation of a key as far as this snapshot shows; null if none is on record.';
