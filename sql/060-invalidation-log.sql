/*
 * The log is what makes every process correct; notifications only make it fast. A row is written in the transaction
 * that invalidates, next to its generations.
 */

create unlogged table module_cache._invalidations (
  id bigint generated always as identity,
  xid xid8 not null,
  epoch uuid,
  scope text not null,
  realm_url text collate "C",
  named_paths text[] not null default '{}',
  canonical_paths text[] not null default '{}',
  ignored bigint not null default 0,
  invalidated_at timestamptz not null default clock_timestamp(),
  role_name name not null default session_user,
  application_name text not null default current_setting('application_name'),
  client_address inet default inet_client_addr(),
  backend_pid integer not null default pg_backend_pid()
);

create index _invalidations_xid on module_cache._invalidations (xid);

comment on table module_cache._invalidations is
  'One row for each call and realm. Peers read it by snapshot: the id only orders rows of one transaction.';
comment on column module_cache._invalidations.scope is
  'module, realm or global; closed: a realm that became private, or was made to be forgotten again.';
comment on column module_cache._invalidations.named_paths is 'What the caller named.';
comment on column module_cache._invalidations.canonical_paths is
  'Every module of this realm that the invalidation reached, by name or through the fan-out.';
comment on column module_cache._invalidations.ignored is 'How many of the named paths can name no module.';
comment on column module_cache._invalidations.epoch is 'Null if the transaction saw no epoch; such a row counts in any.';

create function module_cache._payload(scope text, realm_url text, canonical_paths text[], xid xid8) returns text
  language sql stable parallel safe
begin atomic
  select '{"k":' || to_json(scope)
    || case when realm_url is null then '' else ',"r":' || to_json(realm_url) end
    || case when canonical_paths is null then '' else ',"m":' || array_to_json(canonical_paths) end
    || ',"x":"' || xid || '"}';
end;

comment on function module_cache._payload(text, text, text[], xid8) is
  'The JSON text of a notification and of an entry of changes_since.';

/*
 * What became visible since the cursor was taken: transactions that had not begun then, and those that were in
 * progress and have committed. Commit order is not the order of any sequence, so nothing else may decide.
 *
 * A peer that is far behind is told to drop everything, which is cheaper than what it missed.
 */
create function module_cache.changes_since(inout cursor text, out complete boolean, out changes jsonb)
  language plpgsql volatile parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
  set plan_cache_mode to force_generic_plan
  set enable_seqscan to off
  set jit to off
as $$
declare
  c_too_many constant integer := 100000;
  v_life text;
  v_snapshot pg_snapshot;
  v_epoch uuid;
  v_current_life text;
begin
  complete := false;
  changes := '[]';
  if pg_is_in_recovery() then
    perform module_cache._raise('MC005', 'the server is a standby', null,
      'Connect to the primary: tokens and cursors have no meaning on a standby.');
  end if;
  if cursor is not null then
    select p.life, p.snapshot into v_life, v_snapshot from module_cache._parse_token(cursor collate "C") p;
  end if;

  select e.epoch, e.life into v_epoch, v_current_life from module_cache._epoch() e;
  if v_epoch is null then
    perform module_cache._ensure_epoch();
    select e.life into v_current_life from module_cache._epoch() e;
  end if;
  if v_epoch is null or v_life is distinct from v_current_life then
    cursor := v_current_life || '/' || module_cache._snapshot();
    return;
  end if;

  -- One statement reads rows, floor and snapshot together: the next cursor has seen exactly what is returned. The
  -- rows are counted before they are put together: what is too much may not even fit into one value. (They are put
  -- together as text, because jsonb_agg of Postgres 18 takes a minute for 100,000 paths.)
  with missed as materialized (
    select l.*
    from (
      select i.* from module_cache._invalidations i
      where i.xid >= pg_snapshot_xmax(v_snapshot)
      union all
      select i.* from module_cache._invalidations i
      where i.xid = any (array(select pg_snapshot_xip(v_snapshot)))
    ) l
    where (l.epoch = v_epoch or l.epoch is null)
      and l.xid is distinct from pg_current_xact_id_if_assigned()
  ), reached as (
    select
      module_cache._snapshot() as snapshot,
      pg_snapshot_xmin(v_snapshot) >= module_cache._floor(v_epoch)
        and coalesce(sum(cardinality(m.canonical_paths) + 1), 0) <= c_too_many as complete,
      exists (select from module_cache._private_realms) as has_private
    from missed m
  )
  select
    r.snapshot, r.complete,
    '[' || coalesce(
      (
        select
          string_agg(
            case
              when r.has_private or m.scope = 'closed' then
                module_cache._told(m.scope, m.realm_url, m.canonical_paths, m.xid)
              else
                module_cache._payload(
                  m.scope, m.realm_url, case when m.scope = 'module' then m.canonical_paths end, m.xid)
            end,
            ',' order by m.xid, m.id)
        from missed m
        where r.complete and (m.scope <> 'module' or m.canonical_paths <> '{}')
      ),
      '') || ']'
  into cursor, complete, changes
  from reached r;

  perform module_cache._require_past(v_snapshot);
  cursor := v_current_life || '/' || cursor;
end;
$$;

comment on function module_cache.changes_since(text) is
  'The invalidations that became visible since the cursor, and the next cursor. complete = false: drop everything. null starts a cursor. What the caller may not see has no name: {"k":"private"} stands for it. Raises MC002 for what is no cursor or comes from the future.';
