// The default policy, `interval`, ported to JavaScript: the same settings and verdicts.
import * as store from 'reprieve:policy/store@0.1.0';
import * as log from 'reprieve:policy/log@0.1.0';

const DURATION = 'a duration reads like "90s", "10m" or "1h"';
const SIZE = 'a size reads like "100KiB" or "32MiB"';
const KNOWN = 'known settings: interval, reset, memory-limit, manner, start';
const MILLISECONDS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const BYTES = { '': 1, B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };
const MAX_SECONDS = 2 ** 32 - 1;

const settings = {
  intervalMs: 600_000,
  memoryLimit: 32 * 2 ** 20,
  reset: 'daily',
  manner: 'unchanged',
  start: 'authenticated',
};

function refuse(key, value, right) {
  throw `\`${key}\` is "${value.slice(0, 200)}"; ${right}`;
}

function amount(key, value, units, right) {
  const [, number, unit] = /^([0-9]+) *([A-Za-z]*)$/.exec(value) ?? refuse(key, value, right);
  const amount = Number(number) * (Object.hasOwn(units, unit) ? units[unit] : refuse(key, value, right));
  // Larger numbers are not exact.
  return Number.isSafeInteger(amount) ? amount : refuse(key, value, right);
}

function choice(key, value, words) {
  if (words.includes(value)) return value;
  refuse(key, value, `it can be ${words.map((word) => `"${word}"`).join(', ')}`);
}

export function configure(given) {
  for (const [key, value] of given) {
    switch (key) {
      case 'interval': settings.intervalMs = amount(key, value, MILLISECONDS, DURATION); break;
      case 'memory-limit': settings.memoryLimit = amount(key, value, BYTES, SIZE); break;
      case 'reset': settings.reset = choice(key, value, ['daily', 'never']); break;
      case 'start': settings.start = choice(key, value, ['authenticated', 'login']); break;
      case 'manner':
        settings.manner = choice(key, value, ['unchanged', 'empty', 'busy', 'refuse', 'disconnect']);
        break;
      default: refuse(key, value, `unknown setting; ${KNOWN}`);
    }
  }
}

const pass = () => ({ tag: 'pass', val: { delayMs: 0 } });

function deny(standing, retryAfter) {
  // If the password is not known, let the mail server answer.
  if ((settings.manner === 'refuse' || settings.manner === 'disconnect') && standing !== 'known') return pass();
  return {
    tag: 'deny',
    val: {
      manner: settings.manner,
      retryAfter: Math.min(retryAfter, MAX_SECONDS),
      reason: 'too-soon',
      delayMs: 0,
    },
  };
}

// The store's key, one per maildrop: a master user has one for each maildrop that they open. User
// names contain no NUL.
const keyOf = ({ user, authorizationId: acting }) => (typeof acting === 'string' ? `${user}\0${acting}` : user);

// A stamp of twelve bytes: the time, and the date packed into a number.
function stampOf(time) {
  const bytes = new Uint8Array(12);
  const view = new DataView(bytes.buffer);
  const ms = Number(time.unixMs);
  view.setUint32(0, ms % 2 ** 32, true);
  view.setUint32(4, Math.floor(ms / 2 ** 32), true);
  view.setInt32(8, (time.date.year * 16 + time.date.month) * 32 + time.date.day, true);
  return bytes;
}

function read(stamp) {
  const view = new DataView(stamp.buffer, stamp.byteOffset, stamp.byteLength);
  return { ms: view.getUint32(4, true) * 2 ** 32 + view.getUint32(0, true), day: view.getInt32(8, true) };
}

const ttl = () => Math.min(Math.ceil(settings.intervalMs / 1000), MAX_SECONDS);

// If the store refuses, it throws, with the reason as payload. If it cannot be reached, the call
// ends.
const reason = (error) => error?.payload ?? error;

function remember(key, stamp) {
  try {
    store.set(key, stamp, ttl());
  } catch (error) {
    if (reason(error) !== 'quota') return;
    log.line('warn', "the store's quota is reached before memory-limit: every user is forgotten");
    store.clear();
    try {
      store.set(key, stamp, ttl());
    } catch {
      // Too large even for an empty store.
    }
  }
}

// Seconds until a login would pass; undefined if this one does.
function wait(found, now, secondOfDay) {
  if (found?.length !== 12) return undefined;
  const [last, at] = [read(found), read(now)];
  if (settings.reset === 'daily' && last.day !== at.day) return undefined;
  // If the clock was set back, the user passes.
  if (at.ms < last.ms || at.ms - last.ms >= settings.intervalMs) return undefined;
  const seconds = Math.ceil((settings.intervalMs - (at.ms - last.ms)) / 1000);
  return settings.reset === 'daily' ? Math.min(seconds, Math.max(0, 86_400 - secondOfDay)) : seconds;
}

export function decide(login) {
  if (settings.intervalMs === 0) return pass();
  if (Number(store.usage()) > settings.memoryLimit) {
    log.line('info', 'memory-limit reached: every user is forgotten');
    store.clear();
  }
  const key = keyOf(login.claim);
  const now = stampOf(login.time);
  const found = store.get(key);
  const seconds = wait(found, now, login.time.secondOfDay);
  if (seconds !== undefined) return deny(login.claim.standing, seconds);
  if (settings.start === 'login') {
    // Of simultaneous logins, the first to write passes.
    try {
      const written = found ? store.compareAndSet(key, found, now, ttl()) : store.add(key, now, ttl());
      if (!written) return deny(login.claim.standing, Math.ceil(settings.intervalMs / 1000));
    } catch {
      remember(key, now);
    }
  }
  return pass();
}

export function observe(outcome) {
  if (settings.start === 'authenticated' && settings.intervalMs > 0 && outcome.ending === 'authenticated') {
    remember(keyOf(outcome.claim), stampOf(outcome.time));
  }
}
