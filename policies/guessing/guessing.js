// Slows down, and then refuses, logins from networks with many failed logins.
import * as answer from 'reprieve:policy/answer@0.2.0';
import * as client from 'reprieve:policy/client@0.2.0';
import * as details from 'reprieve:policy/outcome-details@0.2.0';
import * as store from 'reprieve:policy/store@0.2.0';

// Each setting is a number: name, default, maximum and description.
const NUMBERS = [
  ['delay-after', 5, 1e9, 'Failed logins of a network after which further ones are delayed.'],
  ['refuse-after', 20, 1e9, 'Failed logins of a network after which further ones are refused.'],
  ['delay-ms', 2000, 60_000, 'How long a login is delayed, in milliseconds.'],
  ['window-minutes', 60, 1_000_000, 'Minutes after the first failed login until the network starts again from zero.'],
  ['ipv4-prefix', 24, 32, 'Length of the IPv4 prefix that makes a network.'],
  ['ipv6-prefix', 56, 128, 'Length of the IPv6 prefix that makes a network.'],
];

const chosen = Object.fromEntries(NUMBERS.map(([name, value]) => [name, value]));

function configure(given) {
  for (const [key, value] of given) {
    const [, , most] = NUMBERS.find(([name]) => name === key) ?? [];
    if (most === undefined) {
      throw `unknown setting \`${key}\`; known settings: ${NUMBERS.map(([name]) => name).join(', ')}`;
    }
    if (!/^[0-9]+$/.test(value) || Number(value) > most) {
      throw `\`${key}\` is "${value.slice(0, 40)}"; it is a number from 0 to ${most}`;
    }
    chosen[key] = Number(value);
  }
}

const counter = () => `failures:${client.peerNetwork(chosen['ipv4-prefix'], chosen['ipv6-prefix'])}`;

function decide(login) {
  // A password that the mail server has accepted before is not a guess.
  if (login.standing === 'known') return {};
  const failures = store.getNumber(counter()) ?? 0;
  if (failures >= chosen['refuse-after']) {
    answer.reason('guessing');
    // Not AUTH: the mail program would ask the user for another password.
    answer.code('sys-temp');
    answer.text('too many failed logins from your network, try again later');
    return { deny: 'refuse', retryAfter: store.timeToLive(counter()) ?? undefined };
  }
  if (failures >= chosen['delay-after']) answer.delayMs(chosen['delay-ms']);
  return {};
}

function observe(outcome) {
  if (outcome.ending !== 'rejected') return undefined;
  // Other codes, such as SYS/TEMP, say nothing about the password.
  const code = details.responseCode() ?? 'AUTH';
  if (code === 'AUTH') store.increment(counter(), 1, chosen['window-minutes'] * 60);
  return undefined;
}

const describe = () =>
  NUMBERS.map(([name, value, , doc]) => ({ name, type: 'number', default: String(value), doc }));

export const handler = { configure, decide, observe };
export const settings = { describe };
