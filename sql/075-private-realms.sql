/*
 * A realm can be closed to all roles but one and its members. What decides is the URL of a module: everything that lies
 * under a private realm is private, however its realm is spelled, and of two that lie in each other the inner one counts.
 *
 * It is what row-level security would do, which cannot: the functions run with the rights of the tables' owner, and
 * it lets owners through. (And a backup by a role that may read everything would fail.) So the functions ask
 * themselves. As there, the owner of the schema and superusers see everything.
 *
 * Only reading is closed. Whoever may invalidate reaches private modules as well, and is not told: what depends on a
 * changed module must not stay because of who has changed it.
 */

/*
 * Logged, and by name: after a crash, or a restore to where the role is missing, a private realm is still private.
 * VACUUM does not cut pages off: every invalidation reads it, and is to wait for nobody.
 */
create table module_cache._private_realms (
  realm_url text collate "C" primary key,
  role_name name not null,
  salt uuid not null,
  realm_hash bigint not null generated always as (module_cache._realm_hash(realm_url)) stored,
  index_hash bigint not null generated always as (module_cache._module_hash(realm_url, 'index')) stored
) with (vacuum_truncate = off);

/* Not of expressions: who may not call their functions keeps them from being recognised for the rest of the session. */
create index _private_realms_realm_hash on module_cache._private_realms (realm_hash);
create index _private_realms_index_hash on module_cache._private_realms (index_hash);

comment on table module_cache._private_realms is 'Realms that only members of a role may read.';
comment on column module_cache._private_realms.realm_hash is 'Its own cover key, and that of its index.';
comment on column module_cache._private_realms.salt is
  'Goes into the keys of its claims, which everybody who may log in can see: no name is to be guessed from them.';

/* A dump of the database has the rows of an extension only where it is told so; outside of one there is none to tell. */
do $$
begin
  perform pg_extension_config_dump('module_cache._private_realms', '');
exception when feature_not_supported then
  null;
end;
$$;

/* Behind a function of its owner current_user is that owner. What a session has made itself by SET ROLE is a setting. */
create function module_cache._caller() returns name
  language sql stable parallel restricted
begin atomic
  select coalesce(nullif(current_setting('role'), 'none')::name, session_user);
end;

comment on function module_cache._caller() is 'The role that calls, whatever function runs.';

/*
 * Whoever refreshes a materialized view, builds or analyses an index (autovacuum as well), runs what the owner of the
 * table wrote, and Postgres takes the rights of that owner for it. The session is still that of somebody who may see
 * more. Nothing tells that this is so but a command that is refused then. (Not during a parallel operation either.)
 */
create function module_cache._is_maintenance() returns boolean
  language plpgsql volatile parallel unsafe
  set search_path to pg_catalog, module_cache, pg_temp
as $$
begin
  unlisten module_cache_nothing;
  -- What listens could not prepare its transaction behind it: an error takes it back.
  if current_setting('max_prepared_transactions') <> '0' then
    raise exception using errcode = 'MC000';
  end if;
  return false;
exception
  when insufficient_privilege then
    return true;
  when sqlstate 'MC000' then
    return false;
end;
$$;

comment on function module_cache._is_maintenance() is
  'True while Postgres runs expressions with the rights of the owner of a table, whoever has started that.';

create function module_cache._is_member(role_name name) returns boolean
  language plpgsql stable parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
as $$
declare
  v_caller constant oid := (select r.oid from pg_roles r where r.rolname = module_cache._caller());
begin
  return (
      coalesce(
        pg_has_role(v_caller, (select r.oid from pg_roles r where r.rolname = _is_member.role_name), 'usage'), false)
      or coalesce(
        pg_has_role(v_caller, (select n.nspowner from pg_namespace n where n.nspname = 'module_cache'), 'usage'), false))
    and not module_cache._is_maintenance();
end;
$$;

comment on function module_cache._is_member(name) is
  'True if the caller has the rights of the role, or of the owner of this schema.';

/* One look for each slash behind the host. A plan is kept for the session, and may be from when the table was small. */
create function module_cache._private_realm(url text) returns module_cache._private_realms
  language plpgsql stable parallel restricted
  set search_path to pg_catalog, module_cache, pg_temp
  set plan_cache_mode to force_generic_plan
  set enable_seqscan to off
  set jit to off
as $$
declare
  v_parts constant text[] := string_to_array(url, '/');
  v_found module_cache._private_realms;
begin
  for v_count in reverse cardinality(v_parts) - 1 .. 3 loop
    select p.* into v_found
    from module_cache._private_realms p
    where p.realm_url = array_to_string(v_parts[:v_count], '/') || '/';
    exit when found;
  end loop;
  return v_found;
end;
$$;

comment on function module_cache._private_realm(text) is 'The innermost private realm that a URL lies in; null if there is none.';

/* The character after the slash that a realm ends in. */
create function module_cache._after_realm(realm_url text) returns text
  language sql immutable parallel safe
begin atomic
  select (left(realm_url, -1) || '0') collate "C";
end;

comment on function module_cache._after_realm(text) is 'By their bytes, what lies in a realm comes before this.';

/*
 * Definer, because the views run it with the rights of whoever reads them. Said to cost nothing, so that it is asked
 * before any condition of theirs: whether those were asked shows in EXPLAIN.
 */
create function module_cache._is_closed(realm_url text, canonical_path text) returns boolean
  language plpgsql stable parallel unsafe security definer cost 0.0001
  set search_path to pg_catalog, module_cache, pg_temp
as $$
declare
  v_private constant module_cache._private_realms := module_cache._private_realm(realm_url || canonical_path);
begin
  return v_private.role_name is not null and not module_cache._is_member(v_private.role_name);
end;
$$;

comment on function module_cache._is_closed(text, text) is
  'True if a module, or for an empty path a realm, is not for the caller to see.';

create function module_cache._visible_paths(realm_url text, canonical_paths text[]) returns text[]
  language plpgsql stable parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
as $$
begin
  -- Most realms have no other inside: then all their modules are alike.
  if exists (
    select
    from module_cache._private_realms p
    where p.realm_url > _visible_paths.realm_url collate "C"
      and p.realm_url < module_cache._after_realm(_visible_paths.realm_url))
  then
    return array(
      select n.path
      from unnest(canonical_paths) with ordinality n (path, position)
      join (
        select f.folder, module_cache._is_closed(realm_url, f.folder) as is_closed
        from (select distinct coalesce(substring(p.path from '^.*/'), '') as folder from unnest(canonical_paths) p (path)) f
        offset 0
      ) c on c.folder = coalesce(substring(n.path from '^.*/'), '')
      where not c.is_closed
      order by n.position);
  end if;
  return case when module_cache._is_closed(realm_url, '') then '{}' else canonical_paths end;
end;
$$;

comment on function module_cache._visible_paths(text, text[]) is 'Those modules of a realm that the caller may see.';

/* The cover keys of an artifact hold every realm below its own that its dependencies lie in, and all of others. */
create function module_cache._may_be_private(depends_on bigint[]) returns boolean
  language plpgsql stable parallel restricted
  set search_path to pg_catalog, module_cache, pg_temp
  set plan_cache_mode to force_generic_plan
  set enable_seqscan to off
  set jit to off
as $$
begin
  return exists (select from module_cache._private_realms p where p.realm_hash = any (depends_on))
    or exists (select from module_cache._private_realms p where p.index_hash = any (depends_on));
end;
$$;

comment on function module_cache._may_be_private(bigint[]) is
  'False if what has these cover keys depends on no private realm but one around its own, as most artifacts.';

/* A key may have lost what would tell it from a realm: `https://example.com/a` can be the index of `…/a/`. */
create function module_cache._visible_keys(realm_url text, dependency_keys text[], depends_on bigint[]) returns text[]
  language plpgsql stable parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
as $$
begin
  if depends_on is not null
    and not module_cache._may_be_private(depends_on)
    and (module_cache._private_realm(realm_url)).role_name is null
  then
    return dependency_keys;
  end if;
  return array(
    select k.key
    from unnest(dependency_keys) with ordinality k (key, position)
    where not module_cache._is_closed(
      case when k.key ~ '^[a-z][a-z0-9+.-]*://' then '' else realm_url end, k.key || '/')
    order by k.position);
end;
$$;

comment on function module_cache._visible_keys(text, text[], bigint[]) is
  'Those dependency keys that the caller may see. Their cover keys, if they are at hand, make it fast.';

/* Which realm is the innermost, only the keys themselves tell; one that could be the index of a private realm is taken for it. */
create function module_cache._private_dependencies(realm_url text, dependency_keys text[], depends_on bigint[])
  returns setof name
  language plpgsql stable parallel restricted
  set search_path to pg_catalog, module_cache, pg_temp
  set plan_cache_mode to force_generic_plan
  set enable_seqscan to off
  set jit to off
as $$
begin
  if not module_cache._may_be_private(depends_on) and (module_cache._private_realm(realm_url)).role_name is null then
    return;
  end if;
  return query
    select (module_cache._private_realm(u.url)).role_name
    from unnest(dependency_keys) k (key)
    cross join lateral (
      select case when k.key ~ '^[a-z][a-z0-9+.-]*://' then k.key else realm_url || k.key end as url
    ) u
    union
    select p.role_name
    from module_cache._private_realms p
    where p.index_hash = any (depends_on);
end;
$$;

comment on function module_cache._private_dependencies(text, text[], bigint[]) is
  'The roles of the private realms that an artifact depends on, and maybe null.';

/*
 * Asked by get and is_current, if there are private realms at all. Who may read a realm may read what its modules depend
 * on, or put would have refused them; but roles lose members.
 */
create function module_cache._privacy(
  realm_url text, canonical_path text, dependency_keys text[] default '{}', depends_on bigint[] default '{}',
  out is_private boolean, out is_hidden boolean)
  language plpgsql stable parallel unsafe
  set search_path to pg_catalog, module_cache, pg_temp
  set plan_cache_mode to force_generic_plan
  set enable_seqscan to off
  set jit to off
as $$
declare
  v_private constant module_cache._private_realms := module_cache._private_realm(realm_url || canonical_path);
  v_roles name[];
begin
  if v_private.role_name is not null and not module_cache._is_member(v_private.role_name) then
    perform module_cache._raise('MC006', 'the realm is private', format('realm_url: %L', left(realm_url, 200)),
      'Connect as a member of the role that it belongs to. Who owns the schema module_cache can tell which one that is.');
  end if;
  is_private := v_private.role_name is not null;
  is_hidden := false;
  if depends_on = '{}' or v_private.role_name is null and not module_cache._may_be_private(depends_on) then
    return;
  end if;
  v_roles := array_remove(
    array(select d.role_name from module_cache._private_dependencies(realm_url, dependency_keys, depends_on) d (role_name)),
    null);
  is_private := is_private or v_roles <> '{}';
  is_hidden := exists (select from unnest(v_roles) r (role_name) where not module_cache._is_member(r.role_name));
end;
$$;

comment on function module_cache._privacy(text, text, text[], bigint[]) is
  'Whether a module or what it depends on is private, and whether it depends on what the caller may not read. Raises MC006 for a module that the caller may not read.';

/*
 * Nobody may see in one realm what was made from another that is closed to them: the names of what it depends on, and
 * when that changes, which everybody who holds it has to be told.
 */
create function module_cache._require_publishable(
  realm_url text, canonical_path text, dependency_keys text[], depends_on bigint[])
  returns void
  language plpgsql volatile parallel restricted
  set search_path to pg_catalog, module_cache, pg_temp
as $$
declare
  v_private constant module_cache._private_realms := module_cache._private_realm(realm_url || canonical_path);
  v_role constant oid := (select r.oid from pg_roles r where r.rolname = v_private.role_name);
begin
  if exists (
    select
    from module_cache._private_dependencies(realm_url, dependency_keys, depends_on) d (role_name)
    left join pg_roles r on r.rolname = d.role_name
    where d.role_name is not null
      and pg_has_role(v_role, r.oid, 'usage') is not true)
  then
    perform module_cache._raise('MC006', 'a dependency lies in a private realm',
      format('realm_url: %L, dependency_keys: %s', left(realm_url, 200), left(dependency_keys::text, 400)),
      'Everybody who reads this realm would see it. Close this realm as well, to the same role or one that is a member of it.');
  end if;
end;
$$;

comment on function module_cache._require_publishable(text, text, text[], bigint[]) is
  'Raises MC006 if some who may read this module may not read what it depends on.';

/*
 * What a caller is told of a row of the log. What it may not see is told without a name: a process that holds anything
 * private drops all of it then, in case it held that, or held it before its role lost a member.
 */
create function module_cache._told(scope text, realm_url text, canonical_paths text[], xid xid8) returns text
  language plpgsql stable parallel unsafe
  set search_path to pg_catalog, module_cache, pg_temp
as $$
declare
  c_private constant text := module_cache._payload('private', null, null, xid);
  v_paths text[];
begin
  if scope = 'closed' then
    -- Who has read it until now holds it under its name, and nobody else is to learn that.
    return module_cache._payload('global', null, null, xid);
  elsif scope = 'global' then
    return module_cache._payload(scope, null, null, xid);
  elsif scope = 'realm' then
    return case
      when module_cache._is_closed(realm_url, '') then c_private
      else module_cache._payload(scope, realm_url, null, xid)
    end;
  end if;
  v_paths := module_cache._visible_paths(realm_url, canonical_paths);
  return concat_ws(',',
    case when v_paths <> '{}' then module_cache._payload(scope, realm_url, v_paths, xid) end,
    case when cardinality(v_paths) < cardinality(canonical_paths) then c_private end);
end;
$$;

comment on function module_cache._told(text, text, text[], xid8) is
  'A row of the log as the caller may see it: one payload or two, with a comma between them.';

create function module_cache._names_private(realm_url text, canonical_paths text[]) returns boolean
  language plpgsql stable parallel restricted
  set search_path to pg_catalog, module_cache, pg_temp
as $$
begin
  return (module_cache._private_realm(realm_url)).role_name is not null
    or exists (
      select
      from module_cache._private_realms p
      where p.realm_url >= _names_private.realm_url collate "C"
        and p.realm_url < module_cache._after_realm(_names_private.realm_url))
    and exists (
      select
      from (select distinct coalesce(substring(n.path from '^.*/'), '') as folder from unnest(canonical_paths) n (path)) f
      where (module_cache._private_realm(realm_url || f.folder)).role_name is not null);
end;
$$;

comment on function module_cache._names_private(text, text[]) is
  'True if a notification would tell everybody who may log in what not everybody may see.';

/* Every invalidation reads which realms are private. */
create function module_cache._require_not_serializable() returns void
  language plpgsql volatile parallel unsafe
  set search_path to pg_catalog, module_cache, pg_temp
as $$
begin
  if current_setting('transaction_isolation') = 'serializable' then
    perform module_cache._raise('MC003', 'realms are not closed or opened in a serializable transaction', null,
      'Do it in READ COMMITTED: transactions of others that invalidate must not fail because of it.');
  end if;
end;
$$;

comment on function module_cache._require_not_serializable() is
  'Raises MC003 where serializable transactions of others could conflict with this one.';

/*
 * Not granted to any role: whoever can close a realm, or open it, decides who reads it. What was read until now is
 * forgotten everywhere: in the database by a generation of the realm, in the memory of all processes by a row of the log
 * that tells them to drop everything and nobody why.
 */
create function module_cache.close_realm(realm_url text, role_name name) returns void
  language plpgsql volatile parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
as $$
declare
  v_realm constant text := module_cache._require_realm(realm_url);
begin
  perform module_cache._require_not_serializable();
  if role_name is null or not exists (select from pg_roles r where r.rolname = close_realm.role_name) then
    perform module_cache._raise('MC003', 'no such role', format('role_name: %L', role_name),
      'Names are compared as they are, upper and lower case included. Create the role first.');
  end if;
  insert into module_cache._private_realms as p
  values (v_realm, role_name, gen_random_uuid())
  on conflict on constraint _private_realms_pkey do update
  set role_name = excluded.role_name, salt = excluded.salt;
  perform module_cache._clear('closed', module_cache._realm_hash(v_realm), v_realm);
  -- What is stored under a realm around it, or inside, has no such key.
  insert into module_cache._generations (key, xid, epoch, realm_url)
  select distinct a.module_hash, pg_current_xact_id(), e.epoch, v_realm
  from module_cache._epoch() e
  cross join (
    select array_to_string((string_to_array(v_realm, '/'))[:n], '/') || '/' as url
    from generate_series(3, cardinality(string_to_array(v_realm, '/')) - 2) n
  ) around
  join module_cache._artifacts a
    on a.realm_url = around.url
    and starts_with(a.canonical_path, substr(v_realm, length(around.url) + 1))
  union
  select distinct a.module_hash, pg_current_xact_id(), e.epoch, v_realm
  from module_cache._epoch() e
  join module_cache._artifacts a on a.realm_url > v_realm and a.realm_url < module_cache._after_realm(v_realm);
end;
$$;

comment on function module_cache.close_realm(text, name) is
  'From now on only members of the role can read what lies in this realm. Clears it, and makes every process forget all that it holds; again with the same role, it does so again, which is what taking a member from the role asks for. Raises MC001, MC003.';

create function module_cache.open_realm(realm_url text) returns void
  language plpgsql volatile parallel unsafe security definer
  set search_path to pg_catalog, module_cache, pg_temp
as $$
declare
  v_realm constant text := module_cache._require_realm(realm_url);
begin
  perform module_cache._require_not_serializable();
  delete from module_cache._private_realms p where p.realm_url = v_realm;
end;
$$;

comment on function module_cache.open_realm(text) is
  'Takes back close_realm: whoever may read realms reads this one, with all that is stored. Does nothing for a realm that is not private. Raises MC001, MC003.';
