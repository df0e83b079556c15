// A pause after each login: a user passes if his last login that the mail server accepted is at
// least `pause` seconds ago.
import * as store from 'reprieve:policy/store@0.1.0';

let pause = 300;

export function configure(settings) {
  for (const [key, value] of settings) {
    // What is thrown is shown to the administrator: a text.
    if (key !== 'pause') throw `unknown setting \`${key}\`; known is pause`;
    pause = Number(value);
    if (!/^[0-9]+$/.test(value) || pause > 0xffff_ffff) {
      throw `\`pause\` is "${value}"; it is a whole number of seconds`;
    }
  }
}

export function decide(login) {
  // What is there has not expired yet.
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
    // Too long a name, or a full store: such a user passes.
  }
}

// The names as the host gives them: a master user is another user for each maildrop that they act
// for. No name has a NUL in it.
function keyOf({ user, authorizationId }) {
  // Without one it may be undefined or null.
  return typeof authorizationId === 'string' ? `user:${user}\0${authorizationId}` : `user:${user}`;
}
