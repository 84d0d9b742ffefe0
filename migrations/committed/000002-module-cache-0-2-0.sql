--! Previous: sha1:266da0e39593ddd17dde280c6a89e4f909a9ac09
--! Hash: sha1:79afe170f0709bb649dcaa95c7b555d555846cdd
--! Message: module cache 0.2.0

--! split: 010-upgrade.sql
create or replace function module_cache.schema_version() returns text
  language sql immutable parallel safe
begin atomic
  select '0.2.0'::text;
end;

/* A user part may hold a password, and errors are logged. */
create or replace function module_cache._require_realm(realm_url text) returns text
  language plpgsql immutable parallel safe
  set search_path to pg_catalog, module_cache, pg_temp
as $$
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
$$;

/* A put does not wait for whoever holds an existing row. */
create or replace function module_cache._store(artifact module_cache._artifacts) returns text
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

/* Nobody deletes log rows by way of the view. */
create or replace view module_cache.invalidations as
select
  i.invalidated_at,
  i.xid,
  i.scope,
  i.realm_url,
  i.named_paths,
  cardinality(i.canonical_paths) as modules,
  i.canonical_paths,
  i.ignored,
  i.role_name,
  i.application_name,
  i.client_address,
  i.backend_pid
from module_cache._invalidations i
where i.epoch is null
  or i.epoch = (
    select e.epoch
    from module_cache._epochs e
    where e.xmin = e.written_by and e.server_started_at = pg_postmaster_start_time()
    limit 1)
-- So that nobody, not even its owner, can delete through it.
limit all;

/* grant_roles returns the roles that it had to leave out, so that whoever installs can be told. */
drop function module_cache.grant_roles();

create function module_cache.grant_roles() returns setof text
  language plpgsql volatile parallel unsafe
  set search_path to pg_catalog, module_cache, pg_temp
as $$
declare
  v_role text;
  v_reader constant text :=
    'get(text, text, text, text), is_current(text, text, text, text, text), changes_since(text), '
    'coherence_token(), schema_version(), oldest_client()';
  v_writer constant text := v_reader ||
    ', put(text, text, text, text, text, jsonb, text[], text, interval, boolean), invalidate(text, text[]), '
    'clear_realm(text), claim(text, text, text, text), release(text, text, text, text), _claim_key(text, text, text, text)';
  v_operator constant text := v_writer || ', clear_all(), collect_garbage(interval, integer), _is_live(_artifacts)';
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
      execute format('grant select on module_cache.tombstones, module_cache.invalidations to %I', v_role);
    end if;
  end loop;
end;
$$;

comment on function module_cache.grant_roles() is
  'Grants the three roles what they may do, and returns those that do not exist; run it again after creating one.';

revoke all on function module_cache.grant_roles() from public;
