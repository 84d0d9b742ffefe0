/*
 * Reading is one snapshot, writes nothing, and always hands out a token: on a miss it is what a producer presents to
 * put later. In a transaction that has written there is no token, because what is read there may be rolled back.
 */

create function module_cache.get(
  realm_url text, canonical_path text, kind text default 'transpile', variant text default '',
  out status text, out body text, out headers jsonb, out dependency_keys text[], out generation xid8,
  out token text, out expires_in interval)
  language plpgsql stable parallel restricted security definer
  set search_path to pg_catalog, module_cache, pg_temp
  set plan_cache_mode to force_generic_plan
  set enable_seqscan to off
  set jit to off
as $$
declare
  -- Whatever collation the caller's columns have, keys compare by their bytes.
  v_realm text collate "C" := realm_url;
  v_path constant text collate "C" := canonical_path;
  v_kind constant text collate "C" := kind;
  v_variant constant text collate "C" := variant;
  v_epoch uuid;
  v_artifact_epoch uuid;
  v_is_error boolean;
  v_snapshot pg_snapshot;
  v_module_hash bigint;
  v_realm_hash bigint;
  v_depends_on bigint[];
  v_expires_at timestamptz;
  v_is_quiet boolean;
begin
  if pg_is_in_recovery() then
    perform module_cache._raise('MC005', 'the server is a standby', null,
      'Connect to the primary: the cache is empty on a standby, and a token taken there has no meaning.');
  end if;
  for v_attempt in 1..2 loop
    -- One look at the newest invalidation decides most reads: a snapshot whose xmin is above it has seen every
    -- generation there is, and the floor is never above it.
    select
      e.epoch, e.life, a.epoch, a.body, a.headers, a.dependency_keys, a.generation, a.is_error, a.expires_at,
      a.snapshot, a.module_hash, a.realm_hash, a.depends_on,
      not exists (select from module_cache._invalidations i where i.xid >= pg_snapshot_xmin(a.snapshot))
    into
      v_epoch, token, v_artifact_epoch, body, headers, dependency_keys, generation, v_is_error, v_expires_at,
      v_snapshot, v_module_hash, v_realm_hash, v_depends_on,
      v_is_quiet
    from module_cache._epochs e
    left join module_cache._artifacts a
      on a.realm_url = v_realm and a.canonical_path = v_path and a.kind = v_kind and a.variant = v_variant
    where e.xmin = e.written_by and e.server_started_at = pg_postmaster_start_time();
    -- Stored rows are well-formed, so only a key without a row needs a check.
    exit when v_artifact_epoch is not null or v_attempt = 2;
    v_realm := module_cache._require_artifact(v_realm, v_path, v_kind, v_variant);
    exit when v_realm = realm_url collate "C";
  end loop;

  if pg_current_xact_id_if_assigned() is null then
    token := token || '/' || pg_current_snapshot();
  else
    token := null;
  end if;
  if v_artifact_epoch = v_epoch
    and (v_expires_at is null or v_expires_at > clock_timestamp())
    and (v_is_quiet
      or (
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
        where f.epoch = v_epoch))
  then
    status := case when v_is_error then 'error' else 'hit' end;
    expires_in := v_expires_at - clock_timestamp();
    return;
  end if;
  status := 'miss';
  body := null;
  headers := null;
  dependency_keys := null;
  generation := module_cache._newest_generation(v_epoch, module_cache._module_hash(v_realm, v_path));
end;
$$;

comment on function module_cache.get(text, text, text, text) is
  'The live artifact of a module (status hit or error), or a miss; always with a token for put, null in a transaction that has written or while there is no epoch. Raises MC001 for a malformed key, MC005 on a standby.';

create function module_cache.is_current(
  realm_url text, canonical_path text, kind text, variant text, token text)
  returns boolean
  language plpgsql stable parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
  set plan_cache_mode to force_generic_plan
  set enable_seqscan to off
  set jit to off
as $$
declare
  v_realm constant text := module_cache._require_artifact(realm_url, canonical_path, kind, variant);
  v_life text;
  v_snapshot pg_snapshot;
  v_module_hash bigint;
  v_realm_hash bigint;
  v_depends_on bigint[];
begin
  select p.life, p.snapshot into v_life, v_snapshot from module_cache._parse_token(token collate "C") p;
  return coalesce(
    (
      select module_cache._is_live(a) and pg_visible_in_snapshot(a.put_xid, v_snapshot)
      from module_cache._artifacts a
      where a.realm_url = v_realm collate "C"
        and a.canonical_path = is_current.canonical_path collate "C"
        and a.kind = is_current.kind collate "C"
        and a.variant = is_current.variant collate "C"
        and v_life = (select e.life from module_cache._epoch() e)
    ),
    false);
end;
$$;

comment on function module_cache.is_current(text, text, text, text, text) is
  'True if the artifact read with this token is still the stored one and still live: a strong read without its body. Raises MC001 and MC002.';
