/*
 * What the triggers on a tracked table do: a change of a row invalidates the module that it is the source of, in the
 * transaction of the change. The next file attaches them.
 *
 * The user's write comes first: a row that can name no module is counted, a column that is gone clears the realm, and
 * nothing here raises. Nor does anything here read what other transactions append, so that SERIALIZABLE writers have
 * no reason to conflict.
 */

/*
 * A value is converted by the output function of its type: a cast could be a function of whoever owns the type, and
 * would run with the rights of whoever owns this schema. More than 2,000 characters are no path or realm, whatever
 * follows. (In a transition table a virtual generated column is null, so it is left out.)
 */
create function module_cache._source_columns(relation oid) returns table (column_name name, value text)
  language sql stable parallel safe
begin atomic
  select
    a.attname,
    format(
      case t.typoutput when 'bpcharout'::regproc then 'left(rtrim(concat(r.%I)), 2001)' else 'left(concat(r.%I), 2001)' end,
      a.attname)
  from pg_attribute a
  join pg_type t on t.oid = a.atttypid
  where a.attrelid = relation
    and a.attnum > 0
    and not a.attisdropped
    and a.attgenerated <> 'v'
    and t.typcategory in ('S', 'E');
end;

comment on function module_cache._source_columns(oid) is
  'The columns that can hold paths or realms, each with the expression that reads it from a row r.';

create function module_cache._clear_sources(realm_url text) returns void
  language plpgsql volatile parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
as $$
declare
  v_realm constant text := module_cache._realm(realm_url);
begin
  if v_realm is null then
    perform module_cache._clear('global', module_cache._global_hash(), null);
  else
    perform module_cache._clear('realm', module_cache._realm_hash(v_realm), v_realm);
  end if;
end;
$$;

comment on function module_cache._clear_sources(text) is
  'Clears the realm of a tracked table; null for one whose rows name their realms: it clears everything.';

/*
 * Rows as arrays that run in parallel, those before the change and those after it. An update names most paths in both,
 * and a row that can name no module counts once.
 *
 * A statement over very many realms would send each peer a notification for each: past a handful one sends them to the
 * log.
 */
create function module_cache._invalidate_sources(
  realm_url text, old_paths text[], old_realms text[], new_paths text[], new_realms text[])
  returns void
  language plpgsql volatile parallel unsafe
  set search_path to pg_catalog, module_cache, pg_temp
  set plan_cache_mode to force_generic_plan
  set jit to off
as $$
declare
  c_notifications constant integer := 6;
  v_notify constant text := coalesce(current_setting('module_cache.notify', true), '');
  v_sources record;
  v_realms integer := 0;
begin
  for v_sources in
    select
      m.realm_url,
      coalesce(array_agg(distinct m.path) filter (where m.path is not null), '{}') as paths,
      greatest(
        count(*) filter (where m.path is null and m.is_new), count(*) filter (where m.path is null and not m.is_new)
      ) as ignored
    from (
      select
        s.realm_url,
        case when s.realm_url is not null then module_cache._path(s.realm_url, s.path) end collate "C" as path,
        s.is_new
      from (
        select
          case when r.realm_url is null then _invalidate_sources.realm_url else module_cache._realm(r.realm_url) end
            collate "C" as realm_url,
          r.path,
          r.is_new
        from (
          select n.realm_url, n.path, true from unnest(new_realms, new_paths) n (realm_url, path)
          union all
          select o.realm_url, o.path, false from unnest(old_realms, old_paths) o (realm_url, path)
        ) r (realm_url, path, is_new)
        -- The realm is worked out once for each row.
        offset 0
      ) s
    ) m
    group by m.realm_url
  loop
    v_realms := v_realms + 1;
    if v_realms = c_notifications + 1 then
      perform set_config('module_cache.notify', 'off', true);
    end if;
    -- Without a realm there is only a number to write down, in a row that peers do not get to see.
    perform module_cache._invalidate(v_sources.realm_url, v_sources.paths, v_sources.ignored);
  end loop;

  if v_realms > c_notifications then
    perform set_config('module_cache.notify', v_notify, true);
    if module_cache._may_notify() then
      perform pg_notify('module_cache_invalidated', '{"k":"log","x":"' || pg_current_xact_id() || '"}');
    end if;
  end if;
end;
$$;

comment on function module_cache._invalidate_sources(text, text[], text[], text[], text[]) is
  'Invalidates the modules that changed rows are the sources of: one log row for each realm. Null arrays are empty.';

/*
 * Of a row that a MERGE moves to another partition Postgres (15 to 18) tells the triggers of DELETE and INSERT, and
 * fires them only if the MERGE has such clauses. Nothing but a text gives it away: that of the query, of the functions
 * around it, or, because neither of these shows them, of what was prepared in SQL and of functions in SQL. In doubt it
 * is one. (No backslash here: a session may read it as an escape.)
 */
create function module_cache._may_be_merge(context text) returns boolean
  language plpgsql stable parallel restricted
  set search_path to pg_catalog, module_cache, pg_temp
as $$
begin
  -- A regular expression over a text of some hundred megabytes raises.
  if octet_length(current_query()) > 1000000 or octet_length(context) > 1000000 then
    return true;
  end if;
  return concat_ws(' ', current_query(), context) ~* 'merge'
    or exists (select from pg_prepared_statements s where s.from_sql and s.statement ~* 'merge')
    or strpos(context, chr(10)) > 0 and exists (
      select
      from pg_proc p
      join pg_language l on l.oid = p.prolang
      where l.lanname = 'sql'
        and strpos(context, p.proname) > 0
        and (p.prosrc ~* 'merge' or strpos(p.prosqlbody::text, '{MERGEACTION') > 0));
end;
$$;

comment on function module_cache._may_be_merge(text) is
  'False if the statement whose trigger has this context is certainly no MERGE.';

/*
 * The arguments are what track_table was told: realm, path column, realm column; an empty text stands for null. A fourth
 * one marks the UPDATE of a partitioned table. Definer, so that an application writes its table without any right on
 * this schema.
 *
 * The columns are looked up each time, because they may have been renamed since; to catch the error instead would take
 * a subtransaction for each statement. More rows than a peer would take note of one by one clear their realm as a whole,
 * or everything: the user's statement must not fail because an array has grown too long.
 */
create function module_cache._tracked_change() returns trigger
  language plpgsql volatile parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
as $$
declare
  c_rows constant integer := 100000;
  v_realm constant text collate "C" := nullif(tg_argv[0], '');
  v_has_realms constant boolean := tg_argv[2] <> '';
  v_old text := case when tg_op = 'INSERT' then null when tg_level = 'ROW' then '(select ($1).*)' else 'old_rows' end;
  v_new text := case when tg_op = 'DELETE' then null when tg_level = 'ROW' then '(select ($2).*)' else 'new_rows' end;
  v_path_value text;
  v_realm_value text;
  v_old_paths text[];
  v_old_realms text[];
  v_new_paths text[];
  v_new_realms text[];
  v_paths text[] collate "C";
  v_context text;
begin
  -- The rows that a TRUNCATE removes are not at hand, and an old snapshot would not even show them all.
  if tg_op = 'TRUNCATE' then
    perform module_cache._clear_sources(case when not v_has_realms then v_realm end);
    return null;
  end if;

  if tg_nargs > 3 then
    get diagnostics v_context = pg_context;
    if module_cache._may_be_merge(v_context) then
      perform module_cache._clear_sources(case when not v_has_realms then v_realm end);
      return null;
    end if;
  end if;

  select c.value into v_path_value from module_cache._source_columns(tg_relid) c where c.column_name = tg_argv[1];
  if v_has_realms then
    select format('case when r.%I is not null then %s end', c.column_name, c.value) into v_realm_value
    from module_cache._source_columns(tg_relid) c
    where c.column_name = tg_argv[2];
  end if;
  if v_path_value is null or v_has_realms and v_realm_value is null then
    raise warning using
      message = 'a tracked column is gone, so everything that it could name was invalidated',
      detail = format('table: %s, columns: %s', tg_relid::regclass, concat_ws(', ', tg_argv[1], nullif(tg_argv[2], ''))),
      hint = 'Call module_cache.track_table again with the names that the columns have now.';
    perform module_cache._clear_sources(case when not v_has_realms then v_realm end);
    return null;
  end if;

  -- What is null here is left out of the statement.
  v_old := ' from ' || v_old || ' r limit ' || c_rows + 1 || ')';
  v_new := ' from ' || v_new || ' r limit ' || c_rows + 1 || ')';
  execute 'select '
      || coalesce('array(select ' || v_path_value || v_old, 'null') || ', '
      || coalesce('array(select ' || v_realm_value || v_old, 'null') || ', '
      || coalesce('array(select ' || v_path_value || v_new, 'null') || ', '
      || coalesce('array(select ' || v_realm_value || v_new, 'null')
    into v_old_paths, v_old_realms, v_new_paths, v_new_realms
    using old, new;

  v_paths := coalesce(v_new_paths, v_old_paths);
  -- Not always as many after the change as before it: a trigger can turn down a row that moves to another partition.
  if greatest(cardinality(v_old_paths), cardinality(v_new_paths)) > c_rows then
    perform module_cache._clear_sources(case when not v_has_realms then v_realm end);
  elsif cardinality(v_paths) = 1
    and not v_has_realms
    and v_paths = coalesce(v_old_paths, v_paths)
    and module_cache._path(v_realm, v_paths[1]) is not null
  then
    perform module_cache._invalidate(v_realm, v_paths, 0);
  else
    perform module_cache._invalidate_sources(v_realm, v_old_paths, v_old_realms, v_new_paths, v_new_realms);
  end if;
  return null;
end;
$$;

comment on function module_cache._tracked_change() is
  'Trigger of a tracked table: invalidates the modules whose sources a statement changed, under their old and their new names.';
