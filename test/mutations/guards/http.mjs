// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the texts are code

const HANDLER = 'test/http/handler.test.ts';
const CODING = 'test/http/coding.test.ts';
const GUARD = 'test/http/guard.test.ts';
const NODE = 'test/http/node.test.ts';
const REQUESTS = 'test/http/requests.test.ts';
const SPECIFIERS = 'test/http/specifiers.test.ts';
const VISIBILITY = 'test/http/visibility.test.ts';

export const http = {
  file: 'src/http/handler.ts',
  guards: [
    {
      name: 'etag and body are of one version',
      text: 'await succeeded(asked, module, compressor);',
      without:
        'await succeeded(asked, { ...module, headers: (await find(wanted)).module.headers }, compressor);',
      test: [HANDLER, 'trap: the etag is taken from one version and the body from the next'],
    },
    {
      name: 'visibility is not remembered',
      text: 'visibility === undefined ? undefined : await visibility(request);',
      without:
        'visibility === undefined ? undefined : await ((options as { was?: unknown }).was ??= visibility(request));',
      test: [VISIBILITY, 'a change takes effect at the next request, although the module is in memory'],
    },
    {
      name: 'what is not known to be visible is not',
      text: "if (visibility !== undefined && visible !== 'public' && visible !== 'private') return notFound();",
      without: "if (visible === 'none') return notFound();",
      test: [VISIBILITY, 'what is not known to be visible is not: another word, or a question that fails'],
    },
  ],
};

export const httpReader = {
  file: 'src/http/reader.ts',
  guards: [
    {
      name: 'a read with a token does not take what memory has at once',
      text: '    if (after === undefined && !strong) {\n',
      without: '    if (!strong) {\n',
      test: [
        HANDLER,
        'a read with the token of an edit does not get what memory has, although nobody has told of it',
      ],
    },
    {
      name: 'the token reaches the cache',
      text: '...(after === undefined ? {} : { after })',
      without: '...(after === undefined ? {} : {})',
      test: [
        HANDLER,
        'a read with the token of an edit does not get what memory has, although nobody has told of it',
      ],
    },
    {
      name: 'what is cached is compared with its source',
      text: 'if (await guard.isCurrent(canonicalPath, module)) return found;',
      without: 'return found;',
      test: [GUARD, 'is not served for ever out of l1'],
    },
    {
      name: 'a module under the name of its folder is a product of its own',
      text: '`${producer.variant}~folder`',
      without: 'producer.variant',
      test: [SPECIFIERS, 'hold as well when a folder is asked for by its name'],
    },
  ],
};

export const httpProducer = {
  file: 'src/http/producer.ts',
  guards: [
    {
      name: 'the etag is of the body, not of the time',
      text: 'etag: etagOf(path, variant, result.body),',
      without: "etag: etagOf(path, variant, lastModified?.toUTCString() ?? ''),",
      test: [HANDLER, 'trap: two versions were written in one second, and have the same etag'],
    },
    {
      name: 'the etag is of the URL',
      text: 'etag: etagOf(path, variant, result.body),',
      without: "etag: etagOf('', variant, result.body),",
      test: [HANDLER, 'trap: two URLs have the same body, and with it the same etag'],
    },
    {
      name: 'the variant is of the import map',
      text: '${mapper.fingerprint}',
      without: '',
      test: [SPECIFIERS, 'a map of another server is another variant: products are never mixed'],
    },
  ],
};

export const httpAnswers = {
  file: 'src/http/answers.ts',
  guards: [
    {
      name: 'the etag is of the query and of the alias',
      text: 'etagAt(own, asked.otherUrl, coding)',
      without: 'etagAt(own, undefined, coding)',
      test: [REQUESTS, 'a query is a URL of its own: the same module, another etag'],
    },
    {
      name: 'the etag is of the coding',
      text: 'etagAt(own, asked.otherUrl, coding)',
      without: "etagAt(own, asked.otherUrl, 'identity')",
      test: [
        CODING,
        'a large module is compressed for who accepts it, and every coding has an etag of its own',
      ],
    },
  ],
};

export const httpPaths = {
  file: 'src/http/paths.ts',
  guards: [
    {
      name: 'a path is spelled in one way',
      text: "    if (isSloppy(path)) return 'malformed';\n",
      without: '',
      test: [REQUESTS, 'an empty segment, by which a file would be found is refused'],
    },
    {
      name: 'the raw target is percent-decoded before it is judged',
      text: 'decodeURIComponent(target.split(/[?#]/, 1)[0] as string)',
      without: '(target.split(/[?#]/, 1)[0] as string)',
      test: [NODE, '/%2e%2e/secret.ts is refused'],
    },
  ],
};
