const PRIVATE = 'test/client/private-realms.test.ts';
const MIXED =
  'a process that reads as a member and listens as another drops what is private whenever something private changes';

export const flight = {
  file: 'src/flight.ts',
  guards: [
    {
      name: 'what is private is found without its name',
      text: 'return seen?.isPrivate === true ? [...covers, PRIVATE_COVER] : covers;',
      without: 'return seen === undefined ? [...covers, PRIVATE_COVER] : covers;',
      test: [PRIVATE, MIXED],
    },
    {
      name: 'a production of what is private ends when something private changes',
      text: ' || (covers.has(PRIVATE_COVER) && isPrivate !== false);',
      without: ' && (!covers.has(PRIVATE_COVER) || isPrivate !== null);',
      test: [PRIVATE, 'its productions end as well, and nobody joins them'],
    },
    {
      name: 'what could not be stored counts as private',
      text: "      if (stored === 'failed') covers.push(PRIVATE_COVER);\n",
      without: '',
      test: [
        PRIVATE,
        'and hands it to nobody who asks after what it was made from has changed, by whatever name it is told',
      ],
    },
  ],
};

export const calls = {
  file: 'src/calls.ts',
  guards: [
    {
      name: 'each read of a batch is told by itself whether it is private',
      text: 'index === 0 ? token : common + (row.token ?? ',
      without: 'index >= 0 ? token : common + (row.token ?? ',
      test: [PRIVATE, 'so does what it has read together with what is open, listening as member'],
    },
  ],
};

export const coherence = {
  file: 'src/coherence.ts',
  guards: [
    {
      name: 'what may not be named is applied',
      text: "  if (change.k === 'private') return [PRIVATE_COVER];\n",
      without: "  if (change.k === 'private') return [PRIVATE_COVER].slice(1);\n",
      test: [PRIVATE, MIXED],
    },
  ],
};

export const snapshot = {
  file: 'src/snapshot.ts',
  guards: [
    {
      name: 'what is open stays when something private changes',
      text: 'isPrivate: parts[5] !== undefined,',
      without: 'isPrivate: parts[5] !== null,',
      test: [PRIVATE, 'what is open stays in its memory'],
    },
  ],
};
