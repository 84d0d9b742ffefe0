/*
 * The shared cache (L2). A row holds the newest product of one kind and variant, what it covers, and the snapshot
 * that it was made in. Whether it is live is never written down: it is decided against the generations at each read.
 */

create unlogged table module_cache._artifacts (
  realm_url text collate "C" not null,
  canonical_path text collate "C" not null,
  kind text collate "C" not null,
  variant text collate "C" not null,
  body text not null,
  headers jsonb not null,
  dependency_keys text[] not null,
  is_error boolean not null,
  generation xid8,
  epoch uuid not null,
  snapshot pg_snapshot not null,
  put_xid xid8 not null,
  module_hash bigint not null,
  realm_hash bigint not null,
  depends_on bigint[] not null,
  created_at timestamptz not null,
  expires_at timestamptz,
  primary key (realm_url, canonical_path, kind, variant)
);

create index _artifacts_module_hash on module_cache._artifacts (module_hash);
create index _artifacts_depends_on on module_cache._artifacts using gin (depends_on) with (fastupdate = off);
create index _artifacts_epoch_xmin on module_cache._artifacts (epoch, pg_snapshot_xmin(snapshot));
create index _artifacts_expires_at on module_cache._artifacts (expires_at) where expires_at is not null;

comment on table module_cache._artifacts is 'L2: one row for each artifact, live or dead.';
comment on column module_cache._artifacts.generation is
  'The newest generation of its module that its token had seen; it cannot change while the artifact is live.';
comment on column module_cache._artifacts.snapshot is
  'Taken before its sources were read. Garbage collection moves it forward while the artifact is live.';
comment on column module_cache._artifacts.put_xid is
  'The transaction that stored this body. Garbage collection leaves it alone.';
comment on column module_cache._artifacts.depends_on is
  'Cover keys of what its producer declared; with module, realm and everything they are what it covers.';

create function module_cache._is_live(artifact module_cache._artifacts) returns boolean
  language plpgsql stable parallel safe security definer
  set search_path to pg_catalog, module_cache, pg_temp
  set plan_cache_mode to force_generic_plan
as $$
declare
  v_epoch constant uuid := (select e.epoch from module_cache._epoch() e);
begin
  return artifact.epoch is not distinct from v_epoch
    -- One of the future was stored before the server's clock was set back: what is left of its life cannot be told.
    and (artifact.expires_at is null
      or artifact.created_at <= clock_timestamp() and artifact.expires_at > clock_timestamp())
    and pg_snapshot_xmin(artifact.snapshot) >= module_cache._floor(v_epoch)
    and not module_cache._is_outdated(
      v_epoch, artifact.snapshot, artifact.module_hash, artifact.realm_hash, artifact.depends_on);
end;
$$;

comment on function module_cache._is_live(module_cache._artifacts) is
  'True if get would return this artifact: same epoch, not expired, nothing that it covers invalidated since.';
