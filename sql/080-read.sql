/*
 * Reading is one snapshot, writes nothing, and always hands out a token: on a miss it is what a producer presents to
 * put later. In a transaction that has written there is no token, because what is read there may be rolled back.
 */

create function module_cache.get(
  realm_url text, canonical_path text, kind text default 'transpile', variant text default '',
  out status text, out body text, out headers jsonb, out dependency_keys text[], out generation xid8,
  out token text, out expires_in interval)
  language plpgsql stable parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
  set plan_cache_mode to force_generic_plan
  set enable_seqscan to off
  set enable_bitmapscan to off
  set jit to off
as $$
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
$$;

comment on function module_cache.get(text, text, text, text) is
  'The live artifact of a module (status hit or error), or a miss; always with a token for put, null in a transaction that has written or while there is no epoch. Raises MC001 for a malformed key, MC005 on a standby, MC006 for a private realm of others.';

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
$$;

comment on function module_cache.is_current(text, text, text, text, text) is
  'True if the artifact read with this token is still the stored one and still live: a strong read without its body. Raises MC001, MC002 and MC006.';
