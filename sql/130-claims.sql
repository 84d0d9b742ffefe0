/*
 * A claim elects the one producer of an artifact in the fleet. It is a session-level advisory lock: the server frees
 * it when the session ends, however it ends, and no transaction stays open while the producer works.
 */

/*
 * The lock is the claim; a row only says what it is called, for operators. So a row counts while its session holds the
 * lock, a claim without a row is as good as any, and what a session left behind is swept. Without a key, as _epochs.
 * VACUUM does not cut pages off: nobody is to wait for that here.
 */
create unlogged table module_cache._claims (
  claim_key bigint not null,
  backend_pid integer not null,
  realm_url text collate "C" not null,
  canonical_path text collate "C" not null,
  kind text collate "C" not null,
  variant text collate "C" not null,
  claimed_at timestamptz not null
) with (vacuum_truncate = off);

create index _claims_claim_key on module_cache._claims (claim_key);

comment on table module_cache._claims is
  'What claims are called. A row counts while its session holds the lock.';

create function module_cache._claim_key(realm_url text, canonical_path text, kind text, variant text) returns bigint
  language plpgsql stable parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
as $$
declare
  v_realm constant text := module_cache._require_artifact(realm_url, canonical_path, kind, variant);
  v_salt uuid;
begin
  if exists (select from module_cache._private_realms) then
    perform module_cache._privacy(v_realm, canonical_path);
    v_salt := (module_cache._private_realm(v_realm || canonical_path)).salt;
  end if;
  -- With two lengths, so that names which run into each other are told apart.
  return hashtextextended(
    concat_ws(' ', length(canonical_path), length(kind), v_realm, canonical_path, kind, variant, v_salt) collate "C", 3);
end;
$$;

comment on function module_cache._claim_key(text, text, text, text) is
  'The advisory lock of an artifact, and the payload of module_cache_populated. Raises MC001, MC006.';

create function module_cache._holds_claim(claim_key bigint) returns boolean
  language sql volatile parallel unsafe
begin atomic
  select exists (
    select
    from pg_locks l
    where l.pid = pg_backend_pid()
      and l.locktype = 'advisory'
      and l.database = (select d.oid from pg_database d where d.datname = current_database())
      and l.objsubid = 1
      and l.mode = 'ExclusiveLock'
      and (l.classid::bigint << 32 | l.objid::bigint) = claim_key);
end;

comment on function module_cache._holds_claim(bigint) is 'True if this session holds the claim.';

/* It waits for no table that somebody has locked, and claim ignores whatever goes wrong here: it is only a name. */
create function module_cache._name_claim(
  claim_key bigint, realm_url text, canonical_path text, kind text, variant text)
  returns void
  language plpgsql volatile parallel unsafe
  set search_path to pg_catalog, module_cache, pg_temp
  set lock_timeout to '100ms'
as $$
begin
  -- Above READ COMMITTED a name could make transactions of others conflict that look at them.
  if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted')
    or current_setting('transaction_read_only') = 'on'
  then
    return;
  end if;
  lock table module_cache._claims in row exclusive mode nowait;
  insert into module_cache._claims
  values (claim_key, pg_backend_pid(), realm_url, canonical_path, kind, variant, clock_timestamp());
end;
$$;

comment on function module_cache._name_claim(bigint, text, text, text, text) is
  'Writes down what a claim of this session is called, if that can be done.';

create function module_cache._forget_claim(claim_key bigint) returns void
  language plpgsql volatile parallel unsafe
  set search_path to pg_catalog, module_cache, pg_temp
  set plan_cache_mode to force_generic_plan
  set enable_seqscan to off
  set jit to off
  set lock_timeout to '100ms'
as $$
begin
  if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted')
    or current_setting('transaction_read_only') = 'on'
  then
    return;
  end if;
  lock table module_cache._claims in row exclusive mode nowait;
  delete from module_cache._claims c
  where c.ctid = any (array(
    select o.ctid
    from module_cache._claims o
    where o.claim_key = _forget_claim.claim_key and o.backend_pid = pg_backend_pid()
    for update skip locked));
exception when others then
  null;
end;
$$;

comment on function module_cache._forget_claim(bigint) is 'Takes back what _name_claim wrote; else it is swept.';

create function module_cache.claim(realm_url text, canonical_path text, kind text, variant text) returns boolean
  language plpgsql volatile parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
  set plan_cache_mode to force_generic_plan
as $$
declare
  v_key constant bigint := module_cache._claim_key(realm_url, canonical_path, kind, variant);
begin
  if pg_is_in_recovery() then
    perform module_cache._raise('MC005', 'the server is a standby', null,
      'Connect to the primary: a claim on a standby excludes nobody.');
  end if;
  -- Advisory locks can be taken twice by one session; a claim cannot.
  if module_cache._holds_claim(v_key) or not pg_try_advisory_lock(v_key) then
    return false;
  end if;
  begin
    perform module_cache._name_claim(v_key, module_cache._realm(realm_url), canonical_path, kind, variant);
  exception
    -- Who gets an error does not know of the lock, and would keep it as long as the session lasts.
    when query_canceled then
      perform pg_advisory_unlock(v_key);
      raise;
    when others then
      null;
  end;
  return true;
end;
$$;

comment on function module_cache.claim(text, text, text, text) is
  'True if this session is now the one to produce the artifact; false if another, or this one already, is. Never waits. It writes down what it is called, so get has no token behind it in the same transaction. Raises MC001, MC005, MC006.';

create function module_cache.release(realm_url text, canonical_path text, kind text, variant text) returns boolean
  language plpgsql volatile parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
  set plan_cache_mode to force_generic_plan
as $$
declare
  v_realm constant text := module_cache._require_artifact(realm_url, canonical_path, kind, variant);
  v_key bigint;
begin
  -- Of a realm that was closed or opened since, claims have other keys; and whoever may not read it any more must not
  -- keep everybody else waiting.
  if not exists (select from module_cache._private_realms) or not module_cache._is_closed(v_realm, canonical_path) then
    v_key := module_cache._claim_key(realm_url, canonical_path, kind, variant);
  end if;
  if v_key is null or not module_cache._holds_claim(v_key) then
    select c.claim_key into v_key
    from module_cache._claims c
    where c.backend_pid = pg_backend_pid()
      and c.realm_url = v_realm collate "C"
      and c.canonical_path = release.canonical_path collate "C"
      and c.kind = release.kind collate "C"
      and c.variant = release.variant collate "C"
      and module_cache._holds_claim(c.claim_key)
    limit 1;
    if not found then
      -- It raises for a realm that is closed.
      perform module_cache._claim_key(realm_url, canonical_path, kind, variant);
      return false;
    end if;
  end if;
  perform pg_advisory_unlock(v_key);
  perform module_cache._forget_claim(v_key);
  if module_cache._may_notify() then
    perform pg_notify('module_cache_populated', v_key::text);
  end if;
  return true;
end;
$$;

comment on function module_cache.release(text, text, text, text) is
  'Ends the claim and tells all who wait to look again; false if this session does not hold it. Raises MC001, MC006.';

/*
 * Who waits is in the lock table, too: a lock that is shared, and that nobody ever waits for. A peer takes it once it
 * has waited for a while, for a few claims at a time.
 */
create function module_cache._waiting_key(claim_key bigint) returns bigint
  language sql immutable parallel safe
begin atomic
  select hashtextextended('module_cache.waiting ' || claim_key, 0);
end;

comment on function module_cache._waiting_key(bigint) is
  'The shared advisory lock of those who wait for the end of a claim.';

create function module_cache._show_waiting(claim_key bigint, is_waiting boolean) returns boolean
  language plpgsql volatile parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
as $$
begin
  if is_waiting then
    return pg_try_advisory_lock_shared(module_cache._waiting_key(claim_key));
  end if;
  return pg_advisory_unlock_shared(module_cache._waiting_key(claim_key));
end;
$$;

comment on function module_cache._show_waiting(bigint, boolean) is
  'Shows operators that this session waits for the end of a claim, or no longer does.';

create function module_cache._advisory_locks()
  returns table (lock_key bigint, backend_pid integer, is_shared boolean)
  language sql volatile parallel unsafe
begin atomic
  select l.classid::bigint << 32 | l.objid::bigint, l.pid, l.mode = 'ShareLock'
  from pg_locks l
  where l.locktype = 'advisory'
    and l.database = (select d.oid from pg_database d where d.datname = current_database())
    and l.objsubid = 1
    and l.granted;
end;

comment on function module_cache._advisory_locks() is 'The advisory locks of this database that sessions hold.';
