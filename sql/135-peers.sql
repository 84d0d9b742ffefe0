/*
 * A peer is one process that uses the cache. It reports what of the log it still needs, so that garbage collection
 * leaves that alone while the peer lives. Whether it lives is not a matter of clocks: with its report a session takes
 * an advisory lock, which the server frees when the session ends, and which every role can see.
 *
 * A report that is missing, late or false makes nothing wrong: what the floor passes is stale, whoever needed it.
 */

/* Without a key, as _epochs: a restore must be able to copy foreign rows beside ours. Half of each page is kept free,
   so that reports are updated in place. */
create unlogged table module_cache._peers (
  backend_pid integer not null,
  epoch uuid not null,
  needs xid8 not null,
  reported_at timestamptz not null,
  role_name name not null default session_user,
  application_name text not null default current_setting('application_name'),
  client_address inet default inet_client_addr(),
  about jsonb not null
) with (fillfactor = 50);

create index _peers_backend_pid on module_cache._peers (backend_pid);

comment on table module_cache._peers is
  'What each process that uses the cache has last reported. A row counts while its session holds the lock of a peer.';
comment on column module_cache._peers.backend_pid is 'Of the dedicated connection, which alone writes this row.';
comment on column module_cache._peers.needs is
  'The oldest xmin among its cursor and the tokens of its productions; from then on it needs generations and log.';
comment on column module_cache._peers.about is 'What the peer says of itself, for operators.';

create function module_cache._peer_key(backend_pid integer) returns bigint
  language sql immutable parallel safe
begin atomic
  select hashtextextended('module_cache.peer ' || backend_pid, 0);
end;

comment on function module_cache._peer_key(integer) is 'The advisory lock that a peer holds on its dedicated connection.';

create function module_cache._peer_sessions() returns setof integer
  language sql volatile parallel unsafe
begin atomic
  select l.pid
  from pg_locks l
  where l.locktype = 'advisory'
    and l.database = (select d.oid from pg_database d where d.datname = current_database())
    and l.objsubid = 1
    and l.granted
    and (l.classid::bigint << 32 | l.objid::bigint) = module_cache._peer_key(l.pid);
end;

comment on function module_cache._peer_sessions() is 'The sessions of peers that are there.';

/* It waits for nobody: the connection that reports also listens, and asks the log. */
create function module_cache._report_peer(needs text, about jsonb) returns boolean
  language plpgsql volatile parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
  set lock_timeout to '100ms'
as $$
declare
  v_key constant bigint := module_cache._peer_key(pg_backend_pid());
  v_epoch uuid;
begin
  if needs is null or needs !~ '^[0-9a-f]{32}-[0-9a-f]{1,16}@[0-9]{1,20}$' then
    perform module_cache._raise('MC002', 'not a token', format('needs: %L', left(needs, 200)),
      'Pass the life of a token, "@" and a transaction id.');
  end if;
  if about is null or octet_length(about::text) > 8000 then
    perform module_cache._raise('MC003', 'not what a peer can say of itself', format('bytes: %s', octet_length(about::text)),
      'Pass a JSON object of at most 8,000 bytes.');
  end if;
  select e.epoch into v_epoch from module_cache._epoch() e where e.life = split_part(needs, '@', 1);
  if v_epoch is null or not (module_cache._holds_claim(v_key) or pg_try_advisory_lock(v_key)) then
    return false;
  end if;
  update module_cache._peers p
  set epoch = v_epoch,
      needs = split_part(_report_peer.needs, '@', 2)::xid8,
      reported_at = clock_timestamp(),
      role_name = default,
      application_name = default,
      client_address = default,
      about = _report_peer.about
  where p.ctid = any (array(
    select o.ctid from module_cache._peers o where o.backend_pid = pg_backend_pid() for update skip locked));
  if not found then
    insert into module_cache._peers (backend_pid, epoch, needs, reported_at, about)
    values (pg_backend_pid(), v_epoch, split_part(_report_peer.needs, '@', 2)::xid8, clock_timestamp(), _report_peer.about);
  end if;
  return true;
end;
$$;

comment on function module_cache._report_peer(text, jsonb) is
  'Says on the dedicated connection of a peer what it still needs: life@xid. False if that is of another life. Raises MC002 and MC003.';

/*
 * A lock of the session, because the peer that collects does so in many short transactions. A process that hangs keeps
 * its session, and with it this lock: when nothing was collected for a while, whoever comes stands in.
 */
create function module_cache._collector_key() returns bigint
  language sql immutable parallel safe
begin atomic
  select hashtextextended('module_cache.collector', 0);
end;

comment on function module_cache._collector_key() is 'The advisory lock of the one peer that collects garbage.';

create function module_cache._elect_collector(patience interval) returns boolean
  language plpgsql volatile parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
  set lock_timeout to '100ms'
as $$
begin
  return module_cache._holds_claim(module_cache._collector_key())
    or pg_try_advisory_lock(module_cache._collector_key())
    or not exists (
      select
      from module_cache._snapshots s
      join module_cache._epoch() e on e.epoch = s.epoch
      where s.taken_at > clock_timestamp() - patience);
end;
$$;

comment on function module_cache._elect_collector(interval) is
  'True if this session is the one that collects garbage for the fleet, until it ends or resigns, or if that one has not collected for so long. Never waits.';

create function module_cache._resign_collector() returns void
  language plpgsql volatile parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
as $$
begin
  if module_cache._holds_claim(module_cache._collector_key()) then
    perform pg_advisory_unlock(module_cache._collector_key());
  end if;
end;
$$;

comment on function module_cache._resign_collector() is 'Lets another session collect.';
