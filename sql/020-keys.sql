/*
 * Words for modules. Every function that takes a realm, path or key passes it through here, and src/keys.ts spells
 * the same rules for the process side.
 *
 * The functions of this file have bodies that were resolved when they were created, so they need no search_path of
 * their own and the planner can inline them.
 */

/*
 * Scheme and host of a URL are case-insensitive, everything behind them is not. A user part is refused, because
 * realms are shown to operators and sent in notifications, and a user part may hold a password.
 */
create function module_cache._realm(realm_url text) returns text
  language sql immutable parallel safe
begin atomic
  select case
    when octet_length(realm_url) > 2000 then null
    when realm_url ~ '^[A-Za-z][A-Za-z0-9+.-]*://[^/?#@\\]*/([^?#]*/)?$'
      and realm_url !~ '[\x01-\x20\x7f]'
      and regexp_replace(realm_url, '^[^:]*://[^/]*/', '') !~ '(^|/)\.\.?(/|$)'
    then lower(substring(realm_url from '^[^:]*://[^/]*') collate "C")
      || substr(realm_url, length(substring(realm_url from '^[^:]*://[^/]*')) + 1)
  end;
end;

comment on function module_cache._realm(text) is 'The realm with scheme and host in lower case; null if it is no realm.';

create function module_cache._path(realm_url text, canonical_path text) returns text
  language sql immutable parallel safe
begin atomic
  -- The length comes first: a regular expression over a text of some hundred megabytes raises.
  select case
    when octet_length(realm_url) + octet_length(canonical_path) > 2000 then null
    when canonical_path <> '' and canonical_path !~ '^/|[?#]|(^|/)\.\.?(/|$)' then canonical_path
  end;
end;

comment on function module_cache._path(text, text) is 'The path, or null if it is no canonical path of the realm.';

/*
 * Applied to its own result it changes nothing more, so that a caller may name a module by path or by key.
 */
create function module_cache._dependency_key(canonical_path text) returns text
  language sql immutable parallel safe
begin atomic
  -- Looking back costs ten times the rest, and most paths have nothing to look back for.
  select case
    when canonical_path ~ '^/|(^|/)\.|\.d\.ts' then regexp_replace(
      canonical_path,
      '((?<=[^/])(?<!\.d)\.ts|(?<=[^/])\.(?:tsx|mts|js|jsx|mjs|gts|gjs)|(?<=.)/index)+$',
      '')
    else regexp_replace(canonical_path, '(?:\.(?:ts|tsx|mts|js|jsx|mjs|gts|gjs)|/index)+$', '')
  end;
end;

comment on function module_cache._dependency_key(text) is
  'A path without its executable extension and without a final /index below the root.';

/*
 * A key that a module declares: a path or key of its own realm, or a URL. What lies in its own realm becomes relative,
 * unless it would be no path or read as a URL then. A final slash names a folder, which is its index. A URL loses a
 * final /index only if what is left then is its own key: nobody can say whether `three.js/index` lies below the root of
 * its realm, and a module called `three` is another one.
 */
create function module_cache._declared_key(realm_url text, key text) returns text
  language plpgsql immutable parallel safe
  set search_path to pg_catalog, module_cache, pg_temp
as $$
declare
  c_url constant text := '^[a-z][a-z0-9+.-]*://';
  v_host text;
  v_path text;
  v_own text;
  v_folder text;
begin
  if key !~* c_url then
    return module_cache._dependency_key(module_cache._path(realm_url, rtrim(key, '/')));
  end if;
  -- With all slashes behind it: a realm may begin with an empty folder, a path may not.
  v_host := module_cache._realm(substring(key from '^[^:]*://[^/]*/+'));
  v_path := module_cache._path(v_host, rtrim(substr(key, length(v_host) + 1), '/'));
  if starts_with(v_host || v_path, realm_url) then
    v_own := substr(v_host || v_path, length(realm_url) + 1);
    if v_own !~* c_url and v_own !~ '^/' then
      return module_cache._dependency_key(nullif(v_own, ''));
    end if;
  end if;
  -- Without a backslash, which standard_conforming_strings = off would read in another way.
  v_path := regexp_replace(v_path, '((?<=[^/])(?<![.]d)[.]ts|(?<=[^/])[.](?:tsx|mts|js|jsx|mjs|gts|gjs))+$', '');
  v_folder := substring(v_path from '^(.+)/index$');
  return v_host || case when module_cache._dependency_key(v_folder) = v_folder then v_folder else v_path end;
end;
$$;

comment on function module_cache._declared_key(text, text) is
  'The normalised form of a declared dependency key; null if it is none.';

/*
 * Coverage is compared by 64-bit hashes. Two keys with one hash share their invalidations: one needless miss, never
 * a stale hit. The seed keeps a module apart from a realm of the same spelling.
 *
 * One realm can lie in the URL of another, and a key does not tell. So the cover key of a module is made from its URL
 * alone, wherever its realm ends: `index.ts` of https://example.com/a/ has that of `a/index.ts` of https://example.com/.
 * All that a key of it could lose at its end is left out, a slash as well: who declared `a/` means what is named `a/`.
 */
create function module_cache._module_hash(realm_url text, canonical_path text) returns bigint
  language sql immutable parallel safe
begin atomic
  select hashtextextended(
    case
      when strpos(realm_url || canonical_path, '.d.ts') > 0 then
        regexp_replace(realm_url || canonical_path, '((?<!\.d)\.ts|\.(?:tsx|mts|js|jsx|mjs|gts|gjs)|/index|/)+$', '')
      else
        regexp_replace(realm_url || canonical_path, '(?:\.(?:ts|tsx|mts|js|jsx|mjs|gts|gjs)|/index|/)+$', '')
    end,
    1);
end;

create function module_cache._realm_hash(realm_url text) returns bigint
  language sql immutable parallel safe
begin atomic
  select hashtextextended(realm_url, 2);
end;

create function module_cache._global_hash() returns bigint
  language sql immutable parallel safe
begin atomic
  select 0::bigint;
end;

comment on function module_cache._module_hash(text, text) is 'Cover key of a module, the same for every realm that its URL could be split at.';
comment on function module_cache._realm_hash(text) is 'Cover key of a realm.';
comment on function module_cache._global_hash() is 'Cover key of everything.';

/*
 * Nobody can say in which realm a key lies: each of its prefixes that ends in a slash could be one. For a key of the own
 * realm these are its folders, for any other URL all from its host on.
 */
create function module_cache._dependency_hashes(realm_url text, dependency_keys text[]) returns bigint[]
  language plpgsql immutable parallel safe
  set search_path to pg_catalog, module_cache, pg_temp
as $$
declare
  v_hashes bigint[] := '{}';
  v_folders text[] := '{}';
  v_key text;
  v_prefix text;
  v_folder text;
  v_slash integer;
begin
  foreach v_key in array dependency_keys loop
    v_prefix := coalesce(substring(v_key from '^[a-z][a-z0-9+.-]*://'), '');
    v_key := substr(v_key, length(v_prefix) + 1);
    v_prefix := coalesce(nullif(v_prefix, ''), realm_url);
    v_hashes := v_hashes || module_cache._module_hash(v_prefix, v_key);
    -- Most keys share their folder with others.
    v_folder := v_prefix || substring(v_key from '^.*/');
    continue when v_folder is null or v_folder = any (v_folders);
    v_folders := v_folders || v_folder;
    loop
      v_slash := strpos(v_key, '/');
      exit when v_slash = 0;
      v_prefix := v_prefix || left(v_key, v_slash);
      v_key := substr(v_key, v_slash + 1);
      v_hashes := v_hashes || module_cache._realm_hash(v_prefix);
    end loop;
  end loop;
  return array(select distinct h from unnest(v_hashes) h);
end;
$$;

comment on function module_cache._dependency_hashes(text, text[]) is
  'Cover keys of declared dependencies, and of the realms that they could lie in.';

/* Misuse raises: these are the guards of get, put and claim. invalidate ignores and counts instead. */
create function module_cache._require_realm(realm_url text) returns text
  language plpgsql immutable parallel safe
  set search_path to pg_catalog, module_cache, pg_temp
as $$
declare
  v_realm constant text := module_cache._realm(realm_url);
begin
  if v_realm is null then
    -- A user part may hold a password, and errors are logged.
    perform module_cache._raise('MC001', 'not a realm URL',
      format('realm_url: %L', regexp_replace(left(realm_url, 200), '//[^/]*@', '//***@')),
      'A realm is a URL such as https://example.com/app/: it has a host part, ends in "/", and has no user, query or fragment.');
  end if;
  return v_realm;
end;
$$;

create function module_cache._require_artifact(realm_url text, canonical_path text, kind text, variant text)
  returns text
  language plpgsql immutable parallel safe
  set search_path to pg_catalog, module_cache, pg_temp
as $$
declare
  v_realm constant text := module_cache._require_realm(realm_url);
begin
  if module_cache._path(v_realm, canonical_path) is null then
    perform module_cache._raise('MC001', 'not a canonical path', format('canonical_path: %L', left(canonical_path, 200)),
      'A canonical path is not empty, has no leading "/", no "?" or "#", no "." or ".." segment, and takes at most 2000 bytes together with its realm.');
  end if;
  if kind is null or octet_length(kind) not between 1 and 64 then
    perform module_cache._raise('MC001', 'not a kind', format('kind: %L', left(kind, 200)),
      'A kind is 1 to 64 bytes, for example transpile.');
  end if;
  if variant is null or octet_length(variant) > 500 then
    perform module_cache._raise('MC001', 'not a variant', format('variant: %L', left(variant, 200)),
      'A variant is at most 500 bytes; pass an empty string for none.');
  end if;
  return v_realm;
end;
$$;

comment on function module_cache._require_realm(text) is 'The normalised realm; raises MC001 if it is none.';
comment on function module_cache._require_artifact(text, text, text, text) is
  'The normalised realm of a well-formed artifact key; raises MC001 for any part that is not.';
