const GET_MANY = 'test/client/get-many.test.ts';

export const batch = {
  file: 'src/batch.ts',
  guards: [
    {
      name: 'a batch of which not all can begin leaves nothing on its way',
      text: '        question.withdraw(error);\n',
      without: '',
      test: ['test/client/batch.test.ts', 'a batch of which not all can begin leaves nothing on its way'],
    },
    {
      name: 'a batch is one question',
      text: 'const rows = await pool.run((sql) => calls.getMany(sql, ids), how);',
      without: 'const rows = await Promise.all(ids.map((id) => pool.run((sql) => calls.get(sql, id), how)));',
      test: [GET_MANY, 'is one question, however many modules memory does not hold'],
    },
    {
      name: 'the flights of a batch begin before the database is asked',
      text: `        for (const [name, id] of wanted) {
          const [flight] = context.board(id, strong, (signal) => question.add(id, signal));`,
      without: `        const early = await askFor([...wanted.values()], patience.signal);
        for (const [index, [name, id]] of [...wanted].entries()) {
          const [flight] = context.board(id, strong, async () => early[index] as ReadRow);`,
      test: [
        GET_MANY,
        'trap: the answer of a batch reaches the process after the notification that outdates it (a dependency)',
      ],
    },
    {
      name: 'a drop-all voids a batch that is on its way',
      text: `        for (const [name, id] of wanted) {
          const [flight] = context.board(id, strong, (signal) => question.add(id, signal));`,
      without: `        const early = await askFor([...wanted.values()], patience.signal);
        for (const [index, [name, id]] of [...wanted].entries()) {
          const [flight] = context.board(id, strong, async () => early[index] as ReadRow);`,
      test: [GET_MANY, 'trap: everything was dropped while a batch was on its way, and it is put back'],
    },
    {
      name: 'a strong batch asks whether memory is current',
      text: 'const current = strong\n',
      without: 'const current = calls.areCurrent === undefined\n',
      test: [GET_MANY, 'never get what a committed invalidation covers'],
    },
    {
      name: 'a strong batch does not take from memory what is not current',
      text: '      if (current !== undefined && current[index] !== true) continue;\n',
      without: '      if (current !== undefined && index < 0) continue;\n',
      test: [GET_MANY, 'never get what a committed invalidation covers'],
    },
    {
      name: 'a strong batch never joins older work',
      text: 'context.board(id, strong, ',
      without: 'context.board(id, false, ',
      test: [GET_MANY, 'trap: join older work'],
    },
    {
      name: 'who came after the invalidation does not get what a batch from before it reads',
      text: '          if (outdatedAt !== undefined && outdatedAt <= arrived && tries < MAX_TRIES) continue;\n',
      without: '          if (outdatedAt !== undefined && outdatedAt <= arrived && tries < 0) continue;\n',
      test: [
        GET_MANY,
        'who comes after the invalidation does not get the answer that was already on its way',
      ],
    },
    {
      name: 'before there is an epoch a batch sees to it that there is one',
      text: '    await context.catchUp();\n',
      without: '',
      test: [GET_MANY, 'before there is an epoch a batch finds nothing, sees to it that there is one'],
    },
  ],
};
