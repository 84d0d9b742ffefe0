/*
 * Tombstone-and-bump: an invalidation appends generations and a log row and notifies, in the transaction of its
 * caller. It changes and locks no row that another caller could want, so invalidations never wait for each other,
 * for readers, or for writers. It does not replace a missing epoch, because its transaction may be long.
 */

create function module_cache._invalidate(realm_url text, canonical_paths text[], ignored bigint,
  out realm_urls text[], out invalidated_paths text[])
  language plpgsql volatile parallel unsafe
  set search_path to pg_catalog, module_cache, pg_temp
  set plan_cache_mode to force_generic_plan
  set enable_seqscan to off
  set enable_bitmapscan to on
  set gin_fuzzy_search_limit to 0
  set jit to off
as $$
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
$$;

comment on function module_cache._invalidate(text, text[], bigint) is
  'Invalidates well-formed paths of one realm with all that depends on them; ignored is only written down.';

create function module_cache.invalidate(realm_url text, canonical_paths text[]) returns setof module_cache.module
  language plpgsql volatile parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
  set plan_cache_mode to force_generic_plan
as $$
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
$$;

comment on function module_cache.invalidate(text, text[]) is
  'Call this in the transaction that changes the sources. Returns every module invalidated, all importers included, but for those that the caller may not see. A path that can name no module is ignored and counted in the log. Raises MC001 only for a realm that is none.';

create function module_cache._clear(scope text, key bigint, realm_url text) returns void
  language plpgsql volatile parallel unsafe
  set search_path to pg_catalog, module_cache, pg_temp
  set plan_cache_mode to force_generic_plan
as $$
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
$$;

comment on function module_cache._clear(text, bigint, text) is 'One generation for a realm or for everything, whatever the size, and one for the index of a realm that is a folder.';

create function module_cache.clear_realm(realm_url text) returns void
  language plpgsql volatile parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
as $$
declare
  v_realm constant text := module_cache._require_realm(realm_url);
begin
  perform module_cache._clear('realm', module_cache._realm_hash(v_realm), v_realm);
end;
$$;

comment on function module_cache.clear_realm(text) is
  'Invalidates every module of the realm, and what declared a dependency in it, at the cost of a row or two. Raises MC001.';

create function module_cache.clear_all() returns void
  language plpgsql volatile parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
as $$
begin
  perform module_cache._clear('global', module_cache._global_hash(), null);
end;
$$;

comment on function module_cache.clear_all() is 'Invalidates everything, at the cost of one row.';

/*
 * An operator who types `delete from module_cache.artifacts …` means an invalidation: without a tombstone a slow
 * writer would put the same artifact back, and no process would drop its copy.
 */
create function module_cache._deleted_artifacts() returns trigger
  language plpgsql volatile parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
  set plan_cache_mode to force_generic_plan
as $$
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
$$;

comment on function module_cache._deleted_artifacts() is
  'Turns a DELETE into tombstones, generations and notifications.';

create trigger _deleted_artifacts
  after delete on module_cache._artifacts
  referencing old table as deleted
  for each statement execute function module_cache._deleted_artifacts();
