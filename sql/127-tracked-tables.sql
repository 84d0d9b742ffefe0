/*
 * A tracked table carries triggers that call the function of the last file. They are all there is: no registry that
 * could disagree with them, and they are dumped, restored and dropped with their table.
 *
 * - A statement trigger each for INSERT, UPDATE, DELETE and TRUNCATE, on every partition and child as well: rows written
 *   straight into one do not fire those of its parent. ALWAYS, because restores and bulk loads often run as replicas.
 * - `module_cache_rows` is a row trigger on a partitioned table, which Postgres copies to each of its partitions. The
 *   copy is switched off where a partition has statement triggers. So a partition that comes later is covered from its
 *   first row on, if slowly, until track_table is called again; and one that is detached keeps its own.
 * - `module_cache_replicated` is a row trigger for what a subscription applies, which fires no statement triggers. There
 *   is no query then, and no client: asked first, because it takes no copy of a long query for each of its rows.
 *
 * Of DROP, ATTACH, DETACH and an ALTER TABLE that rewrites values no trigger is told.
 */

/* Three texts and maybe more, each ended by a zero byte. As hexadecimal digits with blanks between the bytes they can be split. */
create function module_cache._trigger_arguments(tgargs bytea) returns text[]
  language sql stable parallel safe
begin atomic
  select array(
    select convert_from(decode(a.argument, 'hex'), getdatabaseencoding())
    from string_to_table(regexp_replace(encode(tgargs, 'hex'), '..', '\& ', 'g'), '00 ')
      with ordinality a (argument, position)
    where a.position <= 3
    order by a.position);
end;

comment on function module_cache._trigger_arguments(bytea) is
  'Realm, path column and realm column of a tracked table, as its triggers hold them.';

create function module_cache._source_relations(source oid)
  returns table (relation oid, name text, kind "char", owner oid, depth integer)
  language sql stable parallel safe
begin atomic
  with recursive tree (relation, depth) as (
    select source, 0
    union all
    select i.inhrelid, t.depth + 1 from tree t join pg_inherits i on i.inhparent = t.relation
  )
  select c.oid, format('%I.%I', n.nspname, c.relname), c.relkind, c.relowner, min(t.depth)
  from tree t
  join pg_class c on c.oid = t.relation
  join pg_namespace n on n.oid = c.relnamespace
  group by c.oid, n.nspname, c.relname, c.relkind, c.relowner;
end;

comment on function module_cache._source_relations(oid) is 'A table with all of its partitions or children.';

create function module_cache._source_parents(source oid) returns setof oid
  language sql stable parallel safe
begin atomic
  with recursive up (relation) as (
    select i.inhparent from pg_inherits i where i.inhrelid = source
    union
    select i.inhparent from up u join pg_inherits i on i.inhrelid = u.relation
  )
  select u.relation from up u;
end;

comment on function module_cache._source_parents(oid) is 'The tables that a partition or child belongs to, at every level.';

/*
 * What there is against what there should be. A copy of the row trigger is not made, only switched on or off; its
 * original comes first.
 */
create function module_cache._tracking_gaps(source oid, arguments text[])
  returns table (step bigint, relation oid, trigger_name name, is_missing boolean, is_by_row boolean, statements text[])
  language sql stable parallel safe
begin atomic
  select
    row_number() over (order by r.depth, r.relation, w.name),
    r.relation,
    w.name,
    t.oid is null,
    exists (select from pg_trigger c where c.tgrelid = r.relation and c.tgparentid <> 0 and c.tgenabled = 'A'
      and c.tgfoid = 'module_cache._tracked_change'::regproc),
    case
      when t.oid is null and not w.is_copy then array[
        format('create or replace trigger %I after %s on %s %s execute function module_cache._tracked_change(%L, %L, %L%s)',
          w.name, w.event, r.name, w.level, arguments[1], arguments[2], arguments[3],
          case when w.name = 'module_cache_update' and r.kind = 'p' then $$, 'partitioned'$$ end)]
      else '{}'
    end || format('alter table only %s %s trigger %I', r.name, w.state, w.name)
  from module_cache._source_relations(source) r
  cross join lateral (
    values
      ('module_cache_insert'::name, 'insert', 'referencing new table as new_rows for each statement',
        'enable always', 'A'::"char", false, true),
      ('module_cache_update', 'update', 'referencing old table as old_rows new table as new_rows for each statement',
        'enable always', 'A', false, true),
      ('module_cache_delete', 'delete', 'referencing old table as old_rows for each statement',
        'enable always', 'A', false, true),
      ('module_cache_truncate', 'truncate', 'for each statement',
        'enable always', 'A', false, true),
      ('module_cache_rows', 'insert or update or delete', 'for each row',
        case r.kind when 'p' then 'enable always' else 'disable' end,
        case r.kind when 'p' then 'A' else 'D' end::"char",
        r.depth > 0,
        (select c.relkind = 'p' from pg_class c where c.oid = source)),
      ('module_cache_replicated', 'insert or update or delete',
        'for each row when (pg_catalog.inet_client_port() is null and pg_catalog.current_query() is null)',
        'enable replica', 'R', false, r.kind = 'r')
  ) w (name, event, level, state, tgenabled, is_copy, is_wanted)
  left join pg_trigger t
    on t.tgrelid = r.relation
    and t.tgname = w.name
    and t.tgfoid = 'module_cache._tracked_change'::regproc
    and (t.tgparentid <> 0) = w.is_copy
    and module_cache._trigger_arguments(t.tgargs) = arguments
  where w.is_wanted
    and r.kind in ('r', 'p')
    and t.tgenabled is distinct from w.tgenabled;
end;

comment on function module_cache._tracking_gaps(oid, text[]) is
  'Triggers of a tracked table that are missing or not switched on as they should be, and the statements that mend it, in order.';

/* Checks what track_table was told, as its definer: the caller needs no right but to call, and to own the table. */
create function module_cache._tracking_statements(
  source regclass, realm_url text, path_column name, realm_column name, caller name)
  returns setof text
  language plpgsql stable parallel safe security definer
  set search_path to pg_catalog, module_cache, pg_temp
as $$
declare
  v_realm text;
  v_name text;
begin
  if source is null or path_column is null or realm_url is null and realm_column is null then
    perform module_cache._raise('MC003', 'an argument of track_table is null',
      concat_ws(', ',
        case when source is null then 'source' end,
        case when path_column is null then 'path_column' end,
        case when realm_url is null and realm_column is null then 'realm_url and realm_column' end),
      'Name the table, the realm of its rows, and the column that holds their paths; realm_url may be null if realm_column names the column that holds realms.');
  end if;
  if realm_url is not null then
    v_realm := module_cache._require_realm(realm_url);
  end if;

  if not exists (
    select
    from pg_class c
    where c.oid = source
      and c.relkind in ('r', 'p')
      and c.oid >= 16384
      and c.relnamespace <> 'module_cache'::regnamespace)
  then
    perform module_cache._raise('MC003', 'not a table that can be tracked', format('source: %s', source),
      'Only tables can be: no views, materialized views, foreign tables, indexes, system catalogs, or tables of the schema module_cache. Track the tables that a view reads from.');
  end if;
  select p.inhparent::regclass into v_name
  from module_cache._source_relations(source) r
  join pg_inherits p on p.inhrelid = r.relation
  where p.inhparent not in (select o.relation from module_cache._source_relations(source) o)
  limit 1;
  if found then
    perform module_cache._raise('MC003', 'a partition or child cannot be tracked without its parent',
      format('source: %s, parent: %s', source, v_name),
      'Track the parent: what is written through it does not fire the triggers of a partition. A realm for each partition is what realm_column is for.');
  end if;
  select r.name into v_name from module_cache._source_relations(source) r where r.kind not in ('r', 'p') limit 1;
  if found then
    perform module_cache._raise('MC003', 'a partition or child is a foreign table', format('source: %s, foreign table: %s', source, v_name),
      'Postgres does not tell triggers what was written to a foreign table. Detach it first.');
  end if;
  select r.name into v_name from module_cache._source_relations(source) r where not pg_has_role(caller, r.owner, 'usage') limit 1;
  if found then
    perform module_cache._raise('MC003', 'not the owner of the table', format('table: %s, role: %I', v_name, caller),
      'Call it as the owner of the table and of all its partitions.');
  end if;

  foreach v_name in array array_remove(array[path_column, realm_column], null) loop
    if not exists (select from pg_attribute a where a.attrelid = source and a.attname = v_name and a.attnum > 0 and not a.attisdropped) then
      perform module_cache._raise('MC003', 'no such column', format('table: %s, column: %I', source, v_name),
        'Names are compared as they are, upper and lower case included: pass them without quotes of their own.');
    end if;
    if not exists (select from module_cache._source_columns(source) c where c.column_name = v_name) then
      perform module_cache._raise('MC003', 'not a column that holds paths or realms', format('table: %s, column: %I', source, v_name),
        'The type has to be text, varchar, char, name, citext, an enum or a domain over one of these; a generated column has to be a stored one.');
    end if;
  end loop;

  return query
    select s.statement
    from module_cache._tracking_gaps(source, array[coalesce(v_realm, ''), path_column, coalesce(realm_column, '')]) g,
      unnest(g.statements) with ordinality s (statement, position)
    order by g.step, s.position;
end;
$$;

comment on function module_cache._tracking_statements(regclass, text, name, name, name) is
  'The statements that make a table a tracked one, none if it is. Raises MC001 and MC003.';

create function module_cache._untracking_statements(source regclass, caller name) returns setof text
  language plpgsql stable parallel safe security definer
  set search_path to pg_catalog, module_cache, pg_temp
as $$
declare
  v_name text;
begin
  if source is null then
    perform module_cache._raise('MC003', 'source is null', null, 'Name the table.');
  end if;
  select p.parent::regclass into v_name
  from module_cache._source_parents(source) p (parent)
  join pg_trigger t on t.tgrelid = p.parent
  where t.tgfoid = 'module_cache._tracked_change'::regproc
  limit 1;
  if found then
    perform module_cache._raise('MC003', 'a partition or child is tracked with its parent',
      format('source: %s, parent: %s', source, v_name),
      'Call untrack_table for the parent, or detach the partition first.');
  end if;
  select r.name into v_name
  from module_cache._source_relations(source) r
  join pg_trigger t on t.tgrelid = r.relation
  where t.tgfoid = 'module_cache._tracked_change'::regproc and not pg_has_role(caller, r.owner, 'usage')
  limit 1;
  if found then
    perform module_cache._raise('MC003', 'not the owner of the table', format('table: %s, role: %I', v_name, caller),
      'Call it as the owner of the table and of all its partitions.');
  end if;

  return query
    select format('drop trigger if exists %I on %s', t.tgname, r.name)
    from module_cache._source_relations(source) r
    join pg_trigger t on t.tgrelid = r.relation
    where t.tgfoid = 'module_cache._tracked_change'::regproc and t.tgparentid = 0
    order by r.depth, r.relation, t.tgname;
end;
$$;

comment on function module_cache._untracking_statements(regclass, name) is
  'The statements that drop the triggers of a tracked table, none if it is not tracked. Raises MC003.';

/*
 * Invoker, so that the owner of the table is who adds the triggers. What changed while they were not there, or not as
 * they are now, is unknown: the realm is cleared in the same transaction.
 */
create function module_cache.track_table(
  source regclass, realm_url text, path_column name, realm_column name default null)
  returns void
  language plpgsql volatile parallel unsafe
  set search_path to pg_catalog, module_cache, pg_temp
as $$
declare
  v_statement text;
  v_changed boolean := false;
begin
  for v_statement in
    select s.statement
    from module_cache._tracking_statements(source, realm_url, path_column, realm_column, current_user) s (statement)
  loop
    execute v_statement;
    v_changed := true;
  end loop;
  if v_changed then
    perform module_cache._clear_sources(case when realm_column is null then realm_url end);
  end if;
end;
$$;

comment on function module_cache.track_table(regclass, text, name, name) is
  'From now on every change of this table invalidates the modules that its rows are the sources of, in the same transaction. path_column holds their paths; realm_column, if given, their realms, and a null there stands for realm_url. Again with the same arguments it changes nothing but what is amiss, such as new partitions; with others it replaces. Raises MC001 and MC003.';

create function module_cache.untrack_table(source regclass) returns void
  language plpgsql volatile parallel unsafe
  set search_path to pg_catalog, module_cache, pg_temp
as $$
declare
  v_statement text;
begin
  for v_statement in
    select s.statement from module_cache._untracking_statements(source, current_user) s (statement)
  loop
    execute v_statement;
  end loop;
end;
$$;

comment on function module_cache.untrack_table(regclass) is
  'Takes back track_table, and leaves nothing behind. Does nothing for a table that is not tracked. Raises MC003.';

create function module_cache._tracking_problem(source oid, arguments text[]) returns text
  language sql stable parallel safe
begin atomic
  select coalesce(
    (
      select format('column %I is gone', a.column_name)
      from unnest(arguments[2:3]) a (column_name)
      where a.column_name <> ''
        and a.column_name not in (select c.column_name::text from module_cache._source_columns(source) c)
      limit 1
    ),
    (
      select format('writes through its parent %s are missed', p.parent::regclass)
      from module_cache._source_parents(source) p (parent)
      limit 1
    ),
    (
      select format('%s is a foreign table', r.relation::regclass)
      from module_cache._source_relations(source) r
      where r.kind not in ('r', 'p')
      limit 1
    ),
    (
      select
        case
          when g.is_missing and g.is_by_row then format('%s is tracked row by row', g.relation::regclass)
          else format('%s of %s is %s', g.trigger_name, g.relation::regclass,
            case when g.is_missing then 'missing' else 'not as it was' end)
        end
      from module_cache._tracking_gaps(source, arguments) g
      order by g.step
      limit 1
    ));
end;

comment on function module_cache._tracking_problem(oid, text[]) is 'Why calling track_table again would help; null if all is well.';

/* Definer, so that the view needs no more rights than one to read it. */
create function module_cache._tracked_tables()
  returns table (source regclass, realm_url text, path_column text, realm_column text, tables bigint, problem text)
  language sql stable parallel unsafe security definer
begin atomic
  select
    t.source::regclass,
    nullif(t.arguments[1], ''),
    t.arguments[2],
    nullif(t.arguments[3], ''),
    (select count(*) from module_cache._source_relations(t.source)),
    module_cache._tracking_problem(t.source, t.arguments)
  from (
    select g.tgrelid as source, min(module_cache._trigger_arguments(g.tgargs)) as arguments
    from pg_trigger g
    where g.tgfoid = 'module_cache._tracked_change'::regproc and g.tgparentid = 0
    group by g.tgrelid
  ) t
  where not exists (
      select
      from module_cache._source_parents(t.source) p (parent)
      join pg_trigger g on g.tgrelid = p.parent
      where g.tgfoid = 'module_cache._tracked_change'::regproc)
    and not module_cache._is_closed(t.arguments[1], '');
end;

comment on function module_cache._tracked_tables() is 'Rows of the view tracked_tables.';
