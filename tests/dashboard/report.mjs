// Looks at a replay's report, light and dark, wide and narrow, and printed. Arguments: its URL, a
// name for pictures, the relief and the number of relieved logins that it must show, a folder.

import { check, complaints, examine, launch } from './browser.mjs';

const [url, name, relief, relieved, folder] = process.argv.slice(2);

const browser = await launch();
for (const [size, viewport] of [['wide', { width: 1280, height: 900 }], ['narrow', { width: 375, height: 812 }]]) {
  for (const colorScheme of ['light', 'dark']) {
    const where = `${name}, ${size}, ${colorScheme}`;
    const context = await browser.newContext({ viewport, colorScheme, deviceScaleFactor: 1 });
    const page = await context.newPage();
    const complained = complaints(page);
    const asked = [];
    page.on('request', (request) => asked.push(request.url()));
    await page.goto(url);
    const figure = (title) => page.locator('dl.figures > div', { has: page.getByText(title, { exact: true }) }).locator('dd.value').innerText();
    check(await figure('Relief') === relief, `${where}: relief is ${await figure('Relief')}`);
    check(await figure('Relieved') === relieved, `${where}: relieved are ${await figure('Relieved')}`);
    const charts = await page.locator('figure > svg:visible').count();
    check(charts === 1, `${where}: ${charts} charts are to be seen`);
    await page.screenshot({ path: `${folder}/${name}-${size}-${colorScheme}.png`, fullPage: true });
    for (const summary of await page.locator('summary').all()) await summary.click();
    await examine(page, where);
    const { inner, outer } = await page.evaluate(() => ({ inner: document.documentElement.scrollWidth, outer: innerWidth }));
    check(inner <= outer, `${where}: the page is ${inner} wide, the window ${outer}`);
    check(complained.length === 0, `${where}: ${complained.join('\n')}`);
    check(asked.length === 1, `${where}: it asks for ${asked.join(', ')}`);
    await context.close();
  }
}
await browser.close();
