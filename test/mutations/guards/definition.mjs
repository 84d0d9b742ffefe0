// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the texts are code

const LOOKUP = 'test/definition/lookup.test.ts';

export const lookup = {
  file: 'src/definition/lookup.ts',
  guards: [
    {
      name: 'what visibility said is forgotten',
      text: `  function createScopes(user: string | undefined) {
    const scopes = new Map<string, Promise<Scope | undefined>>();`,
      without: `  const scopes = new Map<string, Promise<Scope | undefined>>();
  function createScopes(user: string | undefined) {`,
      test: [LOOKUP, 'is asked at every lookup, also for what is in memory'],
    },
    {
      name: 'whoever may not see the realm is told nothing of it',
      text: "    if (scope === undefined) return paths.map((path) => ({ status: 'forbidden', realm, path }));\n",
      without: "    if (scope === undefined) throw new Error('forbidden');\n",
      test: [LOOKUP, 'none tells nothing: neither whether there is such a module, nor by asking for it'],
    },
    {
      name: 'errors of a realm that the user may not see are not told',
      text: 'names.map((name) => scopeIn(name.realm))',
      without: 'names.map((name) => scopeIn(name.realm && realm))',
      test: [LOOKUP, 'of another realm are told only to who may see that realm'],
    },
    {
      name: 'an alias is resolved before the cache is asked',
      text: 'paths.map((path) => (resolve === undefined ? path : resolve(path)))',
      without: 'paths.map((path) => path as string | undefined)',
      test: [LOOKUP, 'and its target are one definition'],
    },
    {
      name: 'the scope is part of what a definition is kept under',
      text: "variant === '' ? scope.name : `${variant}/${scope.name}`",
      without: "variant === '' ? 'public' : `${variant}/${scope.name}`",
      test: [LOOKUP, 'is asked at every lookup, also for what is in memory'],
    },
    {
      name: 'many are one question',
      text: '      wanted.length === 1\n',
      without: '      wanted.length >= 1\n',
      test: [LOOKUP, 'are one question to the database, in the order of the paths'],
    },
    {
      name: 'nobody loses patience with a producer that takes minutes',
      text: '      claimPatienceMs,\n      deadlineMs: Math.max',
      without: '      deadlineMs: Math.max',
      test: [LOOKUP, 'is the only one all the while: nobody loses patience with it'],
    },
    {
      name: 'the deadline is for all that a lookup waits for',
      text: 'return await patience.wait(find(paths, user, read));',
      without: 'return await find(paths, user, read);',
      test: [LOOKUP, 'on visibility is told so at the deadline, or at once by the signal'],
    },
  ],
};

export const scope = {
  file: 'src/definition/scope.ts',
  guards: [
    {
      name: 'not to know is not to allow',
      text: "  if (visibility !== 'private') {\n",
      without:
        "  if (visibility === undefined) return { name: 'public', user: undefined };\n  if (visibility !== 'private') {\n",
      test: [LOOKUP, 'that cannot be told is no visibility'],
    },
    {
      name: 'nobody in particular has no private view',
      text: "  if (user === undefined) return undefined;\n  return { name: `user:${createHash('sha256').update(user)",
      without: "  return { name: `user:${createHash('sha256').update(String(user))",
      test: [LOOKUP, 'is asked at every lookup, also for what is in memory'],
    },
    {
      name: 'what everybody gets does not depend on who asked first',
      text: "return { name: 'public', user: undefined };",
      without: "return { name: 'public', user };",
      test: [LOOKUP, 'is asked at every lookup, also for what is in memory'],
    },
  ],
};

export const production = {
  file: 'src/definition/production.ts',
  guards: [
    {
      name: 'errors have a life of their own',
      text: 'expiresInMs ?? (isError ? errorTtlMs : undefined);',
      without: 'expiresInMs;',
      test: [LOOKUP, 'has a life of its own; definitions live until they are invalidated'],
    },
    {
      name: 'no such module is no product',
      text: "    throw new ModuleCacheError('MC105', 'no such module', { detail: id.path });\n",
      without: "    return { body: 'null' };\n",
      test: [LOOKUP, 'is not cached: a module that is there at the next call is found at once'],
    },
    {
      name: 'what a definition was built from was read',
      text: '...read.map(({ realm, path }) => realm + path)',
      without: '...read.slice(read.length).map(({ realm, path }) => realm + path)',
      test: [LOOKUP, 'is made anew after an invalidation of what it was declared to be built from'],
    },
    {
      name: 'a producer that hangs is given up',
      text: 'await orAborted(working, late.signal)',
      without: 'await working',
      test: [LOOKUP, 'and hangs is given up: its signal aborts, all who wait are told'],
    },
  ],
};

export const failures = {
  file: 'src/definition/failures.ts',
  guards: [
    {
      name: 'each error is told once',
      text: 'if (!found.has(identity)) found.set(identity, failure);',
      without: 'found.set(`${identity}${found.size}`, failure);',
      test: [LOOKUP, 'are in the answer: nearest first, each once, whatever the cycles'],
    },
    {
      name: 'an error of its own is no error of a dependency',
      text: "  if (root.module.status === 'error') found.delete(identityOf(ownFailure(root)));\n",
      without: '',
      test: [LOOKUP, 'are in the answer: nearest first, each once, whatever the cycles'],
    },
  ],
};
