/*
 * A token says what its reader had seen: the life of the tables and a snapshot. `life/xmin:xmax:xip,…` is a snapshot
 * token, which is also a cursor, and ends in `/private` if it was handed out with something private; `life@xid` is a
 * coherence token, which names one transaction. To callers both are opaque.
 */

/*
 * The snapshot of the running statement, for keeping. Postgres leaves a transaction's own id out of its snapshots, so
 * that a transaction which later rolls back, or writes more, would seem to have been seen: here it counts as in
 * progress.
 */
create function module_cache._snapshot() returns pg_snapshot
  language plpgsql stable parallel restricted
  set search_path to pg_catalog, module_cache, pg_temp
as $$
declare
  v_snapshot constant pg_snapshot := pg_current_snapshot();
  v_own constant xid8 := pg_current_xact_id_if_assigned();
begin
  if v_own is null or v_own >= pg_snapshot_xmax(v_snapshot) then
    return v_snapshot;
  end if;
  return (
    select format('%s:%s:%s', min(x.xid), pg_snapshot_xmax(v_snapshot), string_agg(x.xid::text, ',' order by x.xid))
    from (select pg_snapshot_xip(v_snapshot) union select v_own) x (xid));
end;
$$;

comment on function module_cache._snapshot() is
  'The current snapshot, with the own transaction counted as in progress.';

/*
 * Text that this product never wrote is misuse. A token of another life is not: it is the expected answer after a
 * crash, and callers compare the life.
 */
create function module_cache._parse_token(token text, out life text, out snapshot pg_snapshot)
  language plpgsql immutable parallel unsafe
  set search_path to pg_catalog, module_cache, pg_temp
as $$
begin
  if token ~ '^[0-9a-f]{32}-[0-9a-f]{1,16}/[0-9]{1,20}:[0-9]{1,20}:[0-9,]*(/private)?$' then
    life := split_part(token, '/', 1);
    begin
      snapshot := split_part(token, '/', 2)::pg_snapshot;
    exception when invalid_text_representation then
      snapshot := null;
    end;
  end if;
  if snapshot is null then
    perform module_cache._raise('MC002', 'not a token', format('token: %L', left(token, 200)),
      'Pass a token exactly as get or changes_since returned it.');
  end if;
end;
$$;

comment on function module_cache._parse_token(text) is 'Life and snapshot of a token; raises MC002 for other text.';

/*
 * A snapshot that claims to have seen transactions which have not begun yet would make its artifact immune to their
 * invalidations. The statement's own snapshot may be an old one, so the server's counter decides.
 */
create function module_cache._require_past(snapshot pg_snapshot) returns void
  language plpgsql volatile parallel unsafe
  set search_path to pg_catalog, module_cache, pg_temp
as $$
declare
  v_last xid8;
begin
  if pg_snapshot_xmax(snapshot) <= pg_snapshot_xmax(pg_current_snapshot()) then
    return;
  end if;
  v_last := (pg_snapshot_xmax(snapshot)::text::numeric - 1)::text::xid8;
  begin
    perform pg_xact_status(v_last);
  exception when invalid_parameter_value then
    perform module_cache._raise('MC002', 'a token or cursor from the future',
      format('It has seen transaction %s, which has not begun.', v_last),
      'Pass a token exactly as get or changes_since of this database returned it.');
  end;
end;
$$;

comment on function module_cache._require_past(pg_snapshot) is
  'Raises MC002 for a snapshot that this server cannot have given out.';

/*
 * Of two snapshots of one primary the later has seen all that the earlier has; it is strictly newer if it has seen
 * more.
 */
create function module_cache._is_newer(a pg_snapshot, b pg_snapshot) returns boolean
  language plpgsql immutable parallel safe
  set search_path to pg_catalog, module_cache, pg_temp
as $$
begin
  if pg_snapshot_xmax(a) <> pg_snapshot_xmax(b) then
    return pg_snapshot_xmax(a) > pg_snapshot_xmax(b);
  end if;
  return (select count(*) from pg_snapshot_xip(a)) < (select count(*) from pg_snapshot_xip(b));
end;
$$;

comment on function module_cache._is_newer(pg_snapshot, pg_snapshot) is 'True if a has seen strictly more than b.';

create function module_cache.coherence_token() returns text
  language plpgsql volatile parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
as $$
begin
  return coalesce((select e.life from module_cache._epoch() e), repeat('0', 32) || '-0') || '@' || pg_current_xact_id();
end;
$$;

comment on function module_cache.coherence_token() is
  'Names the current transaction. A read that passes it as "after" sees the invalidations of this transaction; without an epoch no cache holds anything, and the token only makes reads strong.';
