// A pause after each login: a user passes if their last login that the mail server accepted was at
// least `pause` seconds ago.
import type { Setting } from 'reprieve:policy/settings@0.2.0';
import type { Login, Memory, Outcome, Verdict } from 'reprieve:policy/types@0.2.0';

let pause = 300;

export const handler = {
  configure(settings: [string, string][]): void {
    for (const [key, value] of settings) {
      // The host shows the thrown string to the administrator.
      if (key !== 'pause') throw `unknown setting \`${key}\`; known settings: pause`;
      pause = Number(value);
      if (!/^[0-9]+$/.test(value) || pause > 0xffff_ffff) {
        throw `\`pause\` is "${value}"; it must be a whole number of seconds`;
      }
    }
  },

  // `memory.first` is when the mail server accepted the user's last login; 0 if it is not known.
  decide(login: Login, memory: Memory): Verdict {
    const elapsed = login.time.unix - memory.first;
    // If the clock was set back, the user passes.
    if (memory.first === 0 || elapsed < 0 || elapsed >= pause) return {};
    return { deny: 'unchanged', retryAfter: pause - elapsed };
  },

  observe(outcome: Outcome, memory: Memory): Memory | undefined {
    if (outcome.ending !== 'authenticated' || pause === 0) return undefined;
    return { ...memory, first: outcome.time.unix };
  },
};

export const settings = {
  describe: (): Setting[] => [
    {
      name: 'pause',
      type: 'number',
      default: '300',
      doc: 'Seconds between two logins that reach the mail server; with 0 every login passes.',
    },
  ],
};
