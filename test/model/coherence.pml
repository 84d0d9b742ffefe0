/*
 * The protocol of DESIGN.md section 3 as a model that spin searches completely: get, produce, put, invalidate, notify,
 * catch-up, crash, collect. `make model` runs it in the configurations and with the mutations listed in run.mjs.
 *
 * What is modelled as it is
 *   Transactions have ids in the order in which they begin, commit in any order or roll back, and lock the source rows
 *   that they change. A snapshot is the set of ids that had ended when it was taken, one bit each: its xmin is the
 *   lowest id missing, its xmax one above the highest in it, its xip what is missing between. So "not in the set" is
 *   `not pg_visible_in_snapshot`, and `xid >= xmax or xid = any (xip)` of changes_since.
 *   put checks in one step and commits in another; garbage collection looks, judges and commits in three. The answer
 *   of a get, a put or a catch-up, and every notification, is on its way until its receiver takes it, in any order.
 *
 * What is left out, and why nothing is lost
 *   One artifact, of module A, which imports B: artifacts share no row, and put inherits nothing from others. Its three
 *   kinds of keys are there: its own, the declared one, the realm's (everything is one more of the realm's kind).
 *   The walk over the importers: it only adds invalidations, and here the declared key alone has to do.
 *   Transactions that invalidate nothing (of put, of others): they only hold xmin back, and with it the floor.
 *   A strong read that asks the database: that is a get, which is judged by its own snapshot.
 *   Claims, deadlines, aborts by signal: here anybody may produce at any time, and give up at any time.
 *   One flight at a time in each peer: flights share nothing but the entry in memory, and each judges its own answer.
 *   Expiry, errors, malformed input, the size of payloads: they only make misses, or the log speak for a notification.
 *   Time: `maxStaleness` passes at any moment, once (STALENESS). Garbage is collected with older_than = 0.
 *   The fill begins with its query and not before: what is applied here between the two, the query has seen.
 *   A peer without memory (MEMORIES=1) is one whose memory nobody reads: no peer's memory reaches another.
 *
 * Bounds: TXS ids in each life, LIVES lives, two invalidations at a time, two peers. Reads, productions, catch-ups,
 * collections and broken connections are not bounded. Two ids are the least that can commit in the other order; each
 * rule compares one of them with one snapshot, so a third adds orders and no new comparison. Not in the model: prepared
 * transactions, a volume set back to an earlier copy, a restart that keeps the tables, isolation above READ COMMITTED.
 */
#ifndef TXS
#define TXS 2            /* transaction ids in each life, at most 3 */
#endif
#ifndef PEERS
#define PEERS 2
#endif
#ifndef KINDS
#define KINDS 7          /* what transactions invalidate: 1 A, 2 B, 4 the realm, or sums */
#endif
#ifndef MEMORIES
#define MEMORIES 2       /* how many of the two peers keep artifacts in memory (L1) */
#endif
#ifndef LIVES
#define LIVES 1          /* 2: the server may crash once */
#endif
#ifndef STRONG
#define STRONG false     /* true: strong reads of memory as well */
#endif
#ifndef MUTATION
#define MUTATION none
#endif
#ifndef REACH
#define REACH 0
#endif
/* Without the guard of this name the model has to fail: run.mjs says in which configuration. */
#define none 0
#define check_at_read 1
#define dependency_key 2
#define realm_key 3
#define epoch_at_put 4
#define null_token 5
#define fill_rule 6
#define log_after_reconnect 7
#define floor_at_read 8
#define floor_of_cursor 9
#define token_first 10
#define own_token 11
#define one_snapshot 12
#define snapshot_not_number 13
#define xip_of_cursor 14
#define drop_all_voids 15
#define newest_row_stays 16
#define judge_before_moving 17
#define life_of_entry 18
#define put_seen_by_strong 19
#define causal_by_snapshot 20
#define causal_of_life 21
#define one_commit 22
#define row_without_epoch 23
#define ids_of_life 24
#define fresh_since_begin 25
#define fresh_at_all 26
#define check_at_put 27  /* the one that has to hold without: it only saves work */
#define late_callers 28
#define without(guard) (MUTATION == guard)
/* Marks what must happen in some run: with REACH=n it counts as a failure, so that spin shows that run. */
#define reached(n) assert(REACH != n)
/* A property; what it says is printed when spin replays the run in which it does not hold. */
#define holds(condition, text) if :: !(condition) -> printf(text); assert(false) :: else fi

#define bit(x) (1 << (x))
#define has(set, x) (((set) >> (x)) & 1)
#define count(set) (((set) & 1) + (((set) >> 1) & 1) + (((set) >> 2) & 1))
#define xmin(set) (!((set) & 1) -> 0 : (!((set) & 2) -> 1 : (!((set) & 4) -> 2 : 3)))
#define highest(set) ((set) & 4 -> 2 : ((set) & 2 -> 1 : 0))
#define up_to_highest(set) ((set) == 0 -> 0 : bit(highest(set) + 1) - 1)

/*
 * The server. A source's version is how many committed transactions have changed it, so that what a snapshot sees of it
 * can be counted. Changes, generations, log rows and notifications of a transaction count from its commit on.
 */
byte life = 1;                  /* epoch and start of the server */
bool has_epoch = true;          /* false from a crash until the next put or changes_since */
byte next_id, ended, committed; /* the two last are sets: `ended` is the snapshot that a statement takes now */
byte by_a, by_b, by_realm;      /* who invalidates A, who B, who the realm (and changes both) */
byte rows;                      /* whose generations and log rows are there to be seen; they are collected together */
byte orphans;                   /* whose rows have no epoch, because there was none */
byte floor;
byte base_a, base_b;            /* versions that earlier lives have left */
byte made_a[3], made_b[3];      /* the versions that a transaction's commit has made */

#define changers_of_a (by_a | by_realm)
#define changers_of_b (by_b | by_realm)
#define version_a(seen) (base_a + count((seen) & committed & changers_of_a))
#define version_b(seen) (base_b + count((seen) & committed & changers_of_b))
#define running(set) ((set) & ~ended)
#define DIRTY 7 /* what a transaction has written and not committed: no version that anybody may see */

/* An artifact and what it was made from, or a cursor and the versions that it has seen. life = 0: there is none. */
typedef Seen { unsigned life : 2; unsigned snapshot : 3; unsigned a : 3; unsigned b : 3 }
#define copy(to, from) to.life = from.life; to.snapshot = from.snapshot; to.a = from.a; to.b = from.b
#define clear(it) it.life = 0; it.snapshot = 0; it.a = 0; it.b = 0

Seen stored;     /* the row in L2 */
byte holder;     /* who has written the row and not committed: a peer + 1, or the collector */
#define COLLECTOR 3

/* The keys that the artifact covers. */
#define covering ((by_a | (without(dependency_key) -> 0 : by_b) | (without(realm_key) -> 0 : by_realm)) & \
  ~(without(row_without_epoch) -> orphans : 0))
#define unseen_by(snapshot) (rows & ~(without(snapshot_not_number) -> up_to_highest(snapshot) : snapshot))
#define below_floor(snapshot) (xmin(snapshot) < floor)
#define is_outdated(snapshot) ((unseen_by(snapshot) & covering) != 0)
/* get takes a shortcut: without a log row from xmin on there is nothing unseen, nor a floor above. */
#define is_quiet(snapshot) ((rows >> xmin(snapshot)) == 0)
#define is_live(it) (it.life == life && has_epoch && (is_quiet(it.snapshot) || without(check_at_read) || \
  (!(below_floor(it.snapshot) && !without(floor_at_read)) && !is_outdated(it.snapshot))))

/* A peer: its memory, its cursor, one flight, one catch-up, what was sent to it. */
mtype = { idle, answered, reads_a, reads_b, ready, writing, put, late, up, dead, down };
typedef Peer {
  mtype flight = idle;   /* answered: a hit is on its way; reads_…: a producer works; put: "stored" is on its way */
  Seen made;             /* with the token of the flight */
  unsigned journal : 3;  /* what was applied here since the flight began */
  bool voided;           /* everything was dropped since then */
  bool same;             /* no put since the flight's token: the row's put_xid is visible in it */
  Seen memory;
  bool memory_same;
  Seen cursor;
  bool asking;           /* a catch-up is on its way, with: */
  bool complete;
  unsigned changes : 3;
  Seen next;
  mtype line = up;       /* dead: the server is gone, what it has sent can still arrive; down: nothing is heard */
  bool reconnected;      /* and no catch-up since */
  unsigned sent : 3;     /* notifications on their way */
#ifdef STALENESS
  bool fresh;            /* the last completed catch-up began after the moment */
  bool asking_fresh;
#endif
}
Peer peers[2];
#define me peers[p]
#ifdef STALENESS
/* maxStaleness: at one moment the clock starts, later it has run out. Memory must then be as new as at that moment. */
bool started, over;
byte moment_a, moment_b;
#define is_fresh (!over || me.fresh || without(fresh_at_all))
#else
#define is_fresh true
#endif

/*
 * An entry is dropped if it has not seen the transaction; no snapshot has seen an id that may be of another life. What
 * does not cover the artifact is never sent here.
 */
inline apply(set, of_this_life) {
  if
  :: of_this_life ->
    if :: me.flight != idle -> me.journal = me.journal | (set) & ~me.made.snapshot :: else fi;
    if :: me.memory.life != 0 && ((set) & ~me.memory.snapshot) != 0 -> drop_memory() :: else fi
  :: else ->
    if :: me.flight != idle -> me.voided = true :: else fi;
    drop_memory()
  fi
}

inline drop_memory() { clear(me.memory); me.memory_same = false }

inline end_flight() {
  me.flight = idle; clear(me.made); me.journal = 0; me.voided = false; me.same = false
}

/* One statement, one snapshot: what it returns is a hit in it, and the token says so. */
inline get() {
  me.made.life = life; me.made.snapshot = ended;
  if
  :: is_live(stored) ->
    holds(stored.a == version_a(ended) && stored.b == version_b(ended),
      "BROKEN: a hit was made from exactly the sources that its snapshot sees\n");
    me.made.a = stored.a; me.made.b = stored.b; me.same = STRONG;
    me.flight = (without(one_snapshot) -> late : answered);
    if :: p >= MEMORIES -> end_flight() :: else fi;
    if :: floor > 0 -> reached(2) :: else fi;
    if :: life == 2 -> reached(4) :: else fi
  :: else ->
    me.flight = reads_a;
    if :: stored.life == life && is_outdated(stored.snapshot) -> reached(10) :: else fi
  fi
}

/* The check of put, and the lock on its row. Losing is a result; nobody waits. */
inline check() {
  if
  :: !has_epoch || (me.made.life != life && !without(epoch_at_put)) ->
    has_epoch = true; reached(11);
    end_flight()
  :: else ->
    if :: without(own_token) -> me.made.snapshot = ended :: else fi;
    if
    :: !without(check_at_put) && (below_floor(me.made.snapshot) || is_outdated(me.made.snapshot)) ->
      reached(3); end_flight()
    :: else ->
      if
      :: is_live(stored) && stored.snapshot != me.made.snapshot &&
         (stored.snapshot | me.made.snapshot) == stored.snapshot -> reached(8); end_flight()
      :: else -> me.made.life = life; holder = p + 1; me.flight = writing
      fi
    fi
  fi
}

inline commit_put() {
  copy(stored, me.made);
  holder = 0;
  /* Its put_xid is in no snapshot yet. */
  peers[0].same = false; peers[1].same = false; peers[0].memory_same = false; peers[1].memory_same = false;
  me.flight = put;
  if :: p >= MEMORIES -> end_flight() :: else fi
}

/* The fill rule, and the life of the cursor. */
inline fill() {
  if
  :: (!me.voided && (me.journal & ~me.made.snapshot) == 0 || without(fill_rule)) &&
     (me.made.life == me.cursor.life || without(life_of_entry)) ->
    copy(me.memory, me.made); me.memory_same = me.same
  :: else -> reached(6)
  fi;
  end_flight()
}

inline ask_log() {
  me.asking = true;
  me.complete = has_epoch && me.cursor.life == life && (!below_floor(me.cursor.snapshot) || without(floor_of_cursor));
  me.changes = (!me.complete -> 0 : rows & covering &
    ~(without(xip_of_cursor) -> up_to_highest(me.cursor.snapshot) : me.cursor.snapshot));
  if :: without(log_after_reconnect) && me.reconnected -> me.changes = 0 :: else fi;
  has_epoch = true;
  me.next.life = life; me.next.snapshot = ended; me.next.a = version_a(ended); me.next.b = version_b(ended);
#ifdef STALENESS
  me.asking_fresh = started;
#endif
}

inline forget_answer() {
  me.asking = false; me.complete = false; me.changes = 0; clear(me.next);
#ifdef STALENESS
  me.asking_fresh = false;
#endif
}

inline take_log() {
  if
  :: me.complete -> apply(me.changes, true)
  :: else ->
    if :: me.cursor.life == me.next.life -> reached(9) :: else fi;
    drop_memory();
    if :: me.flight != idle && !without(drop_all_voids) -> me.voided = true :: else fi
  fi;
  copy(me.cursor, me.next);
  me.reconnected = false;
#ifdef STALENESS
  me.fresh = me.asking_fresh || (started && without(fresh_since_begin));
#endif
  forget_answer()
}

/* Every way to read memory. They change nothing, so they cost no states. */
#define readable (me.memory.life != 0 && (me.memory.life == me.cursor.life || without(life_of_entry)) && is_fresh)

inline read_memory() {
  reached(1);
  holds(me.memory.a >= me.cursor.a && me.memory.b >= me.cursor.b,
    "BROKEN: memory serves nothing older than its cursor\n");
#ifdef STALENESS
  holds(!over || me.memory.a >= moment_a && me.memory.b >= moment_b,
    "BROKEN: memory serves nothing older than maxStaleness\n");
  if :: over -> reached(13) :: else fi;
#endif
  if
  :: me.cursor.life == life && next_id == TXS && me.cursor.snapshot == bit(TXS) - 1 ->
    reached(12);
    holds(me.memory.a == version_a(ended) && me.memory.b == version_b(ended),
      "BROKEN: when all is quiet, memory agrees with the sources after one catch-up\n")
  :: else
  fi
}

inline read_strongly() {
  if
  :: me.memory.life == life && is_live(stored) && (me.memory_same || without(put_seen_by_strong)) ->
    reached(14);
    holds(me.memory.a == version_a(ended) && me.memory.b == version_b(ended), "BROKEN: a strong read is never old\n")
  :: else
  fi
}

/* With `after`, the token of a transaction of this life. */
inline read_after(x) {
  if
  :: has(committed, x) && (me.cursor.life == life || without(causal_of_life)) &&
     has((without(causal_by_snapshot) -> up_to_highest(me.cursor.snapshot) : me.cursor.snapshot), x) ->
    reached(7);
    holds(me.memory.a >= made_a[x] && me.memory.b >= made_b[x], "BROKEN: a causal read sees its invalidation\n")
  :: else
  fi
}

/* A caller shares a flight only as long as nothing was applied here that outdates it; this, too, changes nothing. */
inline join_flight() {
  if
  :: (me.journal == 0 && !me.voided || without(late_callers)) && me.made.life == life && me.cursor.life == life ->
    reached(15);
    holds(version_a(me.made.snapshot) >= me.cursor.a && version_b(me.made.snapshot) >= me.cursor.b,
      "BROKEN: a caller shares no work that began before what this process knows\n")
  :: else
  fi
}

inline take_notification(x) {
  me.sent = me.sent & ~bit(x);
  apply(bit(x), !me.reconnected || without(ids_of_life));
  holds(me.memory.life == 0 || me.line != up || me.memory.a >= made_a[x] && me.memory.b >= made_b[x],
    "BROKEN: a notification drops what it outdates\n")
}

proctype peer(byte p) {
  do
  /* A flight: read, produce (each source in a snapshot of its own, not older than the token), put. */
  :: d_step { me.flight == idle && has_epoch -> get() }
#ifdef WRITER_READS
  /* Inside a transaction that has written: its own changes are seen, and the token is null. */
  :: d_step { me.flight == idle && has_epoch && running(changers_of_a) != 0 ->
      me.flight = ready; me.made.a = DIRTY; me.made.b = DIRTY; me.made.life = (without(null_token) -> life : 0);
      me.made.snapshot = (without(null_token) -> ended : 0) }
#endif
#ifdef OLD_SERVER
  /* A failover: the server of the first life still answers reads, with what was true at its end. */
  :: d_step { p < MEMORIES && me.flight == idle && life > 1 ->
      me.made.life = 1; me.made.snapshot = bit(TXS) - 1; me.made.a = base_a; me.made.b = base_b; me.flight = answered }
#endif
  :: d_step { me.flight == late -> me.made.snapshot = ended; me.flight = answered }
  :: d_step { me.flight == reads_a -> me.made.a = version_a(ended); me.flight = reads_b }
  :: d_step { me.flight == reads_b -> me.made.b = version_b(ended); me.flight = ready;
      if :: without(token_first) -> me.made.life = life; me.made.snapshot = ended :: else fi }
  :: d_step { me.flight == ready && holder == 0 -> check() }
  :: d_step { me.flight == writing -> commit_put() }
  :: d_step { me.flight == writing -> holder = 0; end_flight() }
  :: d_step { me.flight == reads_a || me.flight == reads_b || me.flight == ready -> end_flight() }
  :: d_step { me.flight == answered || me.flight == put -> fill() }

  /* Catch-up, and notifications in any order. */
  :: d_step { p < MEMORIES && me.line == up && !me.asking -> ask_log() }
  :: d_step { me.asking && me.line != down -> take_log() }
  :: d_step { has(me.sent, 0) -> take_notification(0) }
  :: d_step { has(me.sent, 1) -> take_notification(1) }
  :: d_step { has(me.sent, 2) -> take_notification(2) }
#ifdef LOSS
  :: d_step { p < MEMORIES && me.line == up -> me.line = down; me.sent = 0; me.reconnected = false; forget_answer() }
#endif
  :: d_step { me.line == dead -> me.line = down; me.sent = 0; me.reconnected = false; forget_answer() }
  :: d_step { p < MEMORIES && me.line == down -> me.line = up; me.reconnected = true }

  /* Callers. */
#ifdef SHARED
  :: d_step { p < MEMORIES && me.flight != idle -> join_flight() }
#endif
  :: d_step { readable -> read_memory() }
  :: d_step { readable && STRONG -> read_strongly() }
  :: d_step { readable -> read_after(0) }
  :: d_step { readable -> read_after(1) }
  :: d_step { readable && TXS == 3 -> read_after(2) }

  /* A process that ends, so that whoever waits for it in vain is a deadlock. */
  :: d_step { me.flight == idle && !me.asking && me.line != dead ->
      drop_memory(); clear(me.cursor); me.sent = 0; me.line = down; me.reconnected = false } -> break
  od
}

inline note_epoch() {
  if :: without(row_without_epoch) && !has_epoch -> orphans = orphans | bit(x) :: else fi
}

inline commit() {
  if :: (ended >> x) != 0 -> reached(5) :: else fi;
  ended = ended | bit(x); committed = committed | bit(x);
  made_a[x] = (has(changers_of_a, x) -> version_a(ended) : 0);
  made_b[x] = (has(changers_of_b, x) -> version_b(ended) : 0)
}

inline announce() {
  rows = rows | bit(x);
  if :: has(covering, x) && peers[0].line == up && MEMORIES > 0 -> peers[0].sent = peers[0].sent | bit(x) :: else fi;
  if :: has(covering, x) && peers[1].line == up && MEMORIES > 1 -> peers[1].sent = peers[1].sent | bit(x) :: else fi
}

/* A transaction that changes sources: the id first, then the lock on what it changes, then its end. */
proctype invalidator() {
  byte x, mine;
end:
  do
  :: d_step { next_id < TXS -> x = next_id; next_id++; mine = life };
    if
    :: d_step { (KINDS & 1) && life == mine && running(changers_of_a) == 0 -> by_a = by_a | bit(x); note_epoch() }
    :: d_step { (KINDS & 2) && life == mine && running(changers_of_b) == 0 -> by_b = by_b | bit(x); note_epoch() }
    :: d_step { (KINDS & 4) && life == mine && running(changers_of_a | changers_of_b) == 0 ->
        by_realm = by_realm | bit(x); note_epoch() }
    :: life != mine
    fi;
    if
    :: d_step { life == mine -> commit(); if :: !without(one_commit) -> announce() :: else fi };
      if
      :: d_step { without(one_commit) && life == mine -> announce() }
      :: !without(one_commit) || life != mine
      fi
    :: d_step { life == mine -> ended = ended | bit(x);
        by_a = by_a & ~bit(x); by_b = by_b & ~bit(x); by_realm = by_realm & ~bit(x) }
    :: life != mine
    fi;
    d_step { x = 0; mine = 0 }
  od
}

#ifdef GARBAGE
/*
 * Takes a snapshot, judges in a later one what falls below the next floor, and commits: live rows move to the first
 * snapshot. What somebody else holds is skipped, and falls below the floor.
 */
#define collectable (rows & (bit(xmin(ended)) - 1))
#define next_floor_now (without(newest_row_stays) -> xmin(ended) : highest(collectable))

proctype collector() {
  byte view, next_floor, mine;
  bool moves;
end:
  do
  :: d_step { has_epoch && next_floor_now > floor && collectable != 0 ->
      mine = life; view = ended; next_floor = next_floor_now };
    if
    :: d_step { life == mine ->
        if
        :: stored.life != 0 && xmin(stored.snapshot) < next_floor && holder == 0 ->
          holder = COLLECTOR; moves = is_live(stored) || without(judge_before_moving)
        :: else
        fi }
    :: life != mine
    fi;
    if
    :: d_step { life == mine ->
        if
        :: holder == COLLECTOR && moves -> stored.snapshot = view; holder = 0
        :: holder == COLLECTOR && !moves -> clear(stored); holder = 0
        :: else
        fi;
        floor = next_floor;
        rows = rows & ~(bit(floor) - 1) }
    :: d_step { life == mine -> if :: holder == COLLECTOR -> holder = 0 :: else fi }
    :: life != mine
    fi;
    d_step { view = 0; next_floor = 0; mine = 0; moves = false }
  od
}
#endif

#if LIVES > 1
inline lose_server() {
  if :: me.flight == writing -> end_flight() :: else fi;
  if :: me.line == up -> me.line = dead :: else fi
}

/* Unlogged tables come back empty, committed sources stay, ids are given out anew, what was not committed is gone. */
proctype crash() {
  byte p;
end:
  d_step {
    life < LIVES ->
    base_a = version_a(ended); base_b = version_b(ended);
    life++; has_epoch = false;
    next_id = 0; ended = 0; committed = 0; by_a = 0; by_b = 0; by_realm = 0; rows = 0; orphans = 0; floor = 0;
    made_a[0] = 0; made_a[1] = 0; made_a[2] = 0; made_b[0] = 0; made_b[1] = 0; made_b[2] = 0;
    clear(stored); holder = 0;
    p = 0; lose_server(); p = 1; lose_server(); p = 0
  }
}

#endif

#ifdef STALENESS
proctype clock() {
end:
  d_step { !started -> started = true; moment_a = version_a(ended); moment_b = version_b(ended) };
  d_step { over = true }
}
#endif

init {
  atomic {
    peers[0].cursor.life = 1; peers[1].cursor.life = (MEMORIES > 1 -> 1 : 0);
    if :: MEMORIES < 2 -> peers[1].line = down :: else fi;
    run peer(0); if :: PEERS > 1 -> run peer(1) :: else fi; run invalidator(); run invalidator();
#ifdef GARBAGE
    run collector();
#endif
#if LIVES > 1
    run crash();
#endif
#ifdef STALENESS
    run clock();
#endif
  }
}
