/** For an answer that never comes, because the way to the server has gone. */
const PATIENCE_MS = 60_000;

/** Asks the server of the page. @throws Error with what can be shown */
export async function ask(question: string, query: Readonly<Record<string, string>>): Promise<string> {
  let isGood: boolean;
  let text: string;
  try {
    const answer = await fetch(`${question}?${new URLSearchParams(query)}`, {
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    isGood = answer.ok;
    text = await (isGood ? answer.text() : reasonOf(answer));
  } catch {
    throw new Error('The server did not answer.');
  }
  if (!isGood) throw new Error(text);
  return text;
}

/** What an answer says in words; that of a proxy can be a whole page. */
export async function reasonOf(answer: Response): Promise<string> {
  const isText = answer.headers.get('content-type')?.startsWith('text/plain') === true;
  const text = isText ? (await answer.text()).trim() : '';
  return text === '' ? `The server answered ${answer.status}.` : text;
}
