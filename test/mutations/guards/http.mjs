const HANDLER = 'test/http/handler.test.ts';

export const http = {
  file: 'src/http/handler.ts',
  guards: [
    {
      name: 'etag and body are of one version',
      text: 'succeeded(request, module, from);',
      without: 'succeeded(request, { ...module, headers: (await find(path, request))[0].headers }, from);',
      test: [HANDLER, 'trap: the etag is taken from one version and the body from the next'],
    },
    {
      name: 'the etag is of the body, not of the time',
      text: 'etag: etagOf(path, variant, result.body),',
      without: 'etag: etagOf(path, variant, String(file.lastModified)),',
      test: [HANDLER, 'trap: two versions were written in one second, and have the same etag'],
    },
    {
      name: 'the etag is of the URL',
      text: 'etag: etagOf(path, variant, result.body),',
      without: "etag: etagOf('', variant, result.body),",
      test: [HANDLER, 'trap: two URLs have the same body, and with it the same etag'],
    },
    {
      name: 'a read with a token does not take what memory has at once',
      text: '    if (after === undefined) {\n',
      without: '    {\n',
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
  ],
};
