// Looks at a dashboard that shows nothing without a token. Arguments: URL, token, a folder for
// pictures.

import { check, complaints, examine, launch, until } from './browser.mjs';

const [url, token, folder] = process.argv.slice(2);
const browser = await launch();
for (const colorScheme of ['light', 'dark']) {
  const page = await (await browser.newContext({ colorScheme })).newPage();
  const complained = complaints(page);
  await page.goto(url);
  const field = page.locator('#ask-token');
  await field.waitFor();
  const all = await page.evaluate(() => document.body.innerText);
  check(!all.includes('pop3'), `something is shown without a token: ${all}`);
  await examine(page, `the question for a token, ${colorScheme}`);
  await page.screenshot({ path: `${folder}/token-${colorScheme}.png` });
  await field.fill('not-the-right-token');
  await page.keyboard.press('Enter');
  await until('the wrong token is refused', async () =>
    ((await page.locator('#ask-error').innerText()) === 'The token is wrong.' ? null : 'no word'));
  check(await page.locator('#board').isHidden(), 'something is shown for a wrong token');
  await field.fill(token);
  await page.keyboard.press('Enter');
  await page.locator('#board').waitFor();
  check((await page.locator('#servers').innerText()).includes('pop3'), 'the board is empty');
  // It is a token for reading: no change is offered for it.
  await page.getByRole('button', { name: 'Make changes…' }).click();
  await page.locator('#dialog-token').fill(token);
  await page.keyboard.press('Enter');
  await until('it is for reading only', async () =>
    ((await page.locator('#dialog-error').innerText()).includes('read-only') ? null : 'no word'));
  const odd = complained.filter((one) => !one.includes('401'));
  check(odd.length === 0, odd.join('\n'));
}
await browser.close();
