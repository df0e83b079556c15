// Service plans, by domain and by user: how often each may poll, and what the others see.
import * as store from 'reprieve:policy/store@0.1.0';
import type { Claim, Login, Manner, Outcome, Verdict } from 'reprieve:policy/types@0.1.0';

interface Plan {
  intervalS: number;
  manner: Manner;
}

const MANNERS: readonly string[] = ['unchanged', 'empty', 'busy', 'refuse', 'disconnect'];
const SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };
const MOST_SECONDS = 2 ** 32 - 1;
const KNOWN = 'known are default, plan.NAME, domain.NAME, user.NAME';

const plans = new Map<string, Plan>([['basic', { intervalS: 600, manner: 'unchanged' }]]);
// Plans by name, of whoever is named in the settings. The user counts before the domain.
const ofUser = new Map<string, string>();
const ofDomain = new Map<string, string>();
let ofAll = 'basic';

function refuse(key: string, words: string): never {
  // The host takes what is thrown for the error's text.
  throw `\`${key.slice(0, 80)}\` ${words}`;
}

function duration(key: string, text: string): number {
  const [, number = '', unit = ''] = /^([0-9]{1,9})([smhd])$/.exec(text) ?? [];
  const seconds = Number(number) * (SECONDS[unit] ?? NaN);
  if (number === '' || !(seconds <= MOST_SECONDS)) {
    refuse(key, `has the interval "${text.slice(0, 40)}"; one reads like "90s", "10m" or "1h"`);
  }
  return seconds;
}

// `interval=1h, manner=busy`
function plan(key: string, value: string): Plan {
  const plan: Plan = { intervalS: NaN, manner: 'unchanged' };
  for (const part of value.split(',')) {
    const [name = '', text = ''] = part.split('=', 2).map((side) => side.trim());
    if (name === 'interval') {
      plan.intervalS = duration(key, text);
    } else if (name === 'manner' && MANNERS.includes(text)) {
      plan.manner = text as Manner;
    } else {
      refuse(key, `has "${part.trim().slice(0, 40)}"; a plan reads like "interval=1h, manner=busy", with one of ${MANNERS.join(', ')}`);
    }
  }
  return Number.isNaN(plan.intervalS) ? refuse(key, 'has no interval, such as "interval=10m"') : plan;
}

// Whose plan it is, is found without the case of ASCII letters: a plan shows nobody's maildrop.
const fold = (name: string): string => name.replace(/[A-Z]/g, (letter) => letter.toLowerCase());

export function configure(settings: [string, string][]): void {
  for (const [key, value] of settings) {
    const dot = key.indexOf('.');
    const [kind, name] = dot < 0 ? [key, ''] : [key.slice(0, dot), key.slice(dot + 1)];
    if (key === 'default') ofAll = value;
    else if (kind === 'plan' && name !== '') plans.set(name, plan(key, value));
    else if (kind === 'domain' && name !== '') ofDomain.set(fold(name), value);
    else if (kind === 'user' && name !== '') ofUser.set(fold(name), value);
    else refuse(key, `is not known; ${KNOWN}`);
  }
  // A plan may stand after those who have it.
  const named: [string, string][] = [['default', ofAll], ...ofDomain, ...ofUser];
  for (const [who, name] of named) {
    if (!plans.has(name)) {
      refuse(who, `has the plan "${name.slice(0, 40)}", which is not defined; defined are ${[...plans.keys()].join(', ')}`);
    }
  }
}

function planOf(claim: Claim): Plan | undefined {
  const user = fold(claim.user);
  const domain = user.slice(user.lastIndexOf('@') + 1);
  return plans.get(ofUser.get(user) ?? ofDomain.get(domain) ?? ofAll);
}

// The store's key: the names as the host gives them, so that a master user is another user for each
// maildrop that they act for. No name has a NUL in it.
function keyOf({ user, authorizationId }: Claim): string {
  // Without one it is null, whatever its type says.
  return typeof authorizationId === 'string' ? `${user}\0${authorizationId}` : user;
}

const pass: Verdict = { tag: 'pass', val: { delayMs: 0 } };

export function decide(login: Login): Verdict {
  const plan = planOf(login.claim);
  if (plan === undefined || plan.intervalS === 0) return pass;
  const found = store.get(keyOf(login.claim));
  if (found?.length !== 8) return pass;
  const last = Number(new DataView(found.buffer, found.byteOffset).getFloat64(0, true));
  const elapsed = Math.floor(Number(login.time.unixMs) / 1000) - last;
  // A clock that was set back must not keep anybody out.
  if (elapsed < 0 || elapsed >= plan.intervalS) return pass;
  // Whoever is not known is to hear the mail server's own answer.
  const letsNobodyIn = plan.manner === 'refuse' || plan.manner === 'disconnect';
  if (letsNobodyIn && login.claim.standing !== 'known') return pass;
  return {
    tag: 'deny',
    val: { manner: plan.manner, retryAfter: plan.intervalS - elapsed, reason: 'plan', delayMs: 0 },
  };
}

export function observe(outcome: Outcome): void {
  const plan = planOf(outcome.claim);
  if (outcome.ending !== 'authenticated' || plan === undefined || plan.intervalS === 0) return;
  const stamp = new Uint8Array(8);
  new DataView(stamp.buffer).setFloat64(0, Math.floor(Number(outcome.time.unixMs) / 1000), true);
  try {
    store.set(keyOf(outcome.claim), stamp, plan.intervalS);
  } catch {
    // Too long a name, or a full store: such a user passes.
  }
}
