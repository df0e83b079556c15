// A headless Chromium, and words for what a test waits for in it.

import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const tools = fileURLToPath(new URL('../../target/test-tools/node/', import.meta.url));
const require = createRequire(tools);
const { chromium } = require('playwright-core');

/** The source of axe-core. */
export const axe = require('axe-core').source;

/** How long anything may take before it is called missing. */
export const DEADLINE = 60_000;

/** Starts the browser. `names`: hosts that are all this machine. */
export const launch = (names = []) => chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: [
    '--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update',
    '--no-first-run', `--host-resolver-rules=${names.map((name) => `MAP ${name} 127.0.0.1`).join(', ')}`,
  ],
});

export const fail = (what) => {
  console.error(what);
  process.exit(1);
};

export const check = (holds, what) => {
  if (!holds) fail(what);
};

/** Waits until something holds; fails with what it last said otherwise. */
export const until = async (what, look) => {
  const end = Date.now() + DEADLINE;
  for (;;) {
    const wrong = await look();
    if (!wrong) return;
    if (Date.now() > end) fail(`still not so: ${what}: ${JSON.stringify(wrong)}`);
    await new Promise((done) => { setTimeout(done, 100); });
  }
};

/** Fails where axe-core finds anything wrong with the page. */
export const examine = async (page, where) => {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  const told = violations.map((one) =>
    `${one.id} (${one.impact}): ${one.help}\n${one.nodes.map((node) => `  ${node.target}: ${node.failureSummary}`).join('\n')}`);
  check(told.length === 0, `axe-core, ${where}:\n${told.join('\n')}`);
};

/** Collects what a page complains of. */
export const complaints = (page) => {
  const all = [];
  page.on('pageerror', (error) => all.push(`error: ${error}`));
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) all.push(`${message.type()}: ${message.text()}`);
  });
  return all;
};
