// Answers in the mail server's place during maintenance, except for some users.
import * as answer from 'reprieve:policy/answer@0.2.0';
import * as claim from 'reprieve:policy/claim@0.2.0';
import * as lookup from 'reprieve:policy/lookup@0.2.0';
import type { Setting } from 'reprieve:policy/settings@0.2.0';
import type { Login, Moment, Verdict } from 'reprieve:policy/types@0.2.0';

interface Window {
  // A weekday, a date such as 2026-12-24, or `daily`.
  day: string;
  // Seconds since midnight.
  begin: number;
  end: number;
}

const WEEKDAYS: readonly string[] = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'];
const RIGHT = 'it reads like "sun 02:00-04:00, 2026-12-24 18:00-24:00, daily 03:00-03:10"';

const DESCRIPTIONS: readonly Setting[] = [
  { name: 'windows', type: 'text', default: '', doc: 'Days and times of maintenance, separated by commas.' },
  { name: 'except', type: 'text', default: '', doc: 'Users who are let through, separated by commas.' },
  { name: 'table', type: 'text', default: '', doc: 'Lookup table of users who are let through.' },
];

let windows: Window[] = [];
let exceptions = new Set<string>();
let table = '';

function secondOfDay(text: string): number {
  const [hours = NaN, minutes = NaN] = text.split(':').map(Number);
  const second = hours * 3600 + minutes * 60;
  return minutes <= 59 && second <= 86_400 ? second : NaN;
}

function parseWindow(key: string, text: string): Window {
  const [, day = '', from = '', to = ''] = /^(\S+) (\d\d:\d\d)-(\d\d:\d\d)$/.exec(text) ?? [];
  const isDay = day === 'daily' || WEEKDAYS.includes(day) || /^\d{4}-\d\d-\d\d$/.test(day);
  const [begin, end] = [secondOfDay(from), secondOfDay(to)];
  if (!isDay || !(begin < end)) throw `\`${key}\` has "${text.slice(0, 40)}"; ${RIGHT}`;
  return { day, begin, end };
}

const list = (value: string): string[] =>
  value.split(',').map((part) => part.trim()).filter((part) => part !== '');

function configure(given: [string, string][]): void {
  for (const [key, value] of given) {
    if (key === 'windows') windows = list(value).map((text) => parseWindow(key, text));
    else if (key === 'except') exceptions = new Set(list(value));
    else if (key === 'table') table = value;
    else throw `unknown setting \`${key}\`; known settings: ${DESCRIPTIONS.map(({ name }) => name).join(', ')}`;
  }
}

// Seconds until the end of the maintenance at this time; undefined if there is none.
function left({ date, weekday, secondOfDay }: Moment): number | undefined {
  const pad = (number: number, length: number) => String(number).padStart(length, '0');
  const days = ['daily', weekday.slice(0, 3), `${pad(date.year, 4)}-${pad(date.month, 2)}-${pad(date.day, 2)}`];
  const current = windows.find(({ day, begin, end }) => days.includes(day) && begin <= secondOfDay && secondOfDay < end);
  return current && current.end - secondOfDay;
}

function isException(): boolean {
  const user = claim.user();
  return exceptions.has(user) || (table !== '' && lookup.contains(table, user));
}

function decide(login: Login): Verdict {
  const retryAfter = left(login.time);
  if (retryAfter === undefined || isException()) return {};
  answer.reason('maintenance');
  // Users who are not known, whose maildrop is not known, or who have new mail must not reach the mail
  // server either.
  answer.otherwise('refuse');
  answer.despiteNewMail();
  answer.code('sys-temp');
  answer.text('maintenance, please try again later');
  return { deny: 'unchanged', retryAfter };
}

export const handler = { configure, decide, observe: () => undefined };
export const settings = { describe: (): Setting[] => [...DESCRIPTIONS] };
