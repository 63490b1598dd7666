// Shows what /events tells. Everything from a list is put in as text; there is no markup in what is shown.
'use strict';

const byId = (id) => document.getElementById(id);
const svgns = 'http://www.w3.org/2000/svg';
const whole = new Intl.NumberFormat('en');
const short = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });

function say(id, text) {
  const e = byId(id);
  if (e.textContent !== text) e.textContent = text;
}

function show(id, text) {
  say(id, text);
  byId(id).hidden = text === '';
}

const figure = (n) => (Math.abs(n) >= 100 ? whole.format(Math.round(n)) : short.format(n));
const percent = (part) => (part > 0 && part < 0.0005 ? '< 0.1 %' : short.format(100 * part) + ' %');
const count = (n, one, many) => whole.format(n) + ' ' + (n === 1 ? one : many);

function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
  return figure(n) + ' ' + units[i];
}

function span(seconds) {
  const s = Math.round(seconds);
  const parts = [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']];
  for (let i = 0; i < parts.length; i++) {
    const [size, unit] = parts[i];
    if (s < size && size > 1) continue;
    const next = parts[i + 1];
    const rest = next ? Math.floor((s % size) / next[0]) : 0;
    return Math.floor(s / size) + ' ' + unit + (rest ? ' ' + rest + ' ' + next[1] : '');
  }
}

const took = (seconds) => (seconds < 1 ? short.format(seconds * 1000) + ' ms' : short.format(seconds) + ' s');

// fill makes a table's body of rows of cells. A cell is text, or an element that is kept and updated by its function.
// Cells that do not change are left alone, so that a selection in them stays.
function fill(id, rows, classes, limit) {
  const body = byId(id).tBodies[0];
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((cells, y) => {
    const row = body.rows[y] || body.insertRow();
    row.className = limit && limit(y) ? 'limit' : '';
    cells.forEach((cell, x) => {
      let e = row.cells[x];
      if (!e) {
        e = document.createElement(x === 0 ? 'th' : 'td');
        if (x === 0) e.scope = 'row';
        else e.dataset.label = byId(id).tHead.rows[0].cells[x].textContent; // shown where columns have no room
        if (classes[x]) e.className = classes[x];
        row.append(e);
      }
      if (typeof cell === 'function') cell(e);
      else if (e.textContent !== cell) e.textContent = cell;
    });
  });
  const none = byId('no-' + id);
  if (none) {
    none.hidden = rows.length > 0;
    byId(id).hidden = rows.length === 0;
  }
}

// meter shows a share as a bar and as text.
const meter = (share) => (e) => {
  let m = e.firstElementChild;
  if (!m) {
    m = document.createElement('meter');
    e.append(m, ' ', document.createElement('span'));
  }
  m.value = share;
  e.lastElementChild.textContent = percent(share);
};

function svg(name, attributes, text) {
  const e = document.createElementNS(svgns, name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  if (text !== undefined) e.textContent = text;
  return e;
}

// chart draws rows a second over time.
function chart(h) {
  const box = byId('chart');
  const width = box.clientWidth, height = 180, left = 52, bottom = 22, top = 8;
  const speeds = (of) => of.slice(1).map((n, i) => Math.max(0, (n - of[i]) / Math.max(0.1, h.seconds[i + 1] - h.seconds[i])));
  const done = speeds(h.done), failed = speeds(h.failed);
  if (done.length === 0 || width < 100) return;
  const start = h.seconds[0], end = h.seconds[h.seconds.length - 1];
  const most = Math.max(1, ...done);
  const x = (s) => (left + (s - start) / Math.max(0.1, end - start) * (width - left - 8)).toFixed(1);
  const y = (n) => (height - bottom - n / most * (height - bottom - top)).toFixed(1);
  const line = (ns) => 'M' + ns.map((n, i) => x(i === 0 ? start : h.seconds[i + 1]) + ' ' + y(n)).join('L');
  box.setAttribute('viewBox', `0 0 ${width} ${height}`);
  box.replaceChildren(
    ...[0, most / 2, most].flatMap((n) => [
      svg('path', { class: 'axis', d: `M${left} ${y(n)}H${width - 8}` }),
      svg('text', { x: left - 6, y: y(n), dy: 4, 'text-anchor': 'end' }, figure(n)),
    ]),
    svg('text', { x: left, y: height - 6 }, span(start)),
    svg('text', { x: width - 8, y: height - 6, 'text-anchor': 'end' }, span(end)),
    svg('path', { class: 'area', d: `${line(done)}V${y(0)}H${left}Z` }),
    svg('path', { class: 'done', d: line(done) }),
    svg('path', { class: 'failed', d: line(failed) }),
  );
  say('chart-text', `Over ${span(end - start)}: ${figure((h.done[h.done.length - 1] - h.done[0]) / Math.max(0.1, end - start))} a second on average, ${figure(most)} at most.`);
}

// latest draws boxes in small pictures, or in frames of their images' shapes.
function latest(images) {
  const list = byId('latest');
  const key = images.map((i) => i.id + (i.picture ? 'p' : '')).join();
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.replaceChildren(...images.map((image) => {
    const item = document.createElement('li');
    const picture = svg('svg', { viewBox: `0 0 ${image.width} ${image.height}`, role: 'img', 'aria-label': count(image.faces, 'face', 'faces') + ' in row ' + image.id });
    const size = { width: image.width, height: image.height };
    picture.append(svg('rect', { class: 'frame', ...size }));
    if (image.picture) {
      picture.setAttribute('class', 'pictured');
      picture.append(svg('image', { href: 'faces/' + image.id, preserveAspectRatio: 'none', ...size }));
    }
    image.boxes.forEach(([bx, by, bw, bh], i) => {
      const box = { x: bx, y: by, width: bw, height: bh };
      if (image.picture) picture.append(svg('rect', { class: 'edge', ...box }));
      const face = svg('rect', { class: 'face', ...box });
      face.append(svg('title', {}, 'score ' + image.scores[i]));
      picture.append(face);
    });
    const text = document.createElement('span');
    text.textContent = `row ${image.id}: ${count(image.faces, 'face', 'faces')}, ${image.width} × ${image.height}, best score ${image.scores[0]}`;
    const url = document.createElement(image.link ? 'a' : 'span');
    url.className = 'url';
    if (image.link) {
      url.href = image.link;
      url.rel = 'noreferrer';
      url.target = '_blank';
    }
    url.textContent = (image.link && image.name) || image.url;
    url.title = image.url;
    item.append(picture, text, url);
    return item;
  }));
  byId('no-latest').hidden = images.length > 0;
}

let last = null;

function update(v) {
  last = v;
  const files = v.job.split('/').pop();
  say('job', v.job);
  const done = v.total > 0 ? v.done / v.total : 0;
  document.title = (v.end ? v.end : percent(done)) + ' – ' + files + ' – facescan';
  say('state', v.end ? `${v.end}, after ${span(v.elapsed_seconds)}; this page does not change any more` : `running for ${span(v.elapsed_seconds)}, since ${new Date(v.start).toLocaleString()}`);
  show('outage', v.outage_seconds && !v.end ? `Waiting for ${span(v.outage_seconds)}: ${v.held_back}` : '');
  show('trouble', v.error ? `The job cannot be read, its figures are old: ${v.error}` : '');

  byId('bar').value = done;
  say('share', percent(done));
  for (const name of ['total', 'done', 'pending', 'ok', 'failed', 'faces', 'images_with_faces']) say(name, v[name] === null ? '–' : whole.format(v[name]));
  say('detector', v.detector || '–');
  say('total', whole.format(v.total) + (v.importing ? '+' : ''));
  say('rate', figure(v.rate));
  say('eta', v.eta_seconds === null ? 'unknown' : v.pending === 0 ? 'none' : v.eta_seconds < 1 ? 'under 1 s' : span(v.eta_seconds));
  const already = v.already_done ? `${count(v.already_done, 'row', 'rows')} of the table were done before. ` : '';
  show('importing', already + (v.importing ? 'Not read to the end yet: ' + v.importing.join(', ') : ''));
  chart(v.history);

  say('limit', v.held_back ? 'Held back by ' + v.held_back + '.' : '');
  const stages = v.stages || [];
  fill('stages', stages.map((s) => [s.name, meter(s.occupancy), `${whole.format(s.in_flight)} of ${whole.format(s.capacity)}`,
    s.room ? whole.format(s.queue) : '', figure(s.rate), s.mean_seconds ? took(s.mean_seconds) : '']),
  ['', '', 'n', 'n', 'n', 'n'], (y) => stages[y].name === v.held_in);
  say('in_flight', `${whole.format(v.in_flight)} of ${whole.format(v.max_in_flight)}`);
  say('memory', `${bytes(v.memory)} of ${bytes(v.max_memory)}`);
  say('retries', whole.format(v.retries));
  say('leases', `${whole.format(v.takeovers)}, ${whole.format(v.leases_lost)}`);
  say('refused', whole.format(v.refused));
  say('store', v.store_bytes ? bytes(v.store_bytes) : 'unknown');

  fill('failures', (v.failures || []).map((f) => [f.reason, whole.format(f.rows), percent(f.rows / Math.max(1, v.done)), f.class, f.remedy]), ['', 'n', 'n', '', '']);
  fill('hosts', (v.hosts || []).map((h) => [h.name, whole.format(h.failed), h.reason, whole.format(h.waiting), h.state]), ['host', 'n', '', 'n', '']);
  fill('owners', (v.owners || []).map((o) => [`${o.pid} on ${o.host}` + (o.self ? ' (this one)' : ''), o.alive ? 'alive' : 'gone', whole.format(o.shards), whole.format(o.pending), figure(o.rate), o.held_back]), ['', '', 'n', 'n', 'n', '']);
  say('shards', `${count(v.shards.total, 'shard', 'shards')}: ${whole.format(v.shards.done)} done, ${whole.format(v.shards.leased)} leased, ${whole.format(v.shards.free)} free`);
  latest(v.latest || []);
}

const events = new EventSource('events');
events.onmessage = (e) => {
  const v = JSON.parse(e.data);
  update(v);
  document.documentElement.dataset.at = v.elapsed_seconds;
  if (v.end) {
    events.close();
    document.documentElement.dataset.end = v.end;
  }
};
events.onerror = () => {
  if (events.readyState !== EventSource.CLOSED || !(last && last.end)) {
    show('trouble', 'The run does not answer: it has ended, or cannot be reached. Trying again.');
  }
};
new ResizeObserver(() => last && chart(last.history)).observe(byId('chart'));
