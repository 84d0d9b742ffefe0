import type { Guard } from '../../support/install-script.js';

/**
 * The rules of sql/ that the tests of this folder take out, each spelled as it stands there. Whoever changes one of
 * these lines changes it here as well: a guard that is not found fails its test.
 */

/** `get` and `_is_outdated` (put, garbage collection, views) hold the check twice, because get may not call. */
const COVERED_AT_READ = 'where g.key = any (array[v_module_hash, v_realm_hash, 0] || v_depends_on)';
const COVERED_ELSEWHERE = 'where g.key = any (array[module_hash, realm_hash, 0] || depends_on)';
const covered = (from: string | RegExp, to: string): Guard[] => [
  { file: '080', text: COVERED_AT_READ, without: COVERED_AT_READ.replace(from, to) },
  { file: '050', text: COVERED_ELSEWHERE, without: COVERED_ELSEWHERE.replace(from, to) },
];

export const CHECK_AT_READ: Guard = {
  file: '080',
  text: COVERED_AT_READ,
  without: `${COVERED_AT_READ} and false`,
};

export const CHECK_AT_PUT: Guard = {
  file: '090',
  text: 'or module_cache._is_outdated(v_epoch, v_new.snapshot, v_new.module_hash, v_new.realm_hash, v_new.depends_on)',
  without: '',
};

export const DEPENDENCIES: Guard[] = covered(/ \|\| (v_)?depends_on/, '');
export const REALM_KEY: Guard[] = covered(/ (v_)?realm_hash,/, '');
export const GLOBAL_KEY: Guard[] = covered(', 0]', ']');

export const FLOOR_AT_READ: Guard = {
  file: '080',
  text: "pg_snapshot_xmin(v_snapshot) >= coalesce(max(f.floor), '0')",
  without: 'max(f.floor) is not distinct from max(f.floor)',
};
export const FLOOR: Guard[] = [
  FLOOR_AT_READ,
  {
    file: '050',
    text: "return coalesce((select max(f.floor) from module_cache._floors f where f.epoch = _floor.epoch), '0');",
    without: "return '0';",
  },
];

/** Garbage collection keeps the newest row that it could collect, because get only asks for the floor beside one. */
export const NEWEST_LOG_ROW: Guard = {
  file: '140',
  text: 'select greatest(v_floor, max(i.xid)) into v_next_floor',
  without: 'select greatest(v_floor, (max(i.xid)::text::numeric + 1)::text::xid8) into v_next_floor',
};

/** The generation of a transaction that saw no epoch counts in any. */
export const NULL_EPOCH: Guard[] = [
  { file: '080', text: ' and (g.epoch = v_epoch or g.epoch is null))', without: ' and g.epoch = v_epoch)' },
  {
    file: '050',
    text: ' and (g.epoch = _is_outdated.epoch or g.epoch is null));',
    without: ' and g.epoch = _is_outdated.epoch);',
  },
];

export const NO_TOKEN_IN_A_WRITER: Guard = {
  file: '080',
  text: 'case when pg_current_xact_id_if_assigned() is null then',
  without: 'case when true then',
};

/** The own transaction counts as in progress in every snapshot that is kept. */
export const OWN_TRANSACTION: Guard = {
  file: '040',
  text: 'if v_own is null or v_own >= pg_snapshot_xmax(v_snapshot) then',
  without: 'if true then',
};

export const NOT_FROM_THE_FUTURE: Guard = {
  file: '090',
  text: '  perform module_cache._require_past(v_new.snapshot);\n',
  without: '',
};

export const NEWER_STAYS: Guard = {
  file: '090',
  text: 'if module_cache._is_newer(v_old.snapshot, artifact.snapshot) and module_cache._is_live(v_old) then',
  without: 'if false then',
};

export const PUT_XID: Guard = {
  file: '080',
  text: ' and pg_visible_in_snapshot(a.put_xid, v_snapshot)',
  without: '',
};

export const VARIANT_AT_READ: Guard = {
  file: '080',
  text: '\n      and a.variant = get.variant collate "C";',
  without: ';',
};
export const KIND_AT_READ: Guard = {
  file: '080',
  text: '\n      and a.kind = get.kind collate "C"',
  without: '',
};

export const REALMS_OF_A_KEY: Guard = {
  file: '020',
  text: '      v_hashes := v_hashes || module_cache._realm_hash(v_prefix);\n',
  without: '',
};
export const REALMS_INSIDE_THE_OWN: Guard = {
  file: '020',
  text: '      exit when v_slash = 0;\n',
  without: '      exit when v_slash = 0 or starts_with(v_prefix, realm_url);\n',
};
/** The module of a URL is the same for every realm that the URL could be split at. */
export const MODULE_OF_A_URL: Guard = {
  file: '020',
  text: "else\n        regexp_replace(realm_url || canonical_path, '",
  without: "else\n        realm_url || regexp_replace(canonical_path, '",
};
export const INDEX_OF_A_CLEARED_REALM: Guard = {
  file: '120',
  text: '  where realm_url collate "C" ~ \'^[^:]*://[^/]*/.\';\n',
  without: '  where false;\n',
};

export const TRANSITIVE_WALK: Guard = {
  file: '100',
  text: `    union
    select a.module_hash
    from reached r
    join module_cache._artifacts a on a.depends_on @> array[r.module_hash]
`,
  without: `    union
    select a.module_hash
    from unnest(module_hashes) r (module_hash)
    join module_cache._artifacts a on a.depends_on @> array[r.module_hash]
`,
};

/** Two guards that are not there: what makes two invalidations of one module meet. */
export const NO_LOCK_FOR_EACH_MODULE: Guard = {
  file: '120',
  text: '  if v_hashes is null then\n    realm_urls :=',
  without: `  perform pg_advisory_xact_lock(h) from unnest(v_named || v_hashes) h;
  if v_hashes is null then
    realm_urls :=`,
};
export const NO_READ_OF_GENERATIONS: Guard = {
  file: '120',
  text: '  if v_hashes is null then\n    realm_urls :=',
  without: `  perform count(*) from module_cache._generations;
  if v_hashes is null then
    realm_urls :=`,
};

export const SKIP_LOCKED: Guard = { file: '090', text: 'for update skip locked;', without: 'for update;' };
export const INSERT_TIMEOUT: Guard = { file: '090', text: "  set lock_timeout to '1ms'\n", without: '' };
export const CONTENDED_IN_OLD_SNAPSHOTS: Guard = {
  file: '090',
  text: '    exception when serialization_failure or unique_violation then\n',
  without: '    exception when division_by_zero then\n',
};
export const GARBAGE_IN_OLD_SNAPSHOTS: Guard = {
  file: '140',
  text: '  exception when serialization_failure then\n',
  without: '  exception when division_by_zero then\n',
};

export const PAYLOAD_LIMIT: Guard[] = [
  {
    file: '110',
    text: 'c_limit constant integer := 7000;',
    without: 'c_limit constant integer := 70000;',
  },
  {
    file: '110',
    text: 'if octet_length(v_payload) <= 7000 then',
    without: 'if octet_length(v_payload) <= 70000 then',
  },
];
export const BYTES_AS_ESCAPED: Guard[] = [
  {
    file: '110',
    text: 'v_bytes := octet_length(to_json(v_path)::text) + 1;',
    without: 'v_bytes := octet_length(v_path) + 3;',
  },
  { file: '110', text: '    if octet_length(v_payload) <= 7000 then\n', without: '    if false then\n' },
];
export const QUEUE_USAGE: Guard = {
  file: '110',
  text: '    and pg_notification_queue_usage() < 0.5\n',
  without: '',
};
export const NOT_NOTIFIED_IN_A_HURRY: Guard = {
  file: '110',
  text: '    and not module_cache._has_short_lock_timeout();',
  without: '    and true;',
};
export const PATIENT_INSERTS: Guard = {
  file: '120',
  text: "  if v_is_hurried then\n    perform set_config('lock_timeout', '1s', true);",
  without: "  if false then\n    perform set_config('lock_timeout', '1s', true);",
  count: 2,
};
export const NO_WAIT_FOR_A_HELD_ROW: Guard = {
  file: '090',
  text: `    then
      return 'contended';
    end if;
    v_inserted`,
  without: `    then
      null;
    end if;
    v_inserted`,
};
export const CONFIRMED_CONTENTION: Guard = {
  file: '090',
  text: "array['10ms', '100ms', null]",
  without: 'array[null]::text[]',
};
export const GIN_LIMIT: Guard[] = ['100', '120'].map((file) => ({
  file,
  text: '  set gin_fuzzy_search_limit to 0\n',
  without: '',
}));
export const NOTIFY_OFF: Guard = {
  file: '110',
  text: "select not module_cache._is_off('module_cache.notify')\n",
  without: 'select true\n',
};
export const EMPTY_SETTING: Guard = {
  file: '010',
  text: "select lower(coalesce(current_setting(setting, true), '')) in ('off', 'false', 'no', '0');",
  without: 'select not coalesce(current_setting(setting, true)::boolean, true);',
};

export const DELETE_TRIGGER: Guard = {
  file: '120',
  text: `create trigger _deleted_artifacts
  after delete on module_cache._artifacts
  referencing old table as deleted
  for each statement execute function module_cache._deleted_artifacts();`,
  without: '',
};
export const COLLECTING: Guard = {
  file: '120',
  text: "if current_setting('module_cache.collecting', true) = 'on' then",
  without: 'if false then',
};

export const SERVER_START: Guard = {
  file: '030',
  text: 'where e.xmin = e.written_by and e.server_started_at = pg_postmaster_start_time()',
  without: 'where e.xmin = e.written_by',
};
export const PREPARED_TRANSACTIONS: Guard = {
  file: '030',
  text: 'if exists (select from pg_prepared_xacts p where p.database = current_database()) then',
  without: 'if false then',
};

/** A restored row was written by another transaction than it says. */
export const WRITTEN_BY: Guard = {
  file: '030',
  text: 'where e.xmin = e.written_by and e.server_started_at = pg_postmaster_start_time()',
  without: 'where e.server_started_at = pg_postmaster_start_time()',
};
export const SYSTEM_IDENTIFIER: Guard = {
  file: '030',
  text: '  where e.xmin = e.written_by and e.system_identifier = v_system_identifier;',
  without: '  where e.xmin = e.written_by;',
};
export const OWN_XMIN: Guard = {
  file: '030',
  text: 'update module_cache._epochs e set written_by = e.xmin where e.epoch = v_epoch;',
  without:
    'update module_cache._epochs e set written_by = pg_current_xact_id()::xid where e.epoch = v_epoch;',
};
export const EPOCH_TRY_LOCK: Guard = {
  file: '030',
  text: "or not pg_try_advisory_xact_lock(hashtextextended('module_cache.epoch', 0))",
  without: "or pg_advisory_xact_lock(hashtextextended('module_cache.epoch', 0))::text is null",
};
export const EPOCH_OF_AN_ARTIFACT: Guard = {
  file: '080',
  text: 'a.epoch = e.epoch\n        and (a.expires_at',
  without: 'a.epoch is not null\n        and (a.expires_at',
};
export const SWEEP_ONLY_WHILE_CURRENT: Guard = {
  file: '140',
  text: 'where d.epoch <> _collect.epoch and _collect.epoch = (select e.epoch from module_cache._epoch() e)',
  without: 'where d.epoch <> _collect.epoch',
  count: 2,
};
export const SWEEP_FROM_THE_FUTURE: Guard = {
  file: '140',
  text: `
        or d.xid >= pg_snapshot_xmax(pg_current_snapshot()) and d.xid is distinct from pg_current_xact_id_if_assigned()`,
  without: '',
  count: 2,
};

/** Live artifacts move to a newer snapshot before the floor passes them. */
export const RENEWAL: Guard = {
  file: '140',
  text: 'update module_cache._artifacts a set snapshot = v_snapshot from candidates c where a.ctid = c.ctid and c.live',
  without:
    'update module_cache._artifacts a set snapshot = a.snapshot from candidates c where a.ctid = c.ctid and c.live',
};
export const OLDER_THAN: Guard = {
  file: '140',
  text: ' and s.taken_at <= clock_timestamp() - keep;',
  without: ';',
};
export const NEEDS_OF_PEERS: Guard = {
  file: '140',
  text: 'select min(p.needs)\n',
  without: 'select null::xid8\n',
};
export const PEERS_THAT_ARE_THERE: Guard = {
  file: '140',
  text: ' and p.backend_pid in (select module_cache._peer_sessions())',
  without: '',
};
export const NEEDS_OF_THIS_EPOCH: Guard = {
  file: '140',
  text: 'where p.epoch = _collect.epoch and p.backend_pid',
  without: 'where p.backend_pid',
};
export const KEPT_AT_MOST: Guard = {
  file: '140',
  text: '        max(s.oldest_running))\n    into v_limit',
  without: '        null::xid8)\n    into v_limit',
};
export const SWEPT_PEERS: Guard = {
  file: '140',
  text: '(d.epoch <> _collect.epoch or d.backend_pid not in (select module_cache._peer_sessions()))',
  without: 'false',
};
export const SWEPT_ONLY_IF_GONE: Guard = {
  file: '140',
  text: '(d.epoch <> _collect.epoch or d.backend_pid not in (select module_cache._peer_sessions()))',
  without: 'true',
};
export const NOT_SWEPT_AT_ONCE: Guard = {
  file: '140',
  text: "\n      and d.reported_at < clock_timestamp() - interval '1 minute'",
  without: '',
};
export const THINNED_OUT: Guard = {
  file: '140',
  text: 'where t.is_even and t.gap * 16 < t.age));',
  without: 'where false));',
};
export const NOT_THINNED_TOO_MUCH: Guard = {
  file: '140',
  text: 't.gap * 16 < t.age',
  without: 'true',
};
export const WORTH_IT: Guard = {
  file: '140',
  text: 'if is_lazy and v_next_floor',
  without: 'if false and v_next_floor',
};
export const WORTH_IT_AFTER_AN_HOUR: Guard = {
  file: '140',
  text: " or i.invalidated_at < clock_timestamp() - keep - interval '1 hour'",
  without: '',
};
export const WORTH_IT_AFTER_A_CLEAR: Guard = {
  file: '140',
  text: "(i.scope <> 'module' or",
  without: '(false or',
};
export const WORTH_IT_WITH_MUCH: Guard = {
  file: '140',
  text: 'return v_garbage >= c_much\n    or v_artifacts <= 10 * v_garbage\n    or exists',
  without: 'return exists',
};
export const LEAST_RETENTION: Guard = {
  file: '140',
  text: "keep between interval '1 minute' and keep_at_most",
  without: "keep between interval '0' and keep_at_most",
};
export const LEAST_LIMIT: Guard = {
  file: '140',
  text: "keep_at_most between interval '1 hour'",
  without: "keep_at_most between interval '0'",
};
export const NEEDS_OF_THIS_LIFE: Guard = {
  file: '135',
  text: " where e.life = split_part(needs, '@', 1);",
  without: ';',
};
export const STAND_IN: Guard = {
  file: '135',
  text: 'where s.taken_at > clock_timestamp() - patience);',
  without: ');',
};
export const REPORT_SKIPS_LOCKED: Guard = {
  file: '135',
  text: 'where o.backend_pid = pg_backend_pid() for update skip locked',
  without: 'where o.backend_pid = pg_backend_pid() for update',
};
export const REPORT_TIMEOUT: Guard = {
  file: '135',
  text: "  set lock_timeout to '100ms'\nas $$\ndeclare",
  without: 'as $$\ndeclare',
};
export const LOCK_OF_A_PEER: Guard = {
  file: '135',
  text: 'not (module_cache._holds_claim(v_key) or pg_try_advisory_lock(v_key))',
  without: 'not (true or pg_try_advisory_lock(v_key))',
};

export const ONLY_WITH_GARBAGE: Guard = {
  file: '140',
  text: 'select greatest(v_floor, max(i.xid)) into v_next_floor',
  without: 'select greatest(v_floor, v_limit, max(i.xid)) into v_next_floor',
};
/** The renewed snapshot has to count the collector's own transaction as in progress. */
export const OWN_TRANSACTION_IN_GARBAGE: Guard = {
  file: '140',
  text: 'v_snapshot constant pg_snapshot := module_cache._snapshot();',
  without: 'v_snapshot constant pg_snapshot := pg_current_snapshot();',
};
/** A clock that was set back does not lengthen a life. */
export const LIFE_FROM_THE_FUTURE: Guard = {
  file: '080',
  text: 'a.created_at <= clock_timestamp() and a.expires_at > clock_timestamp()',
  without: 'a.expires_at > clock_timestamp()',
};
export const CURSOR_IN_PROGRESS: Guard = {
  file: '060',
  text: 'where i.xid = any (array(select pg_snapshot_xip(v_snapshot)))',
  without: 'where false',
};
export const CURSOR_BELOW_THE_FLOOR: Guard = {
  file: '060',
  text: 'pg_snapshot_xmin(v_snapshot) >= module_cache._floor(v_epoch)\n        and ',
  without: '',
};
export const CURSOR_OF_ANOTHER_LIFE: Guard = {
  file: '060',
  text: 'if v_epoch is null or v_life is distinct from v_current_life then',
  without: 'if v_epoch is null then',
};
export const CLAIM_ONCE: Guard = {
  file: '130',
  text: 'if module_cache._holds_claim(v_key) or not pg_try_advisory_lock(v_key) then',
  without: 'if not pg_try_advisory_lock(v_key) then',
};
