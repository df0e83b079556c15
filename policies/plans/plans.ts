// Service plans by user and by domain: how often users may poll, and how a denial is shown.
import * as store from 'reprieve:policy/store@0.1.0';
import type { Claim, Login, Manner, Outcome, Verdict } from 'reprieve:policy/types@0.1.0';

interface Plan {
  intervalS: number;
  manner: Manner;
}

const MANNERS: readonly string[] = ['unchanged', 'empty', 'busy', 'refuse', 'disconnect'];
const UNIT_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };
const MAX_SECONDS = 2 ** 32 - 1;
const KNOWN = 'known settings: default, plan.NAME, domain.NAME, user.NAME';

const plans = new Map<string, Plan>([['basic', { intervalS: 600, manner: 'unchanged' }]]);
// Names of plans by user and domain. A user's plan takes precedence over their domain's.
const userPlans = new Map<string, string>();
const domainPlans = new Map<string, string>();
let defaultPlan = 'basic';

function fail(key: string, problem: string): never {
  // The host shows the thrown text as the error.
  throw `\`${key.slice(0, 80)}\` ${problem}`;
}

function duration(key: string, text: string): number {
  const [, number = '', unit = ''] = /^([0-9]{1,9})([smhd])$/.exec(text) ?? [];
  const seconds = Number(number) * (UNIT_SECONDS[unit] ?? NaN);
  if (number === '' || !(seconds <= MAX_SECONDS)) {
    fail(key, `has the interval "${text.slice(0, 40)}"; one reads like "90s", "10m" or "1h"`);
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
      fail(key, `has "${part.trim().slice(0, 40)}"; a plan reads like "interval=1h, manner=busy", with one of ${MANNERS.join(', ')}`);
    }
  }
  return Number.isNaN(plan.intervalS) ? fail(key, 'has no interval, such as "interval=10m"') : plan;
}

// Folding case is safe here: a plan grants no access to a maildrop.
const fold = (name: string): string => name.replace(/[A-Z]/g, (letter) => letter.toLowerCase());

export function configure(settings: [string, string][]): void {
  for (const [key, value] of settings) {
    const dot = key.indexOf('.');
    const [kind, name] = dot < 0 ? [key, ''] : [key.slice(0, dot), key.slice(dot + 1)];
    if (key === 'default') defaultPlan = value;
    else if (kind === 'plan' && name !== '') plans.set(name, plan(key, value));
    else if (kind === 'domain' && name !== '') domainPlans.set(fold(name), value);
    else if (kind === 'user' && name !== '') userPlans.set(fold(name), value);
    else fail(key, `is not known; ${KNOWN}`);
  }
  // Checked at the end: a plan may be defined after a user or domain that has it.
  const named: [string, string][] = [['default', defaultPlan], ...domainPlans, ...userPlans];
  for (const [key, name] of named) {
    if (!plans.has(name)) {
      fail(key, `has the plan "${name.slice(0, 40)}", which is not defined; defined plans: ${[...plans.keys()].join(', ')}`);
    }
  }
}

function planOf(claim: Claim): Plan | undefined {
  const user = fold(claim.user);
  const domain = user.slice(user.lastIndexOf('@') + 1);
  return plans.get(userPlans.get(user) ?? domainPlans.get(domain) ?? defaultPlan);
}

// The store's key, one per maildrop: a master user has one for each maildrop that they open. User
// names contain no NUL.
function keyOf({ user, authorizationId }: Claim): string {
  // If there is none, it is null, although its type says undefined.
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
  // If the clock was set back, the user passes.
  if (elapsed < 0 || elapsed >= plan.intervalS) return pass;
  // If the password is not known, let the mail server answer.
  const isRefusal = plan.manner === 'refuse' || plan.manner === 'disconnect';
  if (isRefusal && login.claim.standing !== 'known') return pass;
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
    // If the name is too long or the store is full, the user passes.
  }
}
