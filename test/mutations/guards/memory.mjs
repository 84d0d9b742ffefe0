// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the texts are code

const ANSWER_TOKEN = 'test/client/answer-token.test.ts';
const FILL_RULE = 'test/client/fill-rule.test.ts';
const JOURNAL = 'test/client/journal.test.ts';
const KEYS = 'test/sql/keys.test.ts';
const L1 = 'test/client/l1.test.ts';
const NOTIFICATIONS = 'test/client/notifications.test.ts';
const SNAPSHOT = 'test/client/snapshot.test.ts';

export const journal = {
  file: 'src/journal.ts',
  guards: [
    {
      name: 'too much to remember voids the fills in flight',
      text: '    if (remembered + covers.length > limit) {\n        voidAll();\n        return;',
      without: '    if (remembered + covers.length > limit) {\n        return;',
      test: [JOURNAL, 'trap: what had to be forgotten counts as having outdated every answer on its way'],
    },
    {
      name: 'what is forgotten voids the fills in flight',
      text: '    for (const fill of open) fill.voidAt ??= fill.from + 1;\n',
      without: '',
      test: [FILL_RULE, 'trap: too much would have to be remembered while an answer is on its way'],
    },
    {
      name: 'what was forgotten may be the first after the fill began',
      text: 'fill.voidAt ??= fill.from + 1;',
      without: 'fill.voidAt ??= position;',
      test: [JOURNAL, 'trap: what had to be forgotten counts as having outdated every answer on its way'],
    },
    {
      name: 'a drop-all voids every fill',
      text: '    recordDropAll() {\n      position += 1;\n      voidAll();',
      without: '    recordDropAll() {\n      position += 1;',
      test: [JOURNAL, 'everything being dropped, whatever it covers'],
    },
    {
      name: 'no snapshot has seen what was sent by hand',
      text: 'if (entry.xid !== undefined && isVisible(entry.xid, snapshot)) continue;',
      without: 'if (entry.xid === undefined || isVisible(entry.xid, snapshot)) continue;',
      test: [FILL_RULE, 'reaches the process after the notification that outdates it (its module, by hand)'],
    },
    {
      name: 'what the answer has seen does not outdate it',
      text: '            if (entry.xid !== undefined && isVisible(entry.xid, snapshot)) continue;\n',
      without: '',
      test: [FILL_RULE, 'an invalidation that the answer has seen does not keep it out of memory'],
    },
    {
      name: 'what came before the fill does not outdate it',
      text: '            if (entry.position <= fill.from) continue;\n',
      without: '',
      test: [JOURNAL, 'no invalidation that was applied before it set out'],
    },
    {
      name: 'what is remembered lives as long as the longest fill',
      text: 'if (open.size === 0) {\n            entries = [];',
      without: 'if (open.size >= 0) {\n            entries = [];',
      test: [JOURNAL, 'an answer that is long on its way does not lose what it has to know'],
    },
  ],
};

export const l1 = {
  file: 'src/l1.ts',
  guards: [
    {
      name: 'an entry is found by every key that it covers',
      text: '      for (const cover of entry.covers) {\n        const covered = index.get(cover);\n        if',
      without:
        '      for (const cover of entry.covers.slice(0, 1)) {\n        const covered = index.get(cover);\n        if',
      test: [L1, 'drops every entry that covers one of its keys, and no other'],
    },
    {
      name: 'an entry that has seen the invalidation stays (its own echo)',
      text: '          if (xid !== undefined && isVisible(xid, entry.seen.snapshot)) continue;\n',
      without: '',
      test: [NOTIFICATIONS, 'its own echo does not drop what a process has got since'],
    },
    {
      name: 'no entry has seen what was sent by hand',
      text: 'if (xid !== undefined && isVisible(xid, entry.seen.snapshot)) continue;',
      without: 'if (xid === undefined || isVisible(xid, entry.seen.snapshot)) continue;',
      test: [NOTIFICATIONS, 'of a module drops from memory what it names'],
    },
    {
      name: 'an entry that is replaced is gone',
      text: '      if (previous !== undefined) entries.delete(previous);\n',
      without: '',
      test: [L1, 'drops an entry that replaced another one with other dependencies'],
    },
    {
      name: 'an entry that is too large leaves no trace',
      text: '      if (entries.peek(entry) === undefined) return;\n',
      without: '',
      test: [L1, 'an entry larger than the whole memory is not kept'],
    },
  ],
};

export const snapshot = {
  file: 'src/snapshot.ts',
  guards: [
    {
      name: 'the token of an answer names a transaction that it knows nothing of',
      text: 'token: `${parts[1]}@${parts[3]}`,',
      without: 'token: `${parts[1]}@${BigInt(parts[3] as string) - 1n}`,',
      test: [
        ANSWER_TOKEN,
        'trap: the invalidation that an answer has seen began before the last transaction, and committed after it',
      ],
    },
    {
      name: 'a snapshot has not seen what was in progress',
      text: ' && !snapshot.xip.has(xid)',
      without: '',
      test: [SNAPSHOT, 'this process judges as Postgres does'],
    },
    {
      name: 'a snapshot has not seen what came later',
      text: 'return xid < snapshot.xmax && ',
      without: 'return ',
      test: [SNAPSHOT, 'this process judges as Postgres does'],
    },
  ],
};

export const keys = {
  file: 'src/keys.ts',
  guards: [
    {
      name: 'a key covers every realm that it could lie in',
      text: '      covers.add(realmCover(url.slice(0, end + 1)));\n',
      without: '',
      test: [KEYS, 'an artifact covers in a process what it covers in the database'],
    },
    {
      name: 'a foreign key covers the realms that lie around it',
      text: "const start = isUrl ? key.indexOf('://') + 3 : realm.length;",
      without: 'const start = isUrl ? key.length : realm.length;',
      test: [KEYS, 'an artifact covers in a process what it covers in the database'],
    },
    {
      name: 'a key of the own realm covers the realms inside it',
      text: "const start = isUrl ? key.indexOf('://') + 3 : realm.length;",
      without: "const start = isUrl ? key.indexOf('://') + 3 : url.length;",
      test: [NOTIFICATIONS, 'of a realm inside it drops from memory what it names'],
    },
    {
      name: 'the module of a URL is the same for every realm',
      text: "`m${(realm + path).replace(coverEnd, '')}`;",
      without: '`m${realm}${dependencyKeyOf(path)}`;',
      test: [NOTIFICATIONS, 'of the index of a realm inside it drops from memory what it names'],
    },
    {
      name: 'a clear of a realm takes the folder that it is',
      text: "=> [realmCover(realm), moduleCover(realm, 'index')];",
      without: '=> [realmCover(realm)];',
      test: [NOTIFICATIONS, 'of a realm inside it that has an index drops from memory what it names'],
    },
    {
      name: 'an artifact covers its dependencies',
      text: "    covers.add(moduleCover('', url));\n",
      without: '',
      test: [
        FILL_RULE,
        'a caller that comes after the invalidation does not get the answer that was already on its way',
      ],
    },
    {
      name: 'an artifact covers its realm',
      text: 'new Set([moduleCover(realm, path), realmCover(realm), GLOBAL_COVER])',
      without: 'new Set([moduleCover(realm, path), GLOBAL_COVER])',
      test: [NOTIFICATIONS, 'of a realm in another spelling drops from memory what it names'],
    },
    {
      name: 'an artifact covers everything',
      text: 'new Set([moduleCover(realm, path), realmCover(realm), GLOBAL_COVER])',
      without: 'new Set([moduleCover(realm, path), realmCover(realm)])',
      test: [NOTIFICATIONS, 'of everything drops from memory what it names'],
    },
    {
      name: 'a module is hit by each of its names',
      text: "`m${(realm + path).replace(coverEnd, '')}`;",
      without: '`m${realm}${path}`;',
      test: [NOTIFICATIONS, 'of a module by another of its names drops from memory what it names'],
    },
  ],
};
