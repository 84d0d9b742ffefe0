const WATCH = 'test/realm/watch.test.ts';
const LINKS = 'test/realm/watch-links.test.ts';
const FAULTS = 'test/realm/watch-faults.test.ts';
const COMPARE = 'test/realm/compare.test.ts';
const GUARD = 'test/realm/guard.test.ts';
const TABLE = 'test/realm/table.test.ts';
const CANDIDATES = 'test/realm/candidates.test.ts';

export const sourceGuard = {
  file: 'src/realm/guard.ts',
  guards: [
    {
      name: 'realm: a module of another text is invalidated',
      text: '    await shared(invalidations, path, () => invalidate(path));\n',
      without: '',
      test: [GUARD, 'a change whose invalidation was lost is not served'],
    },
    {
      name: 'realm: many who ask share one invalidation',
      text: 'await shared(invalidations, path, () => invalidate(path));',
      without: 'await invalidate(path);',
      test: [GUARD, 'many who ask at once share one comparison and one invalidation'],
    },
    {
      name: 'realm: a comparison does not hold over a suspend',
      text: ' && Date.now() - moment.wall < recheckMs',
      without: '',
      test: [GUARD, 'after a suspend, in which the monotonic clock stands still, it is looked at again'],
    },
    {
      name: 'realm: a comparison holds for a time only',
      text: 'knowledge.hash === hash && isRecent(knowledge.lookedAt)',
      without: 'knowledge.hash === hash',
      test: [GUARD, 'it is looked at again when its time is over'],
    },
    {
      name: 'realm: what was found current is not looked at again',
      text: 'if (knowledge !== undefined && knowledge.hash === hash && isRecent(knowledge.lookedAt)) return true;',
      without: '',
      test: [GUARD, 'what was found current is not looked at again, and the answer needs no promise'],
    },
    {
      name: 'realm: a path is invalidated once in a while',
      text: 'if (invalidatedAt !== undefined && isRecent(invalidatedAt)) {',
      without: 'if (invalidatedAt !== undefined && recheckMs < 0) {',
      test: [GUARD, 'hosts with different files under one realm do not invalidate each other without end'],
    },
    {
      name: 'realm: an unchanged stamp spares the reading',
      text: 'const isSame = previous !== undefined && previous.stamp === stamp;',
      without: 'const isSame = previous !== undefined && recheckMs < 0;',
      test: [GUARD, 'a file that has not been touched is not read again'],
    },
    {
      name: 'realm: what commits with its source is not compared',
      text: '      if (source.isTransactional) return true;\n',
      without: '',
      test: [GUARD, 'what was not made from a source, or commits with its source, is not compared'],
    },
  ],
};

export const directory = {
  file: 'src/realm/directory.ts',
  guards: [
    {
      name: 'realm: the time of the last change counts, too',
      text: '  const stamp = marksOf({ ino, size, mtimeNs, ctimeNs });',
      without: '  const stamp = marksOf({ ino, size, mtimeNs, ctimeNs: 0n * ctimeNs });',
      test: [GUARD, 'trap: the second of two writes leaves the same size and time behind'],
    },
    {
      name: 'realm: a fresh file has a stamp of its own',
      text: 'if (Date.now() - Number(ctimeMs) > COARSEST_CLOCK_MS) return stamp;',
      without: 'if (Number(ctimeMs) > 0) return stamp;',
      test: [GUARD, 'trap: a file that was just written is written again before its clock has moved'],
    },
    {
      name: 'realm: a link that leaves the folder is not served',
      text: '    if (!isInside(root as string, file)) return undefined;\n',
      without: '',
      test: [LINKS, 'a link that leaves the folder is not followed, and names no module'],
    },
    {
      name: 'realm: a list of links has an end',
      text: ' && !onTheWay.includes(target)',
      without: '',
      test: [LINKS, 'links to the folder that they are in have an end'],
    },
  ],
};

export const tree = {
  file: 'src/realm/folder-tree.ts',
  guards: [
    {
      name: 'realm: a folder that was made anew is watched anew',
      text: 'if (replaced.has(path) || stats?.ino !== known.ino) forget(path, changed);',
      without: 'if (stats === undefined) forget(path, changed);',
      test: [WATCH, 'trap: a folder is made and deleted again and again'],
    },
    {
      name: 'realm: a folder is watched before it is read',
      text: "      watcher = watchFolder(folder, (type, name) => onEvent(folder, type, name));\n      watcher.on('error', () => {\n        replaced.add(folder);\n        note(folder);\n      });\n      const stats = await lstat(folder, { bigint: true });\n      const found = await readdir(folder, { withFileTypes: true });\n",
      without:
        "      const stats = await lstat(folder, { bigint: true });\n      const found = await readdir(folder, { withFileTypes: true });\n      watcher = watchFolder(folder, (type, name) => onEvent(folder, type, name));\n      watcher.on('error', () => {\n        replaced.add(folder);\n        note(folder);\n      });\n",
      test: [FAULTS, 'trap: a module is written after a new folder was read, and before it is watched'],
    },
    {
      name: 'realm: what is in a folder that was moved has changed',
      text: "if (kind === 'file') changed.add(join(path, name));",
      without: "if (kind === 'link') changed.add(join(path, name));",
      test: [WATCH, 'a folder is renamed, and renamed back'],
    },
    {
      name: 'realm: what is in a new folder has changed',
      text: "        if (kind === 'file') changed.add(path);\n",
      without: "        if (kind === 'file') continue;\n",
      test: [WATCH, 'a folder is renamed, and renamed back'],
    },
    {
      name: 'realm: the folder itself may come back',
      text: 'if (folders.get(root)?.ino !== ino) note(root);',
      without: '',
      test: [WATCH, 'the folder itself is deleted and made anew'],
    },
    {
      name: 'realm: nothing starts half-watched',
      text: '    if (starting && reason instanceof ModuleCacheError) throw reason;\n',
      without: '',
      test: [FAULTS, 'too many folders for the system'],
    },
    {
      name: 'realm: what links led to before has changed',
      text: 'const before = [...changed].flatMap(namesBefore);',
      without: 'const before: string[] = [];',
      test: [LINKS, 'a module is invalidated by all its names'],
    },
    {
      name: 'realm: what links lead to now has changed',
      text: 'const after = [...changed].flatMap(links.namesOf);',
      without: 'const after: string[] = [];',
      test: [LINKS, 'a link that leads somewhere else now'],
    },
  ],
};

export const links = {
  file: 'src/realm/links.ts',
  guards: [
    {
      name: 'realm: names by links have an end',
      text: 'if (target === undefined || way.has(link)) continue;',
      without: 'if (target === undefined) continue;',
      test: [LINKS, 'links to the folder that they are in have an end'],
    },
  ],
};

export const watching = {
  file: 'src/realm/watch.ts',
  guards: [
    {
      name: 'realm: what could not be invalidated is kept',
      text: '    const changed = [...pending];\n',
      without: '    const changed = [...pending];\n    pending.clear();\n',
      test: [FAULTS, 'what changes while the database is away is invalidated when it is back'],
    },
    {
      name: 'realm: what the kernel has to tell is heard before closing',
      text: '    await nextTurn();\n    await nextTurn();\n',
      without: '    await nextTurn();\n',
      test: [FAULTS, 'closing does not wait for a quiet moment to invalidate what was just written'],
    },
  ],
};

export const schedule = {
  file: 'src/realm/schedule.ts',
  guards: [
    {
      name: 'realm: work that failed is done again',
      text: '        if (options.isFinal(error)) return;\n',
      without: '        return;\n',
      test: [FAULTS, 'what changes while the database is away is invalidated when it is back'],
    },
    {
      name: 'realm: closing makes a last attempt',
      text: '        if (firstTouch !== undefined) await options.work();\n',
      without: '',
      test: [FAULTS, 'closing makes a last attempt for what is pending'],
    },
    {
      name: 'realm: closing has an end',
      text: 'await withDeadline(last(), closeMs,',
      without: 'await withDeadline(last(), closeMs * 1e5,',
      test: [FAULTS, 'closing does not wait for a database that does not answer'],
    },
    {
      name: 'realm: quiet is not waited for without end',
      text: 'Math.min(quietMs, firstTouch + maxMs - now)',
      without: 'Math.max(quietMs, maxMs - maxMs)',
      test: [WATCH, 'who never stops writing does not put off the invalidation for ever'],
    },
  ],
};

export const compare = {
  file: 'src/realm/compare.ts',
  guards: [
    {
      name: 'realm: a new module that is meant now is found',
      text: '  await invalidate(await newlyMeant(source, stored, signal));\n',
      without: '',
      test: [COMPARE, 'a new module is found that an import of a stored one means now'],
    },
    {
      name: 'realm: a module that nobody means is not invalidated',
      text: 'order.indexOf(other) > place',
      without: 'order.indexOf(other) !== place',
      test: [COMPARE, 'a new module is found that an import of a stored one means now'],
    },
    {
      name: 'realm: dead artifacts are not compared',
      text: "      if (status === 'dead') continue;\n",
      without: '',
      test: [COMPARE, 'a change that was made while nothing ran is found'],
    },
    {
      name: 'realm: all pages are compared',
      text: '    if (page.length < PAGE) return;\n',
      without: '    if (page.length <= PAGE) return;\n',
      test: [COMPARE, 'more modules than fit on a page are all compared'],
    },
  ],
};

export const table = {
  file: 'src/realm/table.ts',
  guards: [
    {
      name: 'realm: odd paths in a table name no module',
      text: 'isModulePath(name) && normalizePath(realm, name) === name;',
      without: 'isModulePath(name) || normalizePath(realm, name) !== name;',
      test: [TABLE, 'odd paths, and rows without a source, are no modules'],
    },
    {
      name: 'realm: two sources for one module are refused',
      text: 'if (rows.length > 1) {',
      without: 'if (rows.length > 2) {',
      test: [TABLE, 'two sources for one module are an error, not one of them by chance'],
    },
    {
      name: 'realm: a transaction is no source',
      text: "if (typeof sql !== 'function' || typeof sql.begin !== 'function') {",
      without: "if (typeof sql !== 'function') {",
      test: [TABLE, 'only what is committed is read, and a transaction is refused'],
    },
  ],
};

export const candidates = {
  file: 'src/realm/source.ts',
  guards: [
    {
      name: 'realm: candidates have the key that is declared',
      text: '.filter((candidate) => dependencyKeyOf(candidate) === key)',
      without: '.filter((candidate) => candidate !== key)',
      test: [CANDIDATES, 'trap: a declaration is found by a name with another dependency key'],
    },
  ],
};
