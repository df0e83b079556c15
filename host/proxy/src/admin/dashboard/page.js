// Shows the status that Reprieve sends once per second. All data is inserted as text, never as markup.
'use strict';
(() => {
  const $ = (id) => document.getElementById(id);

  // State.
  let token = null;            // kept in memory only, until the page is closed
  let access = null;           // what the token, or its absence, allows
  let latest = null;           // the latest event
  let day = null;              // minutes of each virtual server: {minute, servers: Map}
  let shownLine = -1;          // number of the newest log line shown
  let picked = '';             // virtual server shown in the chart; '' for all
  let stopping = null;         // aborts the current connection

  // ---- Numbers and times

  const wholes = new Intl.NumberFormat('en');
  const whole = (number) => wholes.format(number);
  const tenth = (number) => number.toLocaleString('en', { minimumFractionDigits: 1, maximumFractionDigits: 1 });
  const rate = (number) => (number >= 100 ? whole(Math.round(number)) : tenth(number));
  const share = (part, of) => (of > 0 ? `${tenth((100 * part) / of)} %` : '–');
  const plural = (number, one, more) => `${whole(number)} ${number === 1 ? one : more}`;
  const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
  const clockWithSeconds = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
  const wait = (us) => (us >= 1000 ? `${tenth(us / 1000)} ms` : `${tenth(us)} µs`);
  const age = (seconds) => {
    const [d, h, m] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
    if (d > 0) return `${d} d ${h} h`;
    if (h > 0) return `${h} h ${m} min`;
    return m > 0 ? `${m} min` : `${seconds} s`;
  };

  // ---- The page

  // Names and error texts come from others: control, direction and invisible characters are made visible.
  const plain = (text) =>
    String(text).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (one) => `\\u{${one.codePointAt(0).toString(16)}}`);
  // Sets a text only if it has changed, so that selections and screen readers are not disturbed.
  const put = (node, text) => {
    const shown = plain(text);
    if (node.textContent !== shown) node.textContent = shown;
  };
  const set = (node, name, value) => {
    const shown = plain(value);
    if (node.getAttribute(name) !== shown) node.setAttribute(name, shown);
  };
  const make = (name, kind, text) => {
    const node = document.createElement(name);
    if (kind) node.className = kind;
    if (text !== undefined) node.textContent = plain(text);
    return node;
  };
  const draw = (name, attributes) => {
    const node = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };

  // A cell is a list of parts: {text, kind} or {bar: 0…1}.
  const fill = (cell, parts) => {
    while (cell.childNodes.length > parts.length) cell.lastChild.remove();
    parts.forEach((part, index) => {
      let node = cell.childNodes[index];
      if (!node) {
        node = make('span');
        cell.append(node);
      }
      if (part.bar === undefined) {
        if (node.firstElementChild) node.replaceChildren();
        set(node, 'class', part.kind || 'name');
        put(node, part.text);
      } else {
        if (!node.firstElementChild) node.replaceChildren(make('span', 'fill'));
        set(node, 'class', 'bar');
        set(node, 'aria-hidden', 'true');
        const width = `${(100 * part.bar).toFixed(1)}%`;
        if (node.firstElementChild.style.width !== width) node.firstElementChild.style.width = width;
      }
    });
  };

  // A table that keeps its row elements across updates. Roles are explicit because narrow screens
  // show rows as cards, and `display` other than `table` removes the implicit roles.
  const table = (id, columns) => {
    const root = $(id);
    root.classList.add('cards');
    set(root, 'role', 'table');
    const head = make('thead');
    const body = make('tbody');
    const foot = make('tfoot');
    for (const group of [head, body, foot]) set(group, 'role', 'rowgroup');
    const titles = make('tr');
    set(titles, 'role', 'row');
    for (const column of columns) {
      const title = make('th', column.kind, column.title);
      if (column.hidesTitle) title.replaceChildren(make('span', 'visually-hidden', column.title));
      set(title, 'scope', 'col');
      set(title, 'role', 'columnheader');
      titles.append(title);
    }
    head.append(titles);
    root.append(head, body);
    const rows = new Map();
    const row = (item, key, group) => {
      let known = rows.get(key);
      if (!known) {
        const tr = make('tr');
        set(tr, 'role', 'row');
        const cells = columns.map((column, index) => {
          const cell = make(index === 0 ? 'th' : 'td', column.kind);
          if (index === 0) {
            set(cell, 'scope', 'row');
            set(cell, 'role', 'rowheader');
          } else {
            set(cell, 'role', 'cell');
            if (!column.hidesTitle) set(cell, 'data-label', column.title);
          }
          if (column.field) {
            set(cell, 'data-field', column.field);
            set(cell, 'data-row', key);
          }
          tr.append(cell);
          return cell;
        });
        known = { tr, cells };
        rows.set(key, known);
      }
      if (known.tr.parentNode !== group) group.append(known.tr);
      columns.forEach((column, index) => {
        const cell = known.cells[index];
        if (column.fill) column.fill(cell, item);
        else fill(cell, column.parts(item));
        cell.classList.toggle('blank', cell.textContent === '');
      });
      return known.tr;
    };
    return (items, keyOf, total) => {
      const wanted = new Set(items.map(keyOf));
      if (total) wanted.add('');
      for (const [key, { tr }] of rows) {
        if (!wanted.has(key)) {
          tr.remove();
          rows.delete(key);
        }
      }
      let before = null;
      for (const item of items) {
        const tr = row(item, keyOf(item), body);
        const place = before ? before.nextSibling : body.firstChild;
        if (tr !== place) body.insertBefore(tr, place);
        before = tr;
      }
      if (total) {
        row(total, '', foot);
        root.append(foot);
      } else {
        foot.remove();
      }
    };
  };

  const text = (of, kind) => (item) => [{ text: of(item), kind }];
  const count = (of) => (item) => [{ text: whole(of(item)) }];

  const polls = (counters) => counters.passed + counters.denied;
  const showServers = table('servers', [
    { title: 'Name', parts: (one) => [{ text: one.name }, { text: one.addresses.join(', '), kind: 'under' }] },
    { title: 'Polls per second', kind: 'n', parts: text((one) => rate(polls(one.recent) / one.recent.seconds)) },
    {
      title: 'Relief now',
      kind: 'n',
      parts: (one) => {
        const parts = [{ text: share(one.recent.relieved, polls(one.recent)) }];
        if (polls(one.recent) > 0) parts.push({ bar: one.recent.relieved / polls(one.recent) });
        return parts;
      },
    },
    { title: 'Polls', kind: 'n', field: 'polls', parts: count((one) => polls(one.counters)) },
    { title: 'Passed', kind: 'n', field: 'passed', parts: count((one) => one.counters.passed) },
    { title: 'Denied', kind: 'n', field: 'denied', parts: count((one) => one.counters.denied) },
    { title: 'Relieved', kind: 'n', field: 'relieved', parts: count((one) => one.counters.relieved) },
    { title: 'Relief', kind: 'n', field: 'relief', parts: text((one) => share(one.counters.relieved, polls(one.counters))) },
    { title: 'Upgraded', kind: 'n', field: 'upgrades', parts: count((one) => one.counters.upgrades) },
    { title: 'Sessions', kind: 'n', field: 'sessions', parts: count((one) => one.counters.sessions) },
  ]);

  const MODES = { drain: 'drained', disabled: 'disabled' };
  const showNodes = table('nodes', [
    {
      title: 'Address',
      parts: (node) => [{ text: node.name }, { text: `pool ${node.pool}${node.backup ? ', backup' : ''}`, kind: 'under' }],
    },
    {
      title: 'Health',
      field: 'health',
      parts: (node) => [node.healthy ? { text: '● up', kind: 'up' } : { text: '▲ down', kind: 'down' }],
    },
    {
      title: 'Mode',
      field: 'mode',
      parts: (node) => [{ text: MODES[node.mode] || node.mode, kind: MODES[node.mode] ? 'warn-text' : 'name' }],
    },
    { title: 'Sessions', kind: 'n', field: 'node-sessions', parts: count((node) => node.sessions) },
    {
      title: 'Last error',
      kind: 'wide',
      parts: (node) => (node.last_error ? [{ text: node.last_error, kind: 'name' }] : []),
    },
    {
      title: 'Change',
      hidesTitle: true,
      kind: 'n',
      fill: (cell, node) => {
        const wanted = canChange() ? (node.mode === 'enabled' ? 'drain' : 'enabled') : '';
        if (cell.dataset.wanted === wanted) return;
        cell.dataset.wanted = wanted;
        if (!wanted) {
          cell.replaceChildren();
          return;
        }
        const words = wanted === 'drain' ? 'Drain' : 'Enable';
        let button = cell.querySelector('button');
        if (!button) {
          button = make('button');
          button.type = 'button';
          button.addEventListener('click', () => change(node.pool, node.name, cell.dataset.wanted, button));
          cell.append(button);
        }
        button.replaceChildren(words, make('span', 'visually-hidden', ` ${node.name}`));
      },
    },
  ]);

  const showPolicies = table('policies', [
    { title: 'Virtual server', parts: text((one) => one.name) },
    {
      title: 'Component',
      parts: (one) => {
        const parts = [{ text: one.policy.component }];
        if (one.policy.version > 1) {
          parts.push({ text: `version ${whole(one.policy.version)} since the start`, kind: 'under' });
        }
        return parts;
      },
    },
    {
      title: 'Digest (SHA-256)',
      kind: 'wide',
      fill: (cell, one) => {
        let code = cell.firstElementChild;
        if (!code) {
          code = make('code', 'digest');
          cell.append(code);
        }
        put(code, one.policy.sha256);
      },
    },
    {
      title: 'State',
      parts: (one) => [one.policy.paused ? { text: '▲ paused', kind: 'down' } : { text: '● active', kind: 'up' }],
    },
    { title: 'Calls', kind: 'n', field: 'policy-calls', parts: count((one) => one.policy.calls) },
    { title: 'Failures', kind: 'n', field: 'policy-failures', parts: count((one) => one.policy.failures) },
  ]);

  const HEALTH = {
    healthy: { text: '● healthy', kind: 'up' },
    unreachable: { text: '▲ unreachable', kind: 'down' },
    'memory-only': { text: '▲ in memory only', kind: 'down' },
  };
  const showStores = table('stores', [
    {
      title: 'Backend',
      parts: (store) => {
        const parts = [{ text: store.backend }];
        if (store.location) parts.push({ text: store.location, kind: 'under' });
        return parts;
      },
    },
    {
      title: 'Health',
      kind: 'wide',
      parts: (store) => {
        const parts = [HEALTH[store.health.state] || { text: store.health.state }];
        if (store.health.reason) parts.push({ text: store.health.reason, kind: 'under' });
        return parts;
      },
    },
    { title: 'Operations', kind: 'n', parts: count((store) => store.operations) },
    {
      title: 'Average wait',
      kind: 'n',
      parts: text((store) => (store.operations > 0 ? wait(store.waited_us / store.operations) : '–')),
    },
    { title: 'Failed', kind: 'n', parts: count((store) => store.failures) },
    { title: 'Timed out', kind: 'n', parts: count((store) => store.timeouts) },
    { title: 'Outages', kind: 'n', parts: count((store) => store.outages) },
  ]);

  const showTopPollers = table('top-pollers', [
    { title: 'User', field: 'user', parts: text((one) => one.user) },
    { title: 'Virtual server', parts: text((one) => one.server) },
    {
      title: 'Polls',
      kind: 'n',
      parts: (one) => {
        const parts = [{ text: whole(one.polls) }];
        if (one.too_high_by > 0) parts.push({ text: `at least ${whole(one.polls - one.too_high_by)}`, kind: 'under' });
        return parts;
      },
    },
    { title: 'Denied', kind: 'n', parts: count((one) => one.denied) },
  ]);

  const showUnrelieved = table('unrelieved', [
    { title: 'User', field: 'user', parts: text((one) => one.user) },
    { title: 'Virtual server', parts: text((one) => one.server) },
    { title: 'Logins', kind: 'n', parts: count((one) => one.logins) },
    { title: 'Reason', parts: (one) => [{ text: one.reason }, { text: one.explanation, kind: 'under' }] },
  ]);

  const showShadow = table('shadow', [
    { title: 'Virtual server', parts: text((one) => one.name) },
    { title: 'Component', parts: text((one) => one.shadow.policy.component) },
    { title: 'Would pass', kind: 'n', field: 'would-pass', parts: count((one) => one.shadow.would_pass) },
    { title: 'Would deny', kind: 'n', field: 'would-deny', parts: count((one) => one.shadow.would_deny) },
    { title: 'Failed', kind: 'n', parts: count((one) => one.shadow.failures) },
    { title: 'Skipped', kind: 'n', parts: count((one) => one.shadow.skipped) },
    { title: 'CPU time', kind: 'n', parts: text((one) => `${tenth(one.shadow.cpu_s)} s`) },
    {
      title: 'Differences from the active policy',
      kind: 'wide',
      field: 'differences',
      parts: text((one) => {
        const kinds = Object.entries(one.shadow.differences).filter(([, number]) => number > 0);
        return kinds.length === 0 ? 'none' : kinds.map(([kind, number]) => `${kind} ${whole(number)}`).join(', ');
      }),
    },
  ]);

  // ---- What needs attention

  const findProblems = (status) => {
    const found = [];
    for (const pool of status.pools) {
      const taken = pool.nodes.filter((node) => node.mode !== 'disabled');
      if (taken.length > 0 && taken.every((node) => !node.healthy)) {
        found.push({ text: `Pool ${pool.name}: no mail server is reachable.` });
      }
      for (const node of taken) {
        if (!node.healthy) {
          const why = node.last_error ? `: ${node.last_error}` : '';
          found.push({ text: `Mail server ${node.name} is down${why}.` });
        }
      }
      for (const node of pool.nodes) {
        if (MODES[node.mode]) found.push({ text: `Mail server ${node.name} is ${MODES[node.mode]}.`, minor: true });
      }
      if (pool.queued > 0) {
        found.push({ text: `Pool ${pool.name}: ${plural(pool.queued, 'login waits', 'logins wait')} for a free session.`, minor: true });
      }
    }
    for (const one of status.virtual_servers) {
      if (one.policy.paused) {
        found.push({ text: `Virtual server ${one.name}: the policy is paused after repeated failures.` });
      }
    }
    for (const store of status.stores) {
      if (store.health.state !== 'healthy') {
        const state = store.health.state === 'memory-only' ? 'is in memory only' : 'is unreachable';
        found.push({ text: `Store ${store.location || store.backend} ${state}: ${store.health.reason}.` });
      }
    }
    return [...found.filter((one) => !one.minor), ...found.filter((one) => one.minor)];
  };

  let shownProblems = null;
  const showProblems = (found) => {
    const said = JSON.stringify(found);
    if (said === shownProblems) return;
    shownProblems = said;
    const box = $('attention-text');
    if (found.length === 0) {
      const line = make('p', 'ok');
      line.append(make('span', 'sign', '✓'), make('span', 'words', 'No problems.'));
      box.replaceChildren(line);
      return;
    }
    const list = make('ul', found.every((one) => one.minor) ? 'warn' : 'bad');
    for (const one of found) {
      const item = make('li', one.minor ? 'minor' : '');
      item.append(make('span', 'sign', one.minor ? '!' : '▲'), make('span', 'words', one.text));
      list.append(item);
    }
    box.replaceChildren(list);
  };

  // ---- The day

  // The minutes of the selected virtual servers, oldest first: [passed, denied, relieved].
  const minutes = () => {
    const sums = [];
    for (const [name, list] of day.servers) {
      if (picked !== '' && name !== picked) continue;
      const first = day.minute - list.length + 1;
      list.forEach((row, index) => {
        const at = first + index;
        const sum = (sums[at] ||= [0, 0, 0]);
        row.forEach((number, part) => { sum[part] += number; });
      });
    }
    const first = Math.max(0, day.minute - 24 * 60);
    return Array.from({ length: day.minute - first + 1 }, (_, index) => sums[first + index] || [0, 0, 0]);
  };

  const keepDay = (shown) => {
    day = { minute: shown.minute, servers: new Map(shown.servers.map((one) => [one.server, one.minutes])) };
  };

  // Returns true if updates were missed, so that the day must be requested again.
  const updateDay = () => {
    if (day === null || latest.minute < day.minute || latest.minute > day.minute + 1) return true;
    const moved = latest.minute - day.minute;
    day.minute = latest.minute;
    for (const list of day.servers.values()) {
      if (moved) list.push([0, 0, 0]);
      if (list.length > 24 * 60 + 1) list.shift();
    }
    for (const one of latest.last_minute) {
      let list = day.servers.get(one.server);
      if (!list) {
        list = [[0, 0, 0]];
        day.servers.set(one.server, list);
      }
      one.minutes.forEach((row, index) => {
        const at = list.length - one.minutes.length + index;
        if (at >= 0) list[at] = row;
      });
    }
    return false;
  };

  const SPANS = [60, 180, 360, 720, 1440];
  let bars = [];
  let frame = null;

  // Up to four round numbers for an axis.
  const steps = (most) => {
    const size = 10 ** Math.floor(Math.log10(Math.max(most, 1) / 3));
    const step = [1, 2, 5, 10].map((factor) => factor * size).find((one) => most / one <= 4) || size;
    const least = Math.max(step, 1);
    return Array.from({ length: Math.ceil(Math.max(most, least) / least) + 1 }, (_, index) => index * least);
  };

  const showChart = () => {
    const svg = $('chart');
    const width = svg.clientWidth;
    const height = svg.clientHeight;
    if (!day || width < 50) return;
    const all = minutes();
    const span = SPANS.find((one) => all.length <= one) || 1440;
    const list = all.slice(-span);
    // Minutes per bar, so that a bar is wide enough to see.
    const size = [1, 2, 5, 10, 15].find((one) => (width - 60) / (span / one) >= 3) || 30;
    const last = day.minute;
    const first = last - span + 1;
    bars = [];
    for (let at = Math.floor(first / size) * size; at <= last; at += size) {
      const bar = { from: Math.max(at, first), to: Math.min(at + size - 1, last), polls: 0, relieved: 0 };
      for (let minute = bar.from; minute <= bar.to; minute += 1) {
        const row = list[minute - (last - list.length + 1)];
        if (row) {
          bar.polls += row[0] + row[1];
          bar.relieved += Math.min(row[2], row[0] + row[1]);
        }
      }
      bar.minutes = bar.to - bar.from + 1;
      bars.push(bar);
    }
    const barRate = (bar) => bar.polls / bar.minutes;
    const most = Math.max(1, ...bars.map(barRate));
    const ticks = steps(most);
    const top = ticks[ticks.length - 1];
    const left = 12 + 7.5 * whole(ticks[ticks.length - 1]).length;
    const [right, high, low] = [width - 1, 8, height - 24];
    const x = (minute) => left + ((right - left) * (minute - first)) / span;
    const y = (polls) => low - ((low - high) * polls) / top;
    frame = { left, right, high, low, first, span, x };
    const nodes = [];
    for (const tick of ticks) {
      const line = { x1: left, x2: right, y1: y(tick), y2: y(tick), class: tick === 0 ? 'base' : 'grid' };
      nodes.push(draw('line', line));
      const label = draw('text', { x: left - 8, y: y(tick) + 4, 'text-anchor': 'end' });
      label.textContent = whole(tick);
      nodes.push(label);
    }
    let [relieved, reached] = ['', ''];
    const gap = (right - left) / (span / size) > 6 ? 1 : 0;
    for (const bar of bars) {
      if (bar.polls === 0) continue;
      const [x0, x1] = [x(bar.from), Math.max(x(bar.to + 1) - gap, x(bar.from) + 1)];
      const [y0, y1, y2] = [low, y(bar.relieved / bar.minutes), y(barRate(bar))];
      const box = (one, other) =>
        `M${x0.toFixed(2)} ${one.toFixed(2)}H${x1.toFixed(2)}V${other.toFixed(2)}H${x0.toFixed(2)}Z`;
      if (bar.relieved > 0) relieved += box(y0, y1);
      if (bar.polls > bar.relieved) reached += box(y1, y2);
    }
    nodes.push(draw('path', { d: relieved, class: 'relieved' }), draw('path', { d: reached, class: 'reached' }));
    // Labels at round times in the browser's time zone.
    const now = latest.now_ms;
    const timeOf = (minute) => now - (last - minute) * 60000;
    const hour = [60, 180, 360].includes(span) ? span / 6 : span === 720 ? 120 : 240;
    const every = hour * (width < 480 ? 2 : 1) * 60000;
    const zone = new Date(now).getTimezoneOffset() * 60000;
    for (let time = Math.ceil((timeOf(first) - zone) / every) * every + zone; time <= now; time += every) {
      const at = x(last - (now - time) / 60000);
      if (at < left + 14 || at > right - 14) continue;
      const label = draw('text', { x: at, y: height - 6, 'text-anchor': 'middle' });
      label.textContent = clock.format(time);
      nodes.push(draw('line', { x1: at, x2: at, y1: low, y2: low + 4, class: 'base' }), label);
    }
    set(svg, 'viewBox', `0 0 ${width} ${height}`);
    svg.replaceChildren(...nodes);
    readOut();
    const total = list.reduce((sum, row) => sum + row[0] + row[1], 0);
    const relievedPolls = list.reduce((sum, row) => sum + row[2], 0);
    const long = span === 60 ? 'the last hour' : `the last ${span / 60} hours`;
    put($('chart-title'), `Polls per minute, ${long}`);
    const server = picked === '' ? '' : ` at ${picked}`;
    set(svg, 'aria-label',
      `Polls per minute${server} over ${long}: ${whole(total)} polls, at most ${whole(Math.round(most))} per minute; ` +
      `${share(relievedPolls, total)} relieved`);
  };

  const showHours = () => {
    if (!$('hours').open || !day) return;
    const list = minutes();
    const rows = [];
    const now = latest.now_ms;
    list.forEach((row, index) => {
      const start = new Date(now - (list.length - 1 - index) * 60000);
      start.setMinutes(0, 0, 0);
      let hour = rows[rows.length - 1];
      if (!hour || hour.start !== start.getTime()) {
        hour = { start: start.getTime(), polls: 0, relieved: 0 };
        rows.push(hour);
      }
      hour.polls += row[0] + row[1];
      hour.relieved += row[2];
    });
    const body = $('hours-table').tBodies[0];
    body.replaceChildren(...rows.reverse().map((hour) => {
      const tr = make('tr');
      const from = make('th', '', clock.format(hour.start));
      set(from, 'scope', 'row');
      tr.append(from);
      for (const said of [whole(hour.polls), whole(hour.relieved), share(hour.relieved, hour.polls)]) {
        tr.append(make('td', 'n', said));
      }
      return tr;
    }));
  };

  $('hours').addEventListener('toggle', showHours);
  // Shows the values under the pointer, also when the chart moves.
  let pointer = null;
  const readOut = () => {
    for (const old of $('chart').querySelectorAll('.cursor')) old.remove();
    const minute = frame && pointer !== null
      ? frame.first + ((pointer - frame.left) / (frame.right - frame.left)) * frame.span
      : -1;
    const bar = bars.find((one) => minute >= one.from && minute < one.to + 1);
    if (!bar) {
      put($('readout'), '\u00a0');
      return;
    }
    const middle = frame.x((bar.from + bar.to + 1) / 2);
    $('chart').append(draw('line', { x1: middle, x2: middle, y1: frame.high, y2: frame.low, class: 'cursor' }));
    const time = (at) => clock.format(latest.now_ms - (day.minute - at) * 60000);
    const when = bar.minutes > 1 ? `${time(bar.from)} to ${time(bar.to)}` : time(bar.from);
    put($('readout'), `${when}: ${rate(bar.polls / bar.minutes)} polls per minute, ${share(bar.relieved, bar.polls)} relieved`);
  };
  $('chart').addEventListener('pointermove', (event) => {
    pointer = event.offsetX;
    readOut();
  });
  $('chart').addEventListener('pointerleave', () => {
    pointer = null;
    readOut();
  });
  $('pick').addEventListener('change', () => {
    picked = $('pick').value;
    showDay();
  });
  new ResizeObserver(showChart).observe($('chart'));

  const showPick = (servers) => {
    const names = servers.map((one) => one.name);
    const select = $('pick');
    $('pick-label').hidden = names.length < 2;
    const shown = [...select.options].slice(1).map((option) => option.value);
    if (JSON.stringify(names) === JSON.stringify(shown) && select.options.length > 0) return;
    if (!names.includes(picked)) picked = '';
    select.replaceChildren(...['', ...names].map((name) => {
      const option = make('option', '', name === '' ? 'all virtual servers' : name);
      option.value = name;
      return option;
    }));
    select.value = picked;
  };

  const showDay = () => {
    const list = minutes();
    const total = list.reduce((sum, row) => sum + row[0] + row[1], 0);
    const relieved = list.reduce((sum, row) => sum + row[2], 0);
    const hasWholeDay = latest.status.uptime_s >= 86400;
    const of = picked === '' ? '' : ` (${picked})`;
    put($('day-label'), (hasWholeDay ? 'Relief, last 24 hours' : 'Relief since the start') + of);
    put($('day-relief'), share(relieved, total));
    put($('day-sub'), `of ${plural(total, 'poll', 'polls')}`);
    const most = Math.max(0, ...list.map((row) => row[0] + row[1]));
    put($('rate-sub'), most > 0 ? `busiest minute: ${whole(most)} polls` : '');
    showChart();
    showHours();
  };

  // ---- The latest status

  const show = () => {
    const { status } = latest;
    put($('about'), `version ${status.version}, up ${age(status.uptime_s)}`);
    const found = findProblems(status);
    showProblems(found);

    const idle = { seconds: 1, passed: 0, denied: 0, relieved: 0 };
    const recents = new Map(latest.last_minute.map((one) => [one.server, one]));
    const servers = status.virtual_servers.map((one) => ({ ...one, recent: recents.get(one.name) || idle }));
    const now = servers.reduce((sum, { recent: one }) => ({
      seconds: Math.max(sum.seconds, one.seconds),
      passed: sum.passed + one.passed,
      denied: sum.denied + one.denied,
      relieved: sum.relieved + one.relieved,
    }), { ...idle });
    const relief = share(now.relieved, polls(now));
    put($('now-relief'), relief);
    const within = now.seconds < 60 ? `${now.seconds} seconds` : 'minute';
    put($('now-sub'), polls(now) > 0
      ? `of ${plural(polls(now), 'poll', 'polls')} in the last ${within}`
      : `no polls in the last ${within}`);
    put($('now-rate'), rate(polls(now) / now.seconds));
    const nodes = status.pools.flatMap((pool) => pool.nodes.map((node) => ({ ...node, pool: pool.name })));
    put($('nodes-up'), `${nodes.filter((node) => node.healthy).length} of ${nodes.length}`);
    const sessions = nodes.reduce((sum, node) => sum + node.sessions, 0);
    const waiting = status.pools.reduce((sum, pool) => sum + pool.queued, 0);
    put($('nodes-sub'), `${plural(sessions, 'session', 'sessions')}${waiting > 0 ? `, ${whole(waiting)} queued` : ''}`);
    const urgent = found.some((one) => !one.minor);
    const title = `${urgent ? '▲ ' : ''}${relief === '–' ? '' : `${relief} relief · `}Reprieve`;
    if (document.title !== title) document.title = title;

    // These totals also include removed virtual servers.
    let total = null;
    if (servers.length > 1) {
      const sum = (key) => servers.reduce((all, one) => all + one.counters[key], 0);
      const counters = { passed: status.passed, denied: status.denied, relieved: status.relieved };
      for (const key of ['upgrades', 'sessions']) counters[key] = sum(key);
      total = { name: 'All', addresses: [], recent: now, counters };
    }
    showServers(servers, (one) => one.name, total);
    showNodes(nodes, (node) => `${node.pool}/${node.name}`);
    showPolicies(servers, (one) => one.name);
    showStores(status.stores, (store) => `${store.backend} ${store.location}`);

    const shadows = servers.filter((one) => one.shadow);
    $('shadow-section').hidden = shadows.length === 0;
    showShadow(shadows, (one) => one.name);

    $('top-pollers-section').hidden = !latest.top_pollers;
    showTopPollers(latest.top_pollers || [], (one) => `${one.server}/${one.user}`);

    const unrelieved = servers.flatMap((server) => server.unrelieved.map((one) => ({ ...one, server: server.name })));
    $('unrelieved-section').hidden = unrelieved.length === 0;
    showUnrelieved(unrelieved, (one) => `${one.server}/${one.user}/${one.reason}`);

    showPick(servers);
    $('unlock').hidden = !access || access.change !== 'token' || canChange();
  };

  const showLog = (lines) => {
    $('log-none').hidden = lines.length > 0;
    $('log-box').hidden = lines.length === 0;
    $('log').replaceChildren(...lines.map((line) => {
      const item = make('li');
      const time = make('time', '', clockWithSeconds.format(line.at_ms));
      time.dateTime = new Date(line.at_ms).toISOString();
      const said = make('span', 'text');
      said.append(make('span', 'part', `${line.part}: `), line.text);
      item.append(time, make('span', line.level === 'error' ? 'error' : 'warn-level', line.level === 'error' ? 'error' : 'warning'),
        said, make('span', 'times', line.count > 1 ? `${whole(line.count)} times` : ''));
      return item;
    }));
  };

  // ---- Connection

  const headers = () => (token === null ? {} : { Authorization: `Bearer ${token}` });
  const ask = async (path, signal) => {
    const response = await fetch(path, { headers: headers(), cache: 'no-store', signal });
    if (!response.ok) throw Object.assign(new Error(await response.text()), { status: response.status });
    return response;
  };
  const canChange = () => access !== null && (access.change === 'free' || (access.change === 'token' && access.rights === 'change'));

  let shownLink = '';
  const link = (word, live) => {
    if (word === shownLink) return;
    shownLink = word;
    put($('link-text'), word);
    $('link').classList.toggle('live', live);
  };

  const onEvent = async (json, signal) => {
    latest = JSON.parse(json);
    if (updateDay()) {
      keepDay(await (await ask('history', signal)).json());
      updateDay();
    }
    $('board').hidden = false;
    $('ask').hidden = true;
    link('live', true);
    show();
    showDay();
    if (latest.newest_log_line !== shownLine) {
      const number = latest.newest_log_line;
      showLog(await (await ask('recent', signal)).json());
      shownLine = number;
    }
  };

  const listen = async (signal) => {
    const response = await ask('events', signal);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let received = '';
    let silence = null;
    try {
      for (;;) {
        clearTimeout(silence);
        // An event arrives every second: after 10 s without one, the connection is considered broken.
        silence = setTimeout(() => reader.cancel().catch(() => {}), 10000);
        const { value, done } = await reader.read();
        if (done) return;
        const parts = (received + value).split('\n\n');
        received = parts.pop();
        // Only the latest event matters.
        const newest = parts.pop();
        if (newest !== undefined) await onEvent(newest.replace(/^data: /, ''), signal);
      }
    } finally {
      clearTimeout(silence);
    }
  };

  const askForToken = (why) => {
    $('board').hidden = true;
    $('ask').hidden = false;
    put($('ask-error'), why);
    link('token required', false);
    $('ask-token').focus();
  };

  const run = async () => {
    if (stopping) stopping.abort();
    const own = new AbortController();
    stopping = own;
    for (let pause = 1; !own.signal.aborted; pause = Math.min(2 * pause, 15)) {
      let why = '';
      try {
        access = await (await ask('access', own.signal)).json();
        if (access.rights === 'none') {
          askForToken('');
          return;
        }
        await listen(own.signal);
        pause = 1;
      } catch (error) {
        if (own.signal.aborted) return;
        if (error.status === 401) {
          token = null;
          askForToken('The token is wrong.');
          return;
        }
        if (error.status) why = `: ${error.message}`;
      }
      if (own.signal.aborted) return;
      link(`not connected${why}; retrying`, false);
      await new Promise((done) => { setTimeout(done, 1000 * pause); });
    }
  };

  $('ask-form').addEventListener('submit', (event) => {
    event.preventDefault();
    token = $('ask-token').value.trim();
    $('ask-token').value = '';
    put($('ask-error'), '');
    run();
  });

  // No updates while the page is hidden.
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'hidden') {
      if (stopping) stopping.abort();
      link('paused while hidden', false);
    } else {
      run();
    }
  });

  // ---- Changes

  const dialog = $('dialog');
  $('unlock').addEventListener('click', () => {
    $('dialog-token').value = '';
    put($('dialog-error'), '');
    dialog.showModal();
  });
  $('dialog-cancel').addEventListener('click', () => dialog.close());
  $('dialog-form').addEventListener('submit', async (event) => {
    event.preventDefault();
    const before = token;
    token = $('dialog-token').value.trim();
    try {
      const given = await (await ask('access')).json();
      if (given.rights === 'change') {
        access = given;
        dialog.close();
        if (latest) show();
        return;
      }
      put($('dialog-error'), 'This token is read-only.');
    } catch (error) {
      put($('dialog-error'), error.status === 401 ? 'The token is wrong.' : `The request failed: ${error.message}`);
    }
    token = before;
    $('dialog-token').select();
  });

  const change = async (pool, node, mode, button) => {
    button.disabled = true;
    try {
      const path = `pools/${encodeURIComponent(pool)}/nodes/${encodeURIComponent(node)}`;
      const response = await fetch(path, {
        method: 'PUT',
        headers: { ...headers(), 'Content-Type': 'application/json' },
        body: JSON.stringify({ mode }),
      });
      const said = mode === 'drain' ? 'receives no new sessions' : 'receives sessions again';
      put($('nodes-message'), response.ok ? `${node} ${said}.` : `${node} was not changed: ${await response.text()}`);
    } catch (error) {
      put($('nodes-message'), `${node} was not changed: ${error.message}`);
    }
    button.disabled = false;
  };

  run();
})();
