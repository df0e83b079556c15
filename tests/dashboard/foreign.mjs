// Pages of strangers, in the administrator's browser: what they try at the dashboard. Arguments:
// the dashboard's port, and the path of a node.

import { createServer } from 'node:http';
import { check, fail, launch, until } from './browser.mjs';

const [port, node] = process.argv.slice(2);
const target = `http://127.0.0.1:${port}`;
const stranger = createServer((request, response) => {
  response.setHeader('content-type', 'text/html');
  response.end('<!DOCTYPE html><title>a stranger</title><iframe name="hidden"></iframe>');
});
await new Promise((done) => { stranger.listen(0, '127.0.0.1', done); });
const own = stranger.address().port;
const browser = await launch(['stranger.example', 'rebound.example']);

// Another site, and another port of the same one, which browsers call the same site.
for (const host of ['stranger.example', '127.0.0.1']) {
  const page = await (await browser.newContext()).newPage();
  const answers = new Map();
  page.on('response', (response) => {
    if (response.url().startsWith(target)) answers.set(`${response.request().method()} ${response.url().slice(target.length)}`, response.status());
  });
  await page.goto(`http://${host}:${own}/`);
  const got = await page.evaluate(async ({ target, node }) => {
    const tried = {};
    const read = async (name, path, options) => {
      try {
        const response = await fetch(target + path, options);
        tried[name] = response.type === 'opaque' ? 'opaque' : `read: ${await response.text()}`;
      } catch {
        tried[name] = 'refused';
      }
    };
    const json = { 'content-type': 'application/json' };
    await read('read', '/status');
    await read('read with a header', '/status', { headers: { authorization: 'Bearer x' } });
    await read('read blindly', '/status', { mode: 'no-cors' });
    await read('events', '/events');
    await read('change', node, { method: 'PUT', headers: json, body: '{"mode":"disabled"}' });
    await read('change blindly', node, { method: 'POST', mode: 'no-cors', body: '{"mode":"disabled"}' });
    await read('forget', '/store/users/alice', { method: 'DELETE' });
    await read('list', '/store/page', { method: 'POST', mode: 'no-cors', body: '{}' });
    const heard = (node) => new Promise((done) => { node.onload = () => done('loaded'); node.onerror = () => done('refused'); });
    const script = document.createElement('script');
    script.src = `${target}/status`;
    document.body.append(script);
    tried.script = await heard(script);
    const image = document.createElement('img');
    image.src = `${target}/icon.svg`;
    document.body.append(image);
    tried.image = await heard(image);
    tried.stream = await new Promise((done) => {
      const source = new EventSource(`${target}/events`);
      source.onmessage = () => done('read');
      source.onerror = () => done('refused');
    });
    navigator.sendBeacon(target + node, '{"mode":"disabled"}');
    const form = document.createElement('form');
    Object.assign(form, { method: 'POST', action: target + node, target: 'hidden', enctype: 'text/plain' });
    const input = document.createElement('input');
    Object.assign(input, { name: '{"mode":"disabled","x":"', value: '"}' });
    form.append(input);
    document.body.append(form);
    form.submit();
    return tried;
  }, { target, node });
  for (const [name, came] of Object.entries(got)) {
    const fine = name.includes('blindly') || name === 'list' ? ['opaque', 'refused'] : ['refused'];
    check(fine.includes(came), `${host}: ${name}: ${came}`);
  }
  await until('the form is answered', async () => (answers.has(`POST ${node}`) ? null : [...answers]));
  for (const [request, status] of answers) {
    check(status === 403, `${host}: ${request} was answered ${status}`);
  }
  // In a frame it does not show.
  await page.evaluate((target) => {
    const frame = document.createElement('iframe');
    frame.src = `${target}/`;
    frame.name = 'framed';
    document.body.append(frame);
  }, target);
  await until('the frame stays empty', async () => {
    const framed = page.frame('framed');
    const url = framed ? framed.url() : '';
    if (url.startsWith(target)) fail('the dashboard shows in a frame of a stranger');
    return url.startsWith('chrome-error:') ? null : url;
  });
  // A link leads there.
  await page.evaluate((target) => { location.href = `${target}/`; }, target);
  await page.waitForURL(`${target}/`);
  await page.locator('#board').waitFor();
}

// A name of the stranger that leads to this machine is not answered, whatever is asked for.
const page = await (await browser.newContext()).newPage();
for (const path of ['/', '/status', '/events', '/icon.svg', '/metrics']) {
  const response = await page.goto(`http://rebound.example:${port}${path}`);
  check(response.status() === 421, `rebinding: ${path} was answered ${response.status()}`);
}
// Nor is a change made from there; the answer before forbids its own page to ask at all.
const changed = await page.evaluate((node) => {
  const change = { method: 'PUT', headers: { 'content-type': 'application/json' }, body: '{"mode":"disabled"}' };
  return fetch(node, change).then((response) => response.status, () => 'refused');
}, node);
check([421, 'refused'].includes(changed), `rebinding: a change was answered ${changed}`);
await browser.close();
stranger.close();
