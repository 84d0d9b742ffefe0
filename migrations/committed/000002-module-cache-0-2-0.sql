--! Previous: sha1:266da0e39593ddd17dde280c6a89e4f909a9ac09
--! Hash: sha1:94c29fa0a7495024d99216b70ed7e08ea1028d7b
--! Message: module cache 0.2.0

--! split: 010-upgrade.sql
/*
 * grant_roles returns the roles that it had to leave out, so that whoever installs can be told.
 */

create or replace function module_cache.schema_version() returns text
  language sql immutable parallel safe
begin atomic
  select '0.2.0'::text;
end;

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
