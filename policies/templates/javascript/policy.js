// A pause after each login: a user passes if their last login that the mail server accepted was at
// least `pause` seconds ago.
import * as store from 'reprieve:policy/store@0.1.0';

let pause = 300;

export function configure(settings) {
  for (const [key, value] of settings) {
    // The host shows the thrown string to the administrator.
    if (key !== 'pause') throw `unknown setting \`${key}\`; known settings: pause`;
    pause = Number(value);
    if (!/^[0-9]+$/.test(value) || pause > 0xffff_ffff) {
      throw `\`pause\` is "${value}"; it must be a whole number of seconds`;
    }
  }
}

export function decide(login) {
  // The store forgets the user after `pause` seconds.
  if (pause === 0 || !store.get(keyOf(login.claim))) {
    return { tag: 'pass', val: { delayMs: 0 } };
  }
  return { tag: 'deny', val: { manner: 'unchanged', reason: 'too-soon', delayMs: 0 } };
}

export function observe(outcome) {
  if (outcome.ending !== 'authenticated' || pause === 0) return;
  try {
    store.set(keyOf(outcome.claim), new Uint8Array([1]), pause);
  } catch {
    // If the name is too long or the store is full, the user passes.
  }
}

// The store's key, one per maildrop: a master user has one for each maildrop that they open. User
// names contain no NUL.
function keyOf({ user, authorizationId }) {
  // If there is none, it is undefined or null.
  return typeof authorizationId === 'string' ? `user:${user}\0${authorizationId}` : `user:${user}`;
}
