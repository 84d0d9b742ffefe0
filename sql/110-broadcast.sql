/*
 * Notifications are hints for the log. They are sent by the transaction that invalidates, so Postgres delivers them
 * after its commit or not at all; and they must never be the reason why that transaction fails.
 */

create function module_cache._has_short_lock_timeout() returns boolean
  language sql stable parallel safe
begin atomic
  select current_setting('lock_timeout')::interval between '1 microsecond' and '999 milliseconds';
end;

comment on function module_cache._has_short_lock_timeout() is
  'True if this session or transaction waits for locks, but less than a second.';

create function module_cache._may_notify() returns boolean
  language sql volatile parallel unsafe
begin atomic
  -- What makes the commit of a notifying transaction fail is answered by leaving the news to the log: a full queue,
  -- being prepared, and a short timeout for the lock under which such commits happen one after the other.
  select not module_cache._is_off('module_cache.notify')
    and pg_notification_queue_usage() < 0.5
    and not module_cache._has_short_lock_timeout();
end;

comment on function module_cache._may_notify() is
  'False if module_cache.notify is off, if the notification queue of the server is half full, or if the transaction waits less than a second for locks.';

/*
 * A payload takes at most 7,000 bytes, below the 8,000 of Postgres. A fan-out is split into parts; past a handful,
 * or if a single path does not fit once it is escaped, one part sends the listeners to the log.
 */
create function module_cache._broadcast_in_parts(scope text, realm_url text, canonical_paths text[], xid xid8)
  returns void
  language plpgsql volatile parallel unsafe
  set search_path to pg_catalog, module_cache, pg_temp
as $$
declare
  c_limit constant integer := 7000;
  c_parts constant integer := 6;
  v_payloads text[] := '{}';
  v_payload text;
  v_part text[] := '{}';
  v_base constant integer := octet_length(module_cache._payload(scope, realm_url, '{}', xid));
  v_part_bytes integer := v_base;
  v_path text;
  v_bytes integer;
begin
  foreach v_path in array canonical_paths loop
    v_bytes := octet_length(to_json(v_path)::text) + 1;
    if v_part_bytes + v_bytes > c_limit then
      v_payloads := v_payloads || module_cache._payload(scope, realm_url, v_part, xid);
      v_part := '{}';
      v_part_bytes := v_base;
    end if;
    exit when v_part_bytes + v_bytes > c_limit or cardinality(v_payloads) >= c_parts;
    v_part := v_part || v_path;
    v_part_bytes := v_part_bytes + v_bytes;
  end loop;
  if v_part = '{}' then
    perform pg_notify('module_cache_invalidated', module_cache._payload('log', null, null, xid));
    return;
  end if;
  v_payloads := v_payloads || module_cache._payload(scope, realm_url, v_part, xid);
  foreach v_payload in array v_payloads loop
    perform pg_notify('module_cache_invalidated', v_payload);
  end loop;
end;
$$;

comment on function module_cache._broadcast_in_parts(text, text, text[], xid8) is
  'Notifies the listeners of a log row that names many modules, or long ones.';

create function module_cache._broadcast(scope text, realm_url text, canonical_paths text[], xid xid8) returns void
  language plpgsql volatile parallel unsafe
  set search_path to pg_catalog, module_cache, pg_temp
as $$
declare
  v_payload text;
begin
  if not module_cache._may_notify() then
    return;
  end if;
  -- Everybody who may log in hears it.
  if scope = 'closed'
    or exists (select from module_cache._private_realms) and module_cache._names_private(realm_url, canonical_paths)
  then
    perform pg_notify('module_cache_invalidated', module_cache._payload('log', null, null, xid));
    return;
  end if;
  if scope <> 'module' or cardinality(canonical_paths) <= 100 then
    v_payload := module_cache._payload(scope, realm_url, canonical_paths, xid);
    if octet_length(v_payload) <= 7000 then
      perform pg_notify('module_cache_invalidated', v_payload);
      return;
    end if;
  end if;
  perform module_cache._broadcast_in_parts(scope, realm_url, canonical_paths, xid);
end;
$$;

comment on function module_cache._broadcast(text, text, text[], xid8) is
  'Notifies the listeners of one log row when the transaction commits.';
