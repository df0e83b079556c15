// Shows what Reprieve tells, once a second. Everything that comes from it goes in as text.
'use strict';
(() => {
  const $ = (id) => document.getElementById(id);

  // What is known.
  let token = null;            // only here, and only until the page is closed
  let access = null;           // what may be done with it, or without one
  let moment = null;           // the latest
  let day = null;              // minutes of each virtual server: {minute, servers: Map}
  let trouble = -1;            // number of the newest line that is shown
  let picked = '';             // virtual server in the chart; '' is all of them
  let stopping = null;         // ends what is being listened to

  // ---- Numbers and times

  const wholes = new Intl.NumberFormat('en');
  const whole = (number) => wholes.format(number);
  const tenth = (number) => number.toLocaleString('en', { minimumFractionDigits: 1, maximumFractionDigits: 1 });
  const pace = (number) => (number >= 100 ? whole(Math.round(number)) : tenth(number));
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

  // Others choose names and error texts: what ends a line, turns it around or hides is shown.
  const plain = (text) =>
    String(text).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (one) => `\\u{${one.codePointAt(0).toString(16)}}`);
  // Changes a text only where it is another one: what is selected or read aloud stays.
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

  // A table whose rows stay the same nodes as long as what they are about is there. Roles are
  // given because narrow screens show rows as cards, which would take them away.
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
      if (column.hidesTitle) title.replaceChildren(make('span', 'unseen', column.title));
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
    { title: 'Polls a second', kind: 'n', parts: text((one) => pace(polls(one.pace) / one.pace.seconds)) },
    {
      title: 'Relief now',
      kind: 'n',
      parts: (one) => {
        const parts = [{ text: share(one.pace.relieved, polls(one.pace)) }];
        if (polls(one.pace) > 0) parts.push({ bar: one.pace.relieved / polls(one.pace) });
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
      title: 'Last trouble',
      kind: 'wide',
      parts: (node) => (node.last_error ? [{ text: node.last_error, kind: 'name' }] : []),
    },
    {
      title: 'Change',
      hidesTitle: true,
      kind: 'n',
      fill: (cell, node) => {
        const wanted = mayChange() ? (node.mode === 'enabled' ? 'drain' : 'enabled') : '';
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
        button.replaceChildren(words, make('span', 'unseen', ` ${node.name}`));
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
          parts.push({ text: `no. ${whole(one.policy.version)} since it began`, kind: 'under' });
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
      parts: (one) => [one.policy.paused ? { text: '▲ paused', kind: 'down' } : { text: '● asked', kind: 'up' }],
    },
    { title: 'Calls', kind: 'n', field: 'policy-calls', parts: count((one) => one.policy.calls) },
    { title: 'Failures', kind: 'n', field: 'policy-failures', parts: count((one) => one.policy.failures) },
  ]);

  const HEALTH = {
    well: { text: '● well', kind: 'up' },
    'out-of-reach': { text: '▲ out of reach', kind: 'down' },
    'in-memory': { text: '▲ in memory only', kind: 'down' },
  };
  const showStores = table('stores', [
    {
      title: 'Home',
      parts: (store) => {
        const parts = [{ text: store.home }];
        if (store.place) parts.push({ text: store.place, kind: 'under' });
        return parts;
      },
    },
    {
      title: 'Health',
      kind: 'wide',
      parts: (store) => {
        const parts = [HEALTH[store.health.state] || { text: store.health.state }];
        if (store.health.why) parts.push({ text: store.health.why, kind: 'under' });
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

  const showWorst = table('worst', [
    { title: 'User', field: 'worst', parts: text((one) => one.user) },
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
    { title: 'User', field: 'worst', parts: text((one) => one.user) },
    { title: 'Virtual server', parts: text((one) => one.server) },
    { title: 'Logins', kind: 'n', parts: count((one) => one.logins) },
    { title: 'Why', parts: (one) => [{ text: one.reason }, { text: one.explanation, kind: 'under' }] },
  ]);

  const showShadow = table('shadow', [
    { title: 'Virtual server', parts: text((one) => one.name) },
    { title: 'Component', parts: text((one) => one.shadow.policy.component) },
    { title: 'Would pass', kind: 'n', field: 'would-pass', parts: count((one) => one.shadow.would_pass) },
    { title: 'Would deny', kind: 'n', field: 'would-deny', parts: count((one) => one.shadow.would_deny) },
    { title: 'Failed', kind: 'n', parts: count((one) => one.shadow.failures) },
    { title: 'Left out', kind: 'n', parts: count((one) => one.shadow.left_out) },
    { title: 'CPU time', kind: 'n', parts: text((one) => `${tenth(one.shadow.cpu_s)} s`) },
    {
      title: 'Differs from what counts',
      kind: 'wide',
      field: 'differences',
      parts: text((one) => {
        const kinds = Object.entries(one.shadow.differences).filter(([, number]) => number > 0);
        return kinds.length === 0 ? 'not at all' : kinds.map(([kind, number]) => `${kind} ${whole(number)}`).join(', ');
      }),
    },
  ]);

  // ---- What needs attention

  const worries = (status) => {
    const found = [];
    for (const pool of status.pools) {
      const taken = pool.nodes.filter((node) => node.mode !== 'disabled');
      if (taken.length > 0 && taken.every((node) => !node.healthy)) {
        found.push({ text: `Pool ${pool.name}: no mail server can be reached.` });
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
        found.push({ text: `Pool ${pool.name}: logins wait for a place.`, minor: true });
      }
    }
    for (const one of status.virtual_servers) {
      if (one.policy.paused) {
        found.push({ text: `Virtual server ${one.name}: the policy has failed again and again, and is paused.` });
      }
    }
    for (const store of status.stores) {
      if (store.health.state !== 'well') {
        const state = store.health.state === 'in-memory' ? 'is in memory only' : 'is out of reach';
        found.push({ text: `Store ${store.place || store.home} ${state}: ${store.health.why}.` });
      }
    }
    return [...found.filter((one) => !one.minor), ...found.filter((one) => one.minor)];
  };

  let saidOfWorries = null;
  const showWorries = (found) => {
    const said = JSON.stringify(found);
    if (said === saidOfWorries) return;
    saidOfWorries = said;
    const box = $('attention-text');
    if (found.length === 0) {
      const line = make('p', 'well');
      line.append(make('span', 'sign', '✓'), make('span', 'words', 'All is well.'));
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

  // Minutes of what is picked, oldest first: [passed, denied, relieved].
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

  // True where the day has to be asked for again: something of it was missed.
  const updateDay = () => {
    if (day === null || moment.minute < day.minute || moment.minute > day.minute + 1) return true;
    const moved = moment.minute - day.minute;
    day.minute = moment.minute;
    for (const list of day.servers.values()) {
      if (moved) list.push([0, 0, 0]);
      if (list.length > 24 * 60 + 1) list.shift();
    }
    for (const one of moment.pace) {
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

  // The numbers of an axis: up to four, and round.
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
    // As many minutes in a bar as make it wide enough to see.
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
      // The present one is not over: it is shown as far as it has come.
      bars.push(bar);
    }
    const rate = (bar) => bar.polls / bar.minutes;
    const most = Math.max(1, ...bars.map(rate));
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
      const [y0, y1, y2] = [low, y(bar.relieved / bar.minutes), y(rate(bar))];
      const box = (one, other) =>
        `M${x0.toFixed(2)} ${one.toFixed(2)}H${x1.toFixed(2)}V${other.toFixed(2)}H${x0.toFixed(2)}Z`;
      if (bar.relieved > 0) relieved += box(y0, y1);
      if (bar.polls > bar.relieved) reached += box(y1, y2);
    }
    nodes.push(draw('path', { d: relieved, class: 'relieved' }), draw('path', { d: reached, class: 'reached' }));
    // Times at round distances, in the clock of whoever looks.
    const now = moment.now_ms;
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
    const spared = list.reduce((sum, row) => sum + row[2], 0);
    const long = span === 60 ? 'the last hour' : `the last ${span / 60} hours`;
    put($('chart-title'), `Polls a minute, ${long}`);
    const of = picked === '' ? '' : ` of ${picked}`;
    set(svg, 'aria-label',
      `Polls a minute${of} over ${long}: ${whole(total)} polls, ${whole(Math.round(most))} a minute at most; ` +
      `${share(spared, total)} relieved`);
  };

  const showHours = () => {
    if (!$('hours').open || !day) return;
    const list = minutes();
    const rows = [];
    const now = moment.now_ms;
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
  // What is under the pointer is told, also while the chart moves on under it.
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
    const time = (at) => clock.format(moment.now_ms - (day.minute - at) * 60000);
    const when = bar.minutes > 1 ? `${time(bar.from)} to ${time(bar.to)}` : time(bar.from);
    put($('readout'), `${when}: ${pace(bar.polls / bar.minutes)} polls a minute, ${share(bar.relieved, bar.polls)} relieved`);
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
    const whole_day = moment.status.uptime_s >= 86400;
    const of = picked === '' ? '' : ` (${picked})`;
    put($('day-label'), (whole_day ? 'Relief, last 24 hours' : 'Relief since it began') + of);
    put($('day-relief'), share(relieved, total));
    put($('day-sub'), `of ${plural(total, 'poll', 'polls')}`);
    const most = Math.max(0, ...list.map((row) => row[0] + row[1]));
    put($('pace-sub'), most > 0 ? `busiest minute: ${whole(most)} polls` : '');
    showChart();
    showHours();
  };

  // ---- One moment

  const show = () => {
    const { status } = moment;
    put($('about'), `version ${status.version}, up ${age(status.uptime_s)}`);
    const found = worries(status);
    showWorries(found);

    const idle = { seconds: 1, passed: 0, denied: 0, relieved: 0 };
    const paces = new Map(moment.pace.map((one) => [one.server, one]));
    const servers = status.virtual_servers.map((one) => ({ ...one, pace: paces.get(one.name) || idle }));
    const now = servers.reduce((sum, { pace: one }) => ({
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
    put($('now-pace'), pace(polls(now) / now.seconds));
    const nodes = status.pools.flatMap((pool) => pool.nodes.map((node) => ({ ...node, pool: pool.name })));
    put($('nodes-up'), `${nodes.filter((node) => node.healthy).length} of ${nodes.length}`);
    const sessions = nodes.reduce((sum, node) => sum + node.sessions, 0);
    const waiting = status.pools.reduce((sum, pool) => sum + pool.queued, 0);
    put($('nodes-sub'), `${plural(sessions, 'session', 'sessions')}${waiting > 0 ? `, ${whole(waiting)} waiting` : ''}`);
    const urgent = found.some((one) => !one.minor);
    const title = `${urgent ? '▲ ' : ''}${relief === '–' ? '' : `${relief} relief · `}Reprieve`;
    if (document.title !== title) document.title = title;

    // The sums are those of the status itself.
    let total = null;
    if (servers.length > 1) {
      const sum = (key) => servers.reduce((all, one) => all + one.counters[key], 0);
      const counters = { passed: status.passed, denied: status.denied, relieved: status.relieved };
      for (const key of ['upgrades', 'sessions']) counters[key] = sum(key);
      total = { name: 'All', addresses: [], pace: now, counters };
    }
    showServers(servers, (one) => one.name, total);
    showNodes(nodes, (node) => `${node.pool}/${node.name}`);
    showPolicies(servers, (one) => one.name);
    showStores(status.stores, (store) => `${store.home} ${store.place}`);

    const shadows = servers.filter((one) => one.shadow);
    $('shadow-section').hidden = shadows.length === 0;
    showShadow(shadows, (one) => one.name);

    $('worst-section').hidden = !moment.worst_pollers;
    showWorst(moment.worst_pollers || [], (one) => `${one.server}/${one.user}`);

    const unrelieved = servers.flatMap((server) => server.unrelieved.map((one) => ({ ...one, server: server.name })));
    $('unrelieved-section').hidden = unrelieved.length === 0;
    showUnrelieved(unrelieved, (one) => `${one.server}/${one.user}/${one.reason}`);

    showPick(servers);
    $('unlock').hidden = !access || access.change !== 'token' || mayChange();
  };

  const showTrouble = (lines) => {
    $('trouble-none').hidden = lines.length > 0;
    $('trouble-box').hidden = lines.length === 0;
    $('trouble').replaceChildren(...lines.map((line) => {
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

  // ---- Asking and telling

  const headers = () => (token === null ? {} : { Authorization: `Bearer ${token}` });
  const ask = async (path, signal) => {
    const response = await fetch(path, { headers: headers(), cache: 'no-store', signal });
    if (!response.ok) throw Object.assign(new Error(await response.text()), { status: response.status });
    return response;
  };
  const mayChange = () => access !== null && (access.change === 'free' || (access.change === 'token' && access.rights === 'change'));

  let saidOfLink = '';
  const link = (word, live) => {
    if (word === saidOfLink) return;
    saidOfLink = word;
    put($('link-text'), word);
    $('link').classList.toggle('live', live);
  };

  const hear = async (json, signal) => {
    moment = JSON.parse(json);
    if (updateDay()) {
      keepDay(await (await ask('day', signal)).json());
      updateDay();
    }
    $('board').hidden = false;
    $('ask').hidden = true;
    link('live', true);
    show();
    showDay();
    if (moment.trouble !== trouble) {
      const number = moment.trouble;
      showTrouble(await (await ask('recent', signal)).json());
      trouble = number;
    }
  };

  const listen = async (signal) => {
    const response = await ask('events', signal);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let heard = '';
    let quiet = null;
    try {
      for (;;) {
        clearTimeout(quiet);
        // Reprieve speaks once a second: after some silence the way to it is broken.
        quiet = setTimeout(() => reader.cancel().catch(() => {}), 10000);
        const { value, done } = await reader.read();
        if (done) return;
        const parts = (heard + value).split('\n\n');
        heard = parts.pop();
        // Of several only the latest counts.
        const latest = parts.pop();
        if (latest !== undefined) await hear(latest.replace(/^data: /, ''), signal);
      }
    } finally {
      clearTimeout(quiet);
    }
  };

  const showAsk = (why) => {
    $('board').hidden = true;
    $('ask').hidden = false;
    put($('ask-error'), why);
    link('waiting for a token', false);
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
        if (access.rights === 'nothing') {
          showAsk('');
          return;
        }
        await listen(own.signal);
        pause = 1;
      } catch (error) {
        if (own.signal.aborted) return;
        if (error.status === 401) {
          token = null;
          showAsk('The token is wrong.');
          return;
        }
        if (error.status) why = `: ${error.message}`;
      }
      if (own.signal.aborted) return;
      link(`no connection${why}; trying again`, false);
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

  // Nobody is told what he does not look at.
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'hidden') {
      if (stopping) stopping.abort();
      link('resting while nobody looks', false);
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
        if (moment) show();
        return;
      }
      put($('dialog-error'), 'That token is for reading only.');
    } catch (error) {
      put($('dialog-error'), error.status === 401 ? 'The token is wrong.' : `It could not be asked: ${error.message}`);
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
      const said = mode === 'drain' ? 'gets no new sessions' : 'gets sessions again';
      put($('nodes-told'), response.ok ? `${node} ${said}.` : `${node} was not changed: ${await response.text()}`);
    } catch (error) {
      put($('nodes-told'), `${node} was not changed: ${error.message}`);
    }
    button.disabled = false;
  };

  run();
})();
