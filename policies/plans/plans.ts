// Service plans by user and by domain: how often users may poll, and how a denial is shown.
import * as answer from 'reprieve:policy/answer@0.2.0';
import * as claim from 'reprieve:policy/claim@0.2.0';
import * as log from 'reprieve:policy/log@0.2.0';
import * as lookup from 'reprieve:policy/lookup@0.2.0';
import type { Setting } from 'reprieve:policy/settings@0.2.0';
import type { Login, Manner, Memory, Outcome, Verdict } from 'reprieve:policy/types@0.2.0';

interface Plan {
  intervalS: number;
  manner: Manner;
}

const MANNERS: readonly string[] = ['unchanged', 'empty', 'busy', 'refuse', 'disconnect'];
const UNIT_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };
const MAX_SECONDS = 2 ** 32 - 1;

// A family of settings, such as `user.*`, has no default.
const DESCRIPTIONS: readonly Setting[] = [
  { name: 'plan.*', type: 'text', doc: 'A plan: how long a user waits between logins, and how a denial is shown.' },
  { name: 'domain.*', type: 'text', doc: 'The plan of a domain.' },
  { name: 'user.*', type: 'text', doc: "The plan of one user; it takes precedence over the domain's." },
  { name: 'table', type: 'text', default: '', doc: 'Lookup table of plans by user and by @domain.' },
  { name: 'default', type: 'text', default: 'basic', doc: 'The plan of all other users.' },
  { name: 'upgrades', type: 'count|ignore', default: 'count', doc: 'Whether a denied login that continues at the mail server counts as a login.' },
];

const plans = new Map<string, Plan>([['basic', { intervalS: 600, manner: 'unchanged' }]]);
// Names of plans by user and domain. A user's plan takes precedence over their domain's.
const userPlans = new Map<string, string>();
const domainPlans = new Map<string, string>();
let defaultPlan = 'basic';
// Name of a lookup table with names of plans; empty for none.
let table = '';
let countsUpgrades = true;

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

function isCounted(key: string, value: string): boolean {
  if (value !== 'count' && value !== 'ignore') fail(key, `is "${value.slice(0, 40)}"; it can be "count", "ignore"`);
  return value === 'count';
}

// Folding case is safe here: a plan grants no access to a maildrop.
const fold = (name: string): string => name.replace(/[A-Z]/g, (letter) => letter.toLowerCase());

const definedPlans = (): string => `defined plans: ${[...plans.keys()].join(', ')}`;

function configure(settings: [string, string][]): void {
  for (const [key, value] of settings) {
    const dot = key.indexOf('.');
    const [kind, name] = dot < 0 ? [key, ''] : [key.slice(0, dot), key.slice(dot + 1)];
    if (key === 'default') defaultPlan = value;
    else if (key === 'table') table = value;
    else if (key === 'upgrades') countsUpgrades = isCounted(key, value);
    else if (kind === 'plan' && name !== '') plans.set(name, plan(key, value));
    else if (kind === 'domain' && name !== '') domainPlans.set(fold(name), value);
    else if (kind === 'user' && name !== '') userPlans.set(fold(name), value);
    else fail(key, `is not known; known settings: ${DESCRIPTIONS.map(({ name }) => name).join(', ')}`);
  }
  // Checked at the end: a plan may be defined after a user or domain that has it.
  const named: [string, string][] = [['default', defaultPlan], ...domainPlans, ...userPlans];
  for (const [key, name] of named) {
    if (!plans.has(name)) fail(key, `has the plan "${name.slice(0, 40)}", which is not defined; ${definedPlans()}`);
  }
}

// The name of the plan in the table, if the table has the key and the plan is defined.
function listedPlan(key: string): string | undefined {
  // If there is none, it is null, although its type says undefined.
  const name = lookup.get(table, key) ?? undefined;
  if (name === undefined || plans.has(name)) return name;
  log.line('warn', `the table ${table} gives ${key} the plan "${name.slice(0, 40)}", which is not defined; ${definedPlans()}`);
  return undefined;
}

function planOfUser(): Plan | undefined {
  const user = fold(claim.user());
  const domain = user.slice(user.lastIndexOf('@') + 1);
  let name = userPlans.get(user);
  if (table !== '') name ??= listedPlan(user);
  name ??= domainPlans.get(domain);
  if (table !== '') name ??= listedPlan(`@${domain}`);
  return plans.get(name ?? defaultPlan);
}

const PASS: Verdict = {};

// The user's memory holds the Unix time of their last login, if their plan has an interval.
function decide(login: Login, memory: Memory): Verdict {
  if (memory.first === 0) return PASS;
  const plan = planOfUser();
  const elapsed = login.time.unix - memory.first;
  // If the clock was set back, the user passes.
  if (plan === undefined || elapsed < 0 || elapsed >= plan.intervalS) return PASS;
  // If the password is not known, let the mail server answer.
  const isRefusal = plan.manner === 'refuse' || plan.manner === 'disconnect';
  if (isRefusal && login.standing !== 'known') return PASS;
  answer.reason('plan');
  return { deny: plan.manner, retryAfter: plan.intervalS - elapsed };
}

function observe(outcome: Outcome): Memory | undefined {
  if (outcome.ending !== 'authenticated' || (outcome.upgrade && !countsUpgrades)) return undefined;
  const plan = planOfUser();
  if (plan === undefined || plan.intervalS === 0) return undefined;
  return { first: outcome.time.unix, second: 0, third: 0, fourth: 0 };
}

export const handler = { configure, decide, observe };
export const settings = { describe: (): Setting[] => [...DESCRIPTIONS] };
