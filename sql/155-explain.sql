/*
 * Why get answers as it does: for people, in words. It looks at what get looks at, and at the log for who has done it.
 */

create function module_cache._time_since(since timestamptz) returns text
  language sql volatile parallel safe
begin atomic
  select case
    when a.s < 10 then trim_scale(round(greatest(a.s, 0.01), case when a.s < 1 then 2 else 1 end)) || ' s'
    when a.s < 120 then round(a.s) || ' s'
    when a.s < 7200 then round(a.s / 60) || ' min'
    when a.s < 172800 then round(a.s / 3600) || ' h'
    else round(a.s / 86400) || ' days'
  end
  from (select extract(epoch from clock_timestamp() - since) as s) a;
end;

comment on function module_cache._time_since(timestamptz) is 'How long ago that was, in words.';

/* A module as its realm calls it; one of another realm by its URL. */
create function module_cache._named_from(home text, realm_url text, canonical_path text) returns text
  language sql immutable parallel safe
begin atomic
  select case when realm_url = home then canonical_path else realm_url || canonical_path end;
end;

comment on function module_cache._named_from(text, text, text) is 'What a module is called in another realm, or in its own.';

create function module_cache._name_for_caller(home text, name text) returns text
  language plpgsql stable parallel unsafe
  set search_path to pg_catalog, module_cache, pg_temp
as $$
begin
  return case when module_cache._visible_keys(home, array[name], null) = '{}' then 'a private module' else name end;
end;
$$;

comment on function module_cache._name_for_caller(text, text) is 'The name of a module, if the caller may see it.';

/*
 * The shortest way along declared dependencies from an artifact to a module that a transaction named, over modules
 * that it reached; an empty array if the edges are no longer there, or are too many to look for long. Nothing is looked
 * at twice.
 */
create function module_cache._way_to_named(
  epoch uuid, home text, depends_on bigint[], named_realms text[], named_paths text[], xid xid8)
  returns text[]
  language plpgsql stable parallel safe
  set search_path to pg_catalog, module_cache, pg_temp
  set enable_hashjoin to off
  set enable_mergejoin to off
  set enable_seqscan to off
  set jit to off
as $$
declare
  c_steps constant integer := 100;
  c_modules constant integer := 20000;
  v_named constant bigint[] := array(
    select module_cache._module_hash(n.realm, n.path) from unnest(named_realms, named_paths) n (realm, path));
  v_looked_at bigint[] := '{}';
  -- What is looked at next, and for each the names of the modules on the way to it.
  v_hashes bigint[] := depends_on;
  v_ways jsonb[] := array_fill(jsonb '[]', array[cardinality(depends_on)]);
  v_way jsonb;
begin
  for v_step in 1..c_steps loop
    select
      f.way || to_jsonb(module_cache._named_from(home, named_realms[n.position], named_paths[n.position]))
    into v_way
    from unnest(v_hashes, v_ways) f (hash, way)
    join unnest(v_named) with ordinality n (hash, position) on n.hash = f.hash
    order by 1
    limit 1;
    if found then
      return array(select jsonb_array_elements_text(v_way));
    end if;
    v_looked_at := v_looked_at || v_hashes;
    exit when cardinality(v_looked_at) > c_modules;
    select array_agg(s.hash), array_agg(v_ways[s.position] || to_jsonb(s.name))
    into v_hashes, v_ways
    from (
      select t.hash, t.position, min(module_cache._named_from(home, a.realm_url, a.canonical_path) collate "C") as name
      from (
        select d.hash, min(f.position) as position
        from unnest(v_hashes) with ordinality f (hash, position)
        join module_cache._artifacts a on a.module_hash = f.hash and a.epoch = _way_to_named.epoch
        cross join unnest(a.depends_on) d (hash)
        where d.hash not in (select unnest(v_looked_at))
        group by d.hash
      ) t
      join module_cache._artifacts a
        on a.module_hash = v_hashes[t.position] and a.epoch = _way_to_named.epoch and t.hash = any (a.depends_on)
      where exists (select from module_cache._generations g where g.key = t.hash and g.xid = _way_to_named.xid)
      group by t.hash, t.position
    ) s;
    exit when v_hashes is null;
  end loop;
  return '{}';
end;
$$;

comment on function module_cache._way_to_named(uuid, text, bigint[], text[], text[], xid8) is
  'Through which modules a transaction has reached what depends on the given keys: the nearest first, the named one last.';

/* What is known of one invalidation that reached a cover key. */
create function module_cache._describe_invalidation(
  epoch uuid, home text, module_hash bigint, depends_on bigint[], generation module_cache._generations,
  out log_entry module_cache._invalidations, out through text[], out description text)
  language plpgsql stable parallel unsafe
  set search_path to pg_catalog, module_cache, pg_temp
as $$
declare
  v_named_realms text[];
  v_named_paths text[];
  v_who text;
begin
  select i.* into log_entry
  from module_cache._invalidations i
  where i.xid = generation.xid
    and (i.epoch = _describe_invalidation.epoch or i.epoch is null)
    and i.realm_url is not distinct from generation.realm_url
    and case
      when generation.realm_url is null then i.scope = 'global'
      when generation.canonical_path is null then i.scope in ('realm', 'closed')
      else i.scope = 'module' and generation.canonical_path = any (i.canonical_paths)
    end
  order by i.id desc
  limit 1;

  v_who := case
    when log_entry.id is null then format('by transaction %s', generation.xid)
    else concat_ws(' ',
      module_cache._time_since(log_entry.invalidated_at) || ' ago',
      format('by transaction %s of role %s', generation.xid, log_entry.role_name),
      'from ' || nullif(log_entry.application_name, ''),
      'at ' || host(log_entry.client_address))
  end;
  through := '{}';
  if generation.realm_url is null then
    description := 'everything was cleared ' || v_who;
  elsif generation.canonical_path is null and generation.realm_url = home then
    description := 'its realm was cleared ' || v_who;
  elsif generation.canonical_path is null then
    description := format('%s, which it depends on, was cleared %s',
      case
        when module_cache._is_closed(generation.realm_url, '') then 'a private realm'
        else 'the realm ' || generation.realm_url
      end,
      v_who);
  else
    select
      array_agg(i.realm_url), array_agg(n.path)
    into v_named_realms, v_named_paths
    from module_cache._invalidations i
    cross join unnest(i.named_paths) n (path)
    where i.xid = generation.xid and (i.epoch = _describe_invalidation.epoch or i.epoch is null)
      and module_cache._path(i.realm_url, n.path) is not null;
    if generation.key <> module_hash
      or not exists (
        select
        from unnest(v_named_realms, v_named_paths) n (realm, path)
        where module_cache._module_hash(n.realm, n.path) = module_hash)
    then
      through := array(
        select module_cache._name_for_caller(home, w.name)
        from unnest(module_cache._way_to_named(epoch, home, depends_on, v_named_realms, v_named_paths, generation.xid))
          with ordinality w (name, position)
        order by w.position);
    end if;
    description := concat_ws(', through ', 'it was invalidated ' || v_who, nullif(array_to_string(through, ', '), ''));
  end if;
end;
$$;

comment on function module_cache._describe_invalidation(uuid, text, bigint, bigint[], module_cache._generations) is
  'Who has invalidated, when, and through which modules.';

create function module_cache.explain(
  realm_url text, canonical_path text,
  out kind text, out variant text, out status text, out reason text, out through text[],
  out invalidated_at timestamptz, out xid xid8, out role_name name, out application_name text,
  out client_address inet, out backend_pid integer,
  out dependencies text[], out dependents text[],
  out created_at timestamptz, out expires_at timestamptz, out bytes integer)
  returns setof record
  language plpgsql volatile parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
  set gin_fuzzy_search_limit to 0
as $$
declare
  v_realm constant text := module_cache._require_artifact(realm_url, canonical_path, 'transpile', '');
  v_module_hash constant bigint := module_cache._module_hash(v_realm, canonical_path);
  v_epoch uuid;
  v_artifact module_cache._artifacts;
  v_has_private constant boolean := exists (select from module_cache._private_realms);
  v_is_live boolean;
  v_is_hidden boolean;
  v_is_outdated boolean;
  v_generation module_cache._generations;
  v_invalidation record;
  v_claims jsonb;
begin
  if pg_is_in_recovery() then
    perform module_cache._raise('MC005', 'the server is a standby', null,
      'Connect to the primary: the cache is empty on a standby.');
  end if;
  if v_has_private then
    perform module_cache._privacy(v_realm, canonical_path);
  end if;
  select e.epoch into v_epoch from module_cache._epoch() e;
  dependents := array(
    select distinct module_cache._named_from(v_realm, d.realm_url, d.canonical_path) collate "C"
    from module_cache._artifacts d
    where d.depends_on @> array[v_module_hash] and d.epoch = v_epoch
      and (not v_has_private or not module_cache._is_closed(d.realm_url, d.canonical_path))
    order by 1);
  select
    jsonb_agg(jsonb_build_object('kind', c.kind, 'variant', c.variant, 'description',
      format('; being produced by %s for %s%s', c.producer, module_cache._time_since(c.claimed_at),
        case when cardinality(c.waiting) > 0 then format(', awaited by %s', array_to_string(c.waiting, ', ')) else '' end)))
  into v_claims
  from module_cache._named_claims() c
  where c.realm_url = v_realm and c.canonical_path = explain.canonical_path;

  for v_artifact in
    select a.*
    from (select) one
    left join module_cache._artifacts a
      on a.module_hash = v_module_hash
      and (not v_has_private or not module_cache._is_closed(a.realm_url, a.canonical_path))
    order by a.realm_url, a.canonical_path, a.kind, a.variant
  loop
    v_is_live := coalesce(module_cache._is_live(v_artifact), false);
    v_is_hidden := false;
    if v_has_private and v_is_live then
      select p.is_hidden into v_is_hidden
      from module_cache._privacy(
        v_artifact.realm_url, v_artifact.canonical_path, v_artifact.dependency_keys, v_artifact.depends_on) p;
      v_is_live := not v_is_hidden;
    end if;
    -- The newest one that outdates it; else the newest one that it has seen. Of one transaction, the nearest.
    select g.*
    into v_generation
    from module_cache._generations g
    where g.key = any (
        array[v_module_hash, module_cache._realm_hash(coalesce(v_artifact.realm_url, v_realm)), 0] || v_artifact.depends_on)
      and (g.epoch = v_epoch or g.epoch is null)
    order by
      pg_visible_in_snapshot(g.xid, v_artifact.snapshot) nulls first,
      g.xid desc,
      g.key = v_module_hash desc,
      g.canonical_path
    limit 1;
    v_is_outdated := found
      and (v_artifact.kind is null or not pg_visible_in_snapshot(v_generation.xid, v_artifact.snapshot));
    select d.* into v_invalidation
    from module_cache._describe_invalidation(
      v_epoch, v_realm, v_module_hash, coalesce(v_artifact.depends_on, '{}'), v_generation) d
    where v_generation.xid is not null;

    kind := v_artifact.kind;
    variant := v_artifact.variant;
    through := v_invalidation.through;
    xid := v_generation.xid;
    invalidated_at := (v_invalidation.log_entry).invalidated_at;
    role_name := (v_invalidation.log_entry).role_name;
    application_name := (v_invalidation.log_entry).application_name;
    client_address := (v_invalidation.log_entry).client_address;
    backend_pid := (v_invalidation.log_entry).backend_pid;
    dependencies := case
      when v_has_private then module_cache._visible_keys(v_artifact.realm_url, v_artifact.dependency_keys, v_artifact.depends_on)
      else v_artifact.dependency_keys
    end;
    created_at := v_artifact.created_at;
    expires_at := v_artifact.expires_at;
    bytes := octet_length(v_artifact.body);
    status := case
      when v_is_live and v_artifact.is_error then 'error'
      when v_is_live then 'hit'
      when v_is_outdated and (v_artifact.kind is null or v_artifact.epoch = v_epoch) then 'tombstone'
      else 'miss'
    end;
    reason := case
      when v_is_live then concat_ws(', after ',
        format('%s: stored %s ago by transaction %s', status, module_cache._time_since(v_artifact.created_at), v_artifact.put_xid),
        v_invalidation.description)
      when v_is_hidden then 'miss: it depends on a private realm, which this role may not read'
      when v_artifact.kind is null and v_is_outdated then 'miss: not stored since ' || v_invalidation.description
      when v_artifact.kind is null then 'miss: never stored, or collected since'
      when v_artifact.epoch is distinct from v_epoch then
        'miss: stored in another life of the database, before a crash, a restore or a failover'
      when v_is_outdated then 'miss: ' || regexp_replace(v_invalidation.description, '^it was ', '')
      when v_artifact.expires_at <= clock_timestamp() then format('miss: expired %s ago', module_cache._time_since(v_artifact.expires_at))
      else 'miss: stored before the floor of garbage collection, or by a clock that was set back since'
    end;
    reason := reason
      || case
        when v_artifact.realm_url || v_artifact.canonical_path <> v_realm || explain.canonical_path
          then '; stored as ' || module_cache._named_from(v_realm, v_artifact.realm_url, v_artifact.canonical_path)
        else ''
      end
      || coalesce(
        (
          select string_agg(c.description, '' order by c.kind, c.variant)
          from jsonb_to_recordset(v_claims) c (kind text, variant text, description text)
          where v_artifact.kind is null or (c.kind, c.variant) = (v_artifact.kind, v_artifact.variant)
        ),
        '');
    return next;
  end loop;
end;
$$;

comment on function module_cache.explain(text, text) is
  'Why get answers as it does: a row for each kind and variant of the module that is stored, live or dead, or one without a kind. status: hit, error, tombstone (invalidated, and not produced again) or miss; reason says it in words. The invalidation is the one that outdates it, or else the last one that it has seen. Raises MC001, MC005, MC006.';
