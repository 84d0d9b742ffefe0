import { reasonOf } from './ask.js';
import { byId } from './dom.js';

/** By fetch: a form that is sent from a page without referrer says no origin, which the server wants to see. */
const form = byId<HTMLFormElement>('login');
form.addEventListener('submit', async (event) => {
  event.preventDefault();
  const token = byId<HTMLInputElement>('token');
  const refused = byId('refused');
  refused.textContent = '';
  try {
    const body = new URLSearchParams({ token: token.value });
    const answer = await fetch('login', { method: 'POST', body });
    if (answer.ok) {
      location.reload();
      return;
    }
    refused.textContent = answer.status === 401 ? 'This is not the token.' : await reasonOf(answer);
    token.select();
  } catch {
    refused.textContent = 'The server did not answer.';
  }
});
byId('token').focus();
