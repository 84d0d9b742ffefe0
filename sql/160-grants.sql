/*
 * Roles belong to the cluster, not to the database: they may exist already, and whoever installs may not be allowed
 * to create them. Nothing is granted to public.
 */

do $$
declare
  v_role text;
begin
  foreach v_role in array array['module_cache_reader', 'module_cache_writer', 'module_cache_operator'] loop
    begin
      execute format('create role %I nologin', v_role);
    exception
      when duplicate_object or unique_violation then
        null;
      -- Asked for the right first, Postgres does not get to say that the role is there.
      when insufficient_privilege then
        if to_regrole(v_role) is null then
          raise notice 'role % was not created: %', v_role, sqlerrm
            using hint = 'Ask an administrator to create it, then run module_cache.grant_roles().';
        end if;
    end;
  end loop;
end;
$$;

revoke all on all functions in schema module_cache from public;

create function module_cache.grant_roles() returns setof text
  language plpgsql volatile parallel unsafe
  set search_path to pg_catalog, module_cache, pg_temp
as $$
declare
  v_role text;
  v_reader constant text :=
    'get(text, text, text, text), is_current(text, text, text, text, text), changes_since(text), '
    'coherence_token(), schema_version(), oldest_client(), _report_peer(text, jsonb, jsonb)';
  v_writer constant text := v_reader ||
    ', put(text, text, text, text, text, jsonb, text[], text, interval, boolean), invalidate(text, text[]), '
    'clear_realm(text), claim(text, text, text, text), release(text, text, text, text), _claim_key(text, text, text, text), '
    'track_table(regclass, text, name, name), untrack_table(regclass), _tracked_change(), _clear_sources(text), '
    '_tracking_statements(regclass, text, name, name, name), _untracking_statements(regclass, name), '
    '_show_waiting(bigint, boolean), _elect_collector(interval), _resign_collector(), _collect_for_fleet(interval, interval, integer)';
  v_operator constant text := v_writer ||
    ', clear_all(), collect_garbage(interval, integer), _status(text, text, text, text), _tracked_tables(), '
    '_peer_reports(), _named_claims(), _counted(), explain(text, text), '
    '_is_closed(text, text), _visible_paths(text, text[]), _visible_keys(text, text[], bigint[]), _is_member(name)';
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
      execute format(
        'grant select on module_cache.tombstones, module_cache.invalidations, module_cache.tracked_tables, '
        'module_cache.peers, module_cache.claims, module_cache.stats, module_cache.private_realms to %I', v_role);
    end if;
  end loop;
end;
$$;

comment on function module_cache.grant_roles() is
  'Grants the three roles what they may do, and returns those that do not exist; run it again after creating one.';

revoke all on function module_cache.grant_roles() from public;
do $$ begin perform module_cache.grant_roles(); end $$;

/* The first life of the tables begins here, so that the first reader gets a token. */
do $$ begin perform module_cache._ensure_epoch(); end $$;
