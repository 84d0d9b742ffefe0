/*
 * pg-module-cache: the database side.
 *
 * Read the files of this folder in order: words, epoch, tokens, generations and artifacts come first, then reading,
 * publishing, invalidating, and what keeps the tables small. Names that start with an underscore are private.
 */

create schema module_cache;

comment on schema module_cache is
  'Coherent cache of compiled modules: artifacts are checked against append-only generations whenever they are read.';

create function module_cache.schema_version() returns text
  language sql immutable parallel safe
begin atomic
  select '0.2.0'::text;
end;

comment on function module_cache.schema_version() is
  'Version of this schema. A client states the oldest one that it works with.';

create function module_cache.oldest_client() returns text
  language sql immutable parallel safe
begin atomic
  select '0.1.0'::text;
end;

comment on function module_cache.oldest_client() is
  'The oldest version of the client that works with this schema: in a rolling deploy the schema comes first.';

/*
 * A setting that was set locally in a transaction reads back as an empty string afterwards, not as null; both mean
 * that nobody asked for anything. Text that is no boolean counts as not set: a typing error in a setting must not
 * abort the transaction that invalidates.
 */
create function module_cache._is_off(setting text) returns boolean
  language sql stable parallel safe
begin atomic
  select lower(coalesce(current_setting(setting, true), '')) in ('off', 'false', 'no', '0');
end;

comment on function module_cache._is_off(text) is
  'True if the named setting was switched off for this session or transaction.';

create type module_cache.module as (
  realm_url text,
  canonical_path text
);

comment on type module_cache.module is 'One module: the URL of its realm, and its canonical path in it.';

/*
 * One place that raises, so that all errors have the same shape: a message without values, the values in detail, the
 * next step in hint.
 */
create function module_cache._raise(errcode text, message text, detail text, hint text) returns void
  language plpgsql volatile parallel safe
  set search_path to pg_catalog, module_cache, pg_temp
as $$
begin
  raise exception using
    errcode = _raise.errcode,
    message = _raise.message,
    detail = coalesce(_raise.detail, ''),
    hint = _raise.hint;
end;
$$;

comment on function module_cache._raise(text, text, text, text) is 'Raises an error of the MC class.';
