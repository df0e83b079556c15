// Looks at the dashboard while sessions run, and after. Arguments: URL, token, a folder for
// pictures. Says "moving" once the numbers on the page have risen; when a line comes back the
// sessions have ended, and the page must say what /status says.

import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { check, complaints, examine, launch, until } from './browser.mjs';

const [url, token, folder] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });

const browser = await launch();
const open = async (options) => {
  const context = await browser.newContext({ reducedMotion: 'reduce', ...options });
  const page = await context.newPage();
  const complained = complaints(page);
  await page.goto(url);
  await page.waitForSelector('#board:not([hidden])');
  return { page, complained, context };
};

const field = (page, row, name) =>
  page.locator(`[data-row="${row}"][data-field="${name}"]`).innerText().then((text) => Number(text.replaceAll(',', '')));
const status = () => fetch(`${url}status`).then((response) => response.json());

// While sessions run.
const wide = { viewport: { width: 1280, height: 900 }, colorScheme: 'light' };
const { page, complained } = await open(wide);
const before = await field(page, 'pop3', 'polls');
await until('the numbers rise', async () => {
  const now = await field(page, 'pop3', 'polls');
  return now > before + 20 ? null : { before, now };
});
await until('there is relief', async () => ((await page.locator('#now-relief').innerText()).includes('%') ? null : '–'));

for (const [name, viewport] of [['wide', { width: 1280, height: 900 }], ['narrow', { width: 375, height: 812 }]]) {
  for (const colorScheme of ['light', 'dark']) {
    const { page, complained, context } = await open({ viewport, colorScheme, deviceScaleFactor: 1 });
    await until('the chart is drawn', async () => {
      const said = await page.locator('#chart').getAttribute('aria-label');
      return /: [1-9][\d,]* polls/.test(said) ? null : said;
    });
    await page.locator('#log li').first().waitFor();
    await page.locator('#top-pollers tbody tr').first().waitFor();
    await page.screenshot({ path: `${folder}/${name}-${colorScheme}.png`, fullPage: true });
    await page.locator('summary').click();
    await examine(page, `${name}, ${colorScheme}`);
    const { inner, outer } = await page.evaluate(() => ({ inner: document.documentElement.scrollWidth, outer: innerWidth }));
    check(inner <= outer, `${name}: the page is ${inner} wide, the window ${outer}`);
    check(complained.length === 0, `${name}, ${colorScheme}: ${complained.join('\n')}`);
    await context.close();
  }
}

console.log('moving');
process.stdin.resume();
await once(process.stdin, 'data');
process.stdin.pause();

// At rest, each number is the one that the counters have.
const compared = {};
await until('the page says what /status says', async () => {
  const truth = await status();
  const wrong = [];
  const compare = async (row, name, is) => {
    const shown = await field(page, row, name);
    compared[`${row || 'all'} ${name}`] = shown;
    if (shown !== is) wrong.push(`${row || 'all'} ${name}: page ${shown}, status ${is}`);
  };
  for (const server of truth.virtual_servers) {
    for (const name of ['passed', 'denied', 'relieved', 'upgrades', 'sessions']) {
      await compare(server.name, name, server.counters[name]);
    }
    await compare(server.name, 'polls', server.counters.passed + server.counters.denied);
    await compare(server.name, 'policy-calls', server.policy.calls);
    await compare(server.name, 'policy-failures', server.policy.failures);
  }
  for (const name of ['passed', 'denied', 'relieved']) await compare('', name, truth[name]);
  for (const pool of truth.pools) {
    for (const node of pool.nodes) await compare(`${pool.name}/${node.name}`, 'node-sessions', node.sessions);
  }
  // The day is counted apart from the counters, and comes to the same.
  const polls = truth.passed + truth.denied;
  const day = await page.locator('#day-sub').innerText();
  if (day !== `of ${polls.toLocaleString('en')} polls`) wrong.push(`day: ${day}, status ${polls}`);
  const relief = await page.locator('#day-relief').innerText();
  const right = `${((100 * truth.relieved) / polls).toFixed(1)} %`;
  if (relief !== right) wrong.push(`relief of the day: ${relief}, status ${right}`);
  return wrong.length > 0 ? wrong : null;
});
console.log(JSON.stringify(compared));

// A change needs the right token.
const node = (await status()).pools[0].nodes[0];
const row = `mail/${node.name}`;
const button = page.getByRole('button', { name: new RegExp(`${node.name.replaceAll('.', '\\.')}$`) });
check((await button.count()) === 0, 'there is nothing to press without a token');
await page.getByRole('button', { name: 'Make changes…' }).click();
await page.locator('#dialog-token').fill('not-the-right-token');
await page.getByRole('button', { name: 'Continue' }).click();
await until('the wrong token is refused', async () =>
  ((await page.locator('#dialog-error').innerText()) === 'The token is wrong.' ? null : 'no word'));
await examine(page, 'the dialog');
check((await button.count()) === 0, 'a wrong token opens nothing');
await page.locator('#dialog-token').fill(token);
await page.keyboard.press('Enter');
await button.click();
await until('it is drained', async () => {
  const mode = (await status()).pools[0].nodes[0].mode;
  const shown = await page.locator(`[data-row="${row}"][data-field="mode"]`).innerText();
  return mode === 'drain' && shown === 'drained' ? null : { mode, shown };
});
await page.screenshot({ path: `${folder}/changed.png`, fullPage: true });
await button.click();
await until('it is taken back', async () => ((await status()).pools[0].nodes[0].mode === 'enabled' ? null : 'not'));
await page.reload();
await page.getByRole('button', { name: 'Make changes…' }).waitFor();
const kept = await page.evaluate(() => localStorage.length + sessionStorage.length + document.cookie.length);
check(kept === 0, 'the token is kept beyond the page');
// What the wrong token was answered is the only complaint.
const odd = complained.filter((one) => !one.includes('401'));
check(odd.length === 0, odd.join('\n'));

// Without scripts.
const context = await browser.newContext({ javaScriptEnabled: false });
const still = await context.newPage();
await still.goto(url);
const said = await still.locator('noscript').innerText();
const truth = await status();
check(said.includes(`${truth.passed} passed, ${truth.denied} denied`), `without scripts: ${said}`);

await browser.close();
