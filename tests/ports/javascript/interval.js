// The default policy, `interval`, ported to JavaScript: the same settings and verdicts.
import * as store from 'reprieve:policy/store@0.2.0';
import * as log from 'reprieve:policy/log@0.2.0';

const DURATION = 'a duration reads like "90s", "10m" or "1h30m"';
const SIZE = 'a size reads like "100KiB" or "32MiB"';
const NUMBER = 'it is a number such as 3';
const MILLISECONDS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const BYTES = { '': 1, B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };
const MAX_U32 = 2 ** 32 - 1;
// What a user takes in the store at most, unless their name is very long.
const ENTRY_BYTES = 512;

// Name, type, default and description of each setting.
const DESCRIPTIONS = [
  ['interval', 'duration', '10m', 'How long Reprieve answers a user after a login; with 0s every login passes.'],
  ['reset', 'daily|never', 'daily', 'Whether each user passes once on a new day.'],
  ['memory-limit', 'size', '32MiB', 'Maximum size of the remembered users; when it is exceeded, all users are forgotten.'],
  ['manner', 'unchanged|empty|busy|refuse|disconnect', 'unchanged', 'How a denial is shown.'],
  ['start', 'authenticated|login', 'authenticated', 'Whether the clock starts when the mail server accepts a login, or when a login passes.'],
  ['upgrades', 'count|ignore', 'count', 'Whether a denied login that continues at the mail server starts the clock again.'],
  ['busy-after', 'number', '0', 'Upgrades in a row after which a denial is shown as busy; 0 for never.'],
];

let intervalMs = 600_000;
let dailyReset = true;
let memoryLimit = 32 * 2 ** 20;
let manner = 'unchanged';
let startsAtLogin = false;
let countsUpgrades = true;
let busyAfter = 0;

function refuse(key, value, right) {
  throw `\`${key}\` is "${value.slice(0, 200)}"; ${right}`;
}

// The sum of numbers with units, of which there are no more than `parts`.
function amount(key, value, units, parts, right) {
  let sum = 0;
  let rest = value;
  do {
    const [part, number, unit] = /^([0-9]+) *([A-Za-z]*)/.exec(rest) ?? refuse(key, value, right);
    sum += Number(number) * (Object.hasOwn(units, unit) ? units[unit] : refuse(key, value, right));
    rest = rest.slice(part.length).trimStart();
    parts -= 1;
  } while (rest !== '' && parts > 0);
  // Larger numbers are not exact.
  return rest === '' && Number.isSafeInteger(sum) ? sum : refuse(key, value, right);
}

function choice(key, value, words) {
  if (words.includes(value)) return value;
  refuse(key, value, `it can be ${words.map((word) => `"${word}"`).join(', ')}`);
}

function number(key, value) {
  const number = /^[0-9]+$/.test(value) ? Number(value) : NaN;
  return number <= MAX_U32 ? number : refuse(key, value, NUMBER);
}

function configure(given) {
  for (const [key, value] of given) {
    switch (key) {
      case 'interval': intervalMs = amount(key, value, MILLISECONDS, Infinity, DURATION); break;
      case 'reset': dailyReset = choice(key, value, ['daily', 'never']) === 'daily'; break;
      case 'memory-limit': memoryLimit = Math.min(amount(key, value, BYTES, 1, SIZE), MAX_U32); break;
      case 'manner':
        manner = choice(key, value, ['unchanged', 'empty', 'busy', 'refuse', 'disconnect']);
        break;
      case 'start': startsAtLogin = choice(key, value, ['authenticated', 'login']) === 'login'; break;
      case 'upgrades': countsUpgrades = choice(key, value, ['count', 'ignore']) === 'count'; break;
      case 'busy-after': busyAfter = number(key, value); break;
      default:
        refuse(key, value, `unknown setting; known settings: ${DESCRIPTIONS.map(([name]) => name).join(', ')}`);
    }
  }
}

const PASS = {};

// What is remembered about a user: when the clock was started, as Unix time and as a number made of
// date and millisecond, and the upgrades since a login passed.
const dayOf = ({ date }) => (date.year * 16 + date.month) * 32 + date.day;
const started = (time, upgrades) => ({
  // 0 is for a clock that is not running.
  first: Math.max(time.unix, 1),
  second: dayOf(time) * 1000 + time.millisecond,
  third: upgrades,
  fourth: 0,
});

// Seconds until a login would pass; 0 if this one does.
function wait(memory, time) {
  if (memory.first === 0) return 0;
  const { first, second } = memory;
  if (dailyReset && Math.floor(second / 1000) !== dayOf(time)) return 0;
  const elapsed = (time.unix - first) * 1000 + time.millisecond - (second % 1000);
  // If the clock was set back, the user passes.
  if (elapsed < 0 || elapsed >= intervalMs) return 0;
  const seconds = Math.min(Math.ceil((intervalMs - elapsed) / 1000), MAX_U32);
  return dailyReset ? Math.min(seconds, 86_400 - time.secondOfDay) : seconds;
}

// Above a limit, all users are forgotten. If the store has no room for another user, too.
function limitMemory() {
  const used = store.usage();
  if (used > memoryLimit) {
    log.line('info', 'memory-limit reached: every user is forgotten');
    store.clear();
  } else if (used > store.quota() - ENTRY_BYTES) {
    log.line('warn', "the store's quota is nearly reached before memory-limit: every user is forgotten");
    store.clear();
  }
}

function decide(login, memory) {
  if (intervalMs === 0) return PASS;
  const retryAfter = wait(memory, login.time);
  if (retryAfter === 0) {
    if (!startsAtLogin) return PASS;
    limitMemory();
    // Of simultaneous logins, the first to be remembered passes; the others are decided again.
    return { remember: started(login.time, 0) };
  }
  // If the password is not known, let the mail server answer.
  if ((manner === 'refuse' || manner === 'disconnect') && login.standing !== 'known') return PASS;
  return { deny: busyAfter > 0 && memory.third >= busyAfter ? 'busy' : manner, retryAfter };
}

function observe(outcome, memory) {
  if (intervalMs === 0 || outcome.ending !== 'authenticated') return undefined;
  const upgrades = outcome.upgrade ? Math.min(memory.third + 1, MAX_U32) : 0;
  limitMemory();
  const restarts = outcome.upgrade ? countsUpgrades : !startsAtLogin;
  return restarts ? started(outcome.time, upgrades) : { ...memory, third: upgrades };
}

const describe = () => DESCRIPTIONS.map(([name, type, value, doc]) => ({ name, type, default: value, doc }));

export const handler = { configure, decide, observe };
export const settings = { describe };
