/*
 * The walk backwards along declared dependencies. What an artifact declared is guaranteed by the check at read; the
 * walk comes on top, for what was only known through other modules, and gives invalidate its answer. It follows the
 * edges of dead artifacts, too: until a module is produced again they are the best knowledge about it.
 *
 * Each step is one index scan for each module reached. The planner may not choose otherwise, because it may have
 * planned while the table was small, and a plan is kept for the session. (The epoch is compared in a way that no index
 * serves: nearly all rows have the same. A user may have set a limit that makes an index of this kind forget.)
 */
create function module_cache._importers(epoch uuid, module_hashes bigint[],
  out realm_urls text[], out canonical_paths text[], out hashes bigint[])
  language plpgsql stable parallel safe
  set search_path to pg_catalog, module_cache, pg_temp
  set plan_cache_mode to force_generic_plan
  set enable_seqscan to off
  set enable_hashjoin to off
  set enable_mergejoin to off
  set enable_indexscan to off
  set enable_material to off
  set enable_bitmapscan to on
  set enable_nestloop to on
  set gin_fuzzy_search_limit to 0
  set jit to off
as $$
begin
  with recursive reached (module_hash) as (
    select unnest(module_hashes)
    union
    select a.module_hash
    from reached r
    join module_cache._artifacts a on a.depends_on @> array[r.module_hash]
    where a.epoch is not distinct from _importers.epoch
  ), modules as (
    select distinct a.realm_url, a.canonical_path, a.module_hash
    from reached r
    join module_cache._artifacts a on a.module_hash = r.module_hash
    where a.epoch is not distinct from _importers.epoch
  )
  select array_agg(m.realm_url), array_agg(m.canonical_path), array_agg(m.module_hash)
  into realm_urls, canonical_paths, hashes
  from modules m;
end;
$$;

comment on function module_cache._importers(uuid, bigint[]) is
  'The stored modules with one of the given keys, and all that declared them as a dependency, directly or through others.';
