/*
 * A claim elects the one producer of an artifact in the fleet. It is a session-level advisory lock: the server frees
 * it when the session ends, however it ends, and no transaction stays open while the producer works.
 */

create function module_cache._claim_key(realm_url text, canonical_path text, kind text, variant text) returns bigint
  language plpgsql immutable parallel safe security definer
  set search_path to pg_catalog, module_cache, pg_temp
as $$
begin
  -- With two lengths, so that names which run into each other are told apart.
  return hashtextextended(
    concat_ws(' ', length(canonical_path), length(kind),
      module_cache._require_artifact(realm_url, canonical_path, kind, variant), canonical_path, kind, variant)
      collate "C",
    3);
end;
$$;

comment on function module_cache._claim_key(text, text, text, text) is
  'The advisory lock of an artifact, and the payload of module_cache_populated. Raises MC001.';

create function module_cache._holds_claim(claim_key bigint) returns boolean
  language sql volatile parallel unsafe
begin atomic
  select exists (
    select
    from pg_locks l
    where l.pid = pg_backend_pid()
      and l.locktype = 'advisory'
      and l.database = (select d.oid from pg_database d where d.datname = current_database())
      and l.objsubid = 1
      and l.mode = 'ExclusiveLock'
      and (l.classid::bigint << 32 | l.objid::bigint) = claim_key);
end;

comment on function module_cache._holds_claim(bigint) is 'True if this session holds the claim.';

create function module_cache.claim(realm_url text, canonical_path text, kind text, variant text) returns boolean
  language plpgsql volatile parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
  set plan_cache_mode to force_generic_plan
as $$
declare
  v_key constant bigint := module_cache._claim_key(realm_url, canonical_path, kind, variant);
begin
  if pg_is_in_recovery() then
    perform module_cache._raise('MC005', 'the server is a standby', null,
      'Connect to the primary: a claim on a standby excludes nobody.');
  end if;
  -- Advisory locks can be taken twice by one session; a claim cannot.
  return not module_cache._holds_claim(v_key) and pg_try_advisory_lock(v_key);
end;
$$;

comment on function module_cache.claim(text, text, text, text) is
  'True if this session is now the one to produce the artifact; false if another, or this one already, is. Never waits. Raises MC001.';

create function module_cache.release(realm_url text, canonical_path text, kind text, variant text) returns boolean
  language plpgsql volatile parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
  set plan_cache_mode to force_generic_plan
as $$
declare
  v_key constant bigint := module_cache._claim_key(realm_url, canonical_path, kind, variant);
begin
  if not module_cache._holds_claim(v_key) then
    return false;
  end if;
  perform pg_advisory_unlock(v_key);
  if module_cache._may_notify() then
    perform pg_notify('module_cache_populated', v_key::text);
  end if;
  return true;
end;
$$;

comment on function module_cache.release(text, text, text, text) is
  'Ends the claim and tells all who wait to look again; false if this session does not hold it. Raises MC001.';
