/*
 * Optimistic concurrency: a writer presents the token that it read before it looked at any source. Losing is a
 * result. The check here saves work; it is the check at read that makes the cache right, because an invalidation may
 * commit between this check and the commit of this put.
 */

/*
 * An insert waits for the transaction that is inserting the same key; a timeout ends that. The shortest one also ends
 * the wait for a new page of the table, which many inserts at once have, so a longer one has to confirm it. (A lock on
 * the key that can be tried would not wait at all, but takes a place in the server's lock table: a transaction that
 * puts some thousand artifacts would fill it, and then everybody's transactions fail.)
 */
create function module_cache._insert(artifact module_cache._artifacts) returns boolean
  language plpgsql volatile parallel unsafe
  set search_path to pg_catalog, module_cache, pg_temp
  set plan_cache_mode to force_generic_plan
  set lock_timeout to '1ms'
as $$
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
$$;

comment on function module_cache._insert(module_cache._artifacts) is
  'False if a row of this key is there, null if another transaction is inserting one.';

create function module_cache._store(artifact module_cache._artifacts) returns text
  language plpgsql volatile parallel unsafe
  set search_path to pg_catalog, module_cache, pg_temp
  set plan_cache_mode to force_generic_plan
  set enable_seqscan to off
  set jit to off
as $$
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
$$;

comment on function module_cache._store(module_cache._artifacts) is
  'Writes a checked artifact unless a live one of a newer token is there; never waits for another writer.';

create function module_cache.put(
  realm_url text, canonical_path text, kind text, variant text, body text, headers jsonb, dependency_keys text[],
  token text, expires_in interval default null, is_error boolean default false,
  out stored boolean, out reason text)
  language plpgsql volatile parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
  set plan_cache_mode to force_generic_plan
as $$
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
$$;

comment on function module_cache.put(text, text, text, text, text, jsonb, text[], text, interval, boolean) is
  'Offers an artifact made after token was taken, naming everything its producer read. reason: stored; stale: something it covers was invalidated since; epoch: the token is of another life, or null; older: a live artifact of a newer token is there; contended: another put holds the row. Raises MC001, MC002, MC003, and MC006 for a private realm of others, or a dependency there.';
