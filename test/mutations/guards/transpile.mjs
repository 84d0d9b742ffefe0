const SPELLINGS = 'test/transpile/spellings.test.ts';

const invalidated = (realm, name) => `what a module of ${realm} imports can be invalidated in ${name} as`;

export const spellings = {
  file: 'src/transpile/spellings.ts',
  guards: [
    {
      name: 'spelling: a host as URLs have it',
      text: '  if (href !== null) hosts.add(href);\n',
      without: '',
      test: [SPELLINGS, invalidated('https://bücher.example/', 'https://xn--bcher-kva.example/')],
    },
    {
      name: 'spelling: a host in Unicode',
      // biome-ignore lint/suspicious/noTemplateCurlyInString: the text is code
      text: "  hosts.add(`${url.protocol}//${name}${url.port === '' ? '' : `:${url.port}`}/`);\n",
      without: '',
      test: [SPELLINGS, invalidated('https://xn--bcher-kva.example/', 'https://bücher.example/')],
    },
    {
      name: 'spelling: a host as the import has it',
      text: '  if (written !== null) hosts.add(written);\n',
      without: '',
      test: ['test/transpile/dependencies.test.ts', 'an import of "https://cdn.example.com:443/x.js" is hit'],
    },
    {
      name: 'spelling: folders as URLs have them',
      text: '    (segments) => segments,\n',
      without: '',
      test: [SPELLINGS, invalidated('https://x.example/ä%20b/', 'https://x.example/%C3%A4%20b/')],
    },
    {
      name: 'spelling: folders decoded but for what has a meaning',
      text: 'legal(decodedBy(decodeURI, segment))',
      without: 'segment',
      test: [SPELLINGS, 'a realm that escapes what has to be only can be imported by others'],
    },
    {
      name: 'spelling: folders decoded',
      text: 'legal(decodedBy(decodeURIComponent, segment))',
      without: 'segment',
      test: [SPELLINGS, 'a realm that escapes less than its importer can be imported by others'],
    },
    {
      name: 'spelling: folders escaped',
      text: 'escaped(decodedBy(decodeURIComponent, segment))',
      without: 'segment',
      test: [SPELLINGS, 'a realm that escapes more than it has to can be imported by others'],
    },
    {
      name: 'spelling: folders as the import has them',
      text: '  if (written !== undefined) spellings.push(() => written);\n',
      without: '',
      test: [SPELLINGS, 'a realm that is spelled as no rule says can be imported by others'],
    },
    {
      name: 'spelling: the own realm is known by what it says',
      text: 'sense(segment) === sense(others[index] as string)',
      without: 'segment === others[index]',
      test: [SPELLINGS, invalidated('https://x.example/ä%41/', 'https://x.example/ä%41/')],
    },
    {
      name: 'spelling: other names of the own realm are made from its own',
      text: '    target = [...rootFolders, ...inside];\n',
      without: '',
      test: [SPELLINGS, invalidated('https://x.example/ä%40/', 'https://x.example/%C3%A4%40/')],
    },
    {
      name: 'spelling: a realm may hold what is no UTF-8',
      text: '    return undefined;\n  }\n}\n\n/** Scheme',
      without: "    throw new URIError('not UTF-8');\n  }\n}\n\n/** Scheme",
      test: [SPELLINGS, 'a realm in Latin-1 can be imported by others'],
    },
  ],
};

export const compiled = {
  file: 'src/transpile/compile.ts',
  guards: [
    {
      name: 'spelling: a module has other names itself',
      text: '...ownKeysOf(realm, path)',
      without: '',
      test: [SPELLINGS, 'a module that compiles is invalidated by another spelling of its realm'],
    },
  ],
};

export const declared = {
  file: 'src/keys.ts',
  guards: [
    {
      name: 'spelling: a realm may begin with an empty folder',
      text: String.raw`/^[^:]*:\/\/[^/]*\/+/`,
      without: String.raw`/^[^:]*:\/\/[^/]*\//`,
      test: [SPELLINGS, 'a realm that begins with an empty folder can be imported by others'],
    },
  ],
};
