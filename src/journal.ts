import { isVisible, type Snapshot } from './snapshot.js';

/**
 * The memory behind the fill rule (DESIGN.md section 3): what was invalidated here while an answer was on its way, so
 * that an answer which left the server before the invalidation is not inserted after it.
 */
export interface Journal {
  /** Position of the newest invalidation applied here; a caller notes it when it arrives. */
  position(): number;
  /** To be called before the query that hands out the token; remembers from here until `end`. */
  begin(): Fill;
  /** One invalidation was applied. Without `xid` (sent by hand) no snapshot has seen it. */
  record(covers: readonly string[], xid: bigint | undefined): void;
  /** Everything was dropped; every fill in flight is void. */
  recordDropAll(): void;
}

export interface Fill {
  /**
   * The position of the first invalidation since `begin` that outdates an artifact with these covers made in this
   * snapshot; undefined if it may be inserted.
   */
  outdatedAt(covers: readonly string[], snapshot: Snapshot): number | undefined;
  end(): void;
}

interface Entry {
  readonly position: number;
  readonly covers: readonly string[];
  readonly xid: bigint | undefined;
}

/** @param limit how many keys are remembered before the fills in flight are void instead */
export function createJournal(limit = 10_000): Journal {
  let position = 0;
  let remembered = 0;
  let entries: Entry[] = [];
  const open = new Set<{ from: number; voidAt: number | undefined }>();

  function voidAll(): void {
    // What is forgotten may have come right after the fill began.
    for (const fill of open) fill.voidAt ??= fill.from + 1;
    entries = [];
    remembered = 0;
  }

  return {
    position: () => position,
    begin() {
      const fill = { from: position, voidAt: undefined as number | undefined };
      open.add(fill);
      return {
        outdatedAt(covers, snapshot) {
          if (fill.voidAt !== undefined) return fill.voidAt;
          const own = new Set(covers);
          for (const entry of entries) {
            if (entry.position <= fill.from) continue;
            if (entry.xid !== undefined && isVisible(entry.xid, snapshot)) continue;
            if (entry.covers.some((cover) => own.has(cover))) return entry.position;
          }
          return undefined;
        },
        end() {
          open.delete(fill);
          if (open.size === 0) {
            entries = [];
            remembered = 0;
          }
        },
      };
    },
    record(covers, xid) {
      position += 1;
      if (open.size === 0) return;
      if (remembered + covers.length > limit) {
        voidAll();
        return;
      }
      entries.push({ position, covers, xid });
      remembered += covers.length;
    },
    recordDropAll() {
      position += 1;
      voidAll();
    },
  };
}
