/* The page of a clustering: galleries, search, map, odd ones, and edits that end in a plan.
   Reads the page's own data, asks for nothing else. Text from outside goes through textContent only. */
"use strict";

(() => {
  const $ = id => document.getElementById(id);
  const data = JSON.parse($("data").textContent), n = data.files.length;
  const narrow = matchMedia("(max-width: 700px)"), dark = matchMedia("(prefers-color-scheme: dark)");

  // ---- small things

  function el(tag, props = {}, ...children) {  // an element; props are properties, or attributes where there is a dash
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(props)) name.includes("-") ? node.setAttribute(name, value) : node[name] = value;
    node.append(...children.filter(child => child != null));
    return node;
  }
  const button = (text, onclick, props = {}) => el("button", {type: "button", textContent: text, onclick, ...props});
  // Line breaks, half characters and marks that turn the reading direction are shown, not obeyed
  const shown = text => String(text).replace(/[\p{Cc}\p{Cs}\u2028-\u202e\u2066-\u2069]/gu, c => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
  const brief = name => shown(name.replace(/^unnamed, looks like (.+)/, "$1?"));  // where room is scarce
  const lower = text => text.toLowerCase();
  const images = count => `${count.toLocaleString("en")} image${count === 1 ? "" : "s"}`;
  const round = x => Math.round(x * 1e4) / 1e4;
  function bytes(text) {
    const raw = atob(text), out = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
    return out.buffer;
  }
  const ints = text => text && new Int32Array(bytes(text)), floats = text => text && new Float32Array(bytes(text));
  const first = ints(data.labels), confidence = Float64Array.from(floats(data.confidence), x => round(x) || 0), place = ints(data.place), near = ints(data.near);
  const xy = floats(data.xy), truth = ints(data.truth);
  const falling = Int32Array.from(confidence.keys()).sort((a, b) => confidence[b] - confidence[a] || a - b);
  const words = data.files.map((file, i) => lower(`${file}\n${data.captions[i] ?? ""}`));
  const oddOf = new Map();                     // row → kinds
  for (const [kind, rows] of Object.entries(data.odd)) for (const i of rows) oddOf.set(i, [...(oddOf.get(i) ?? []), kind]);

  // ---- thumbnails, side by side on sheets that are unpacked when first seen

  const sheets = [...document.querySelectorAll("script.sheet")].map(script => ({script, url: "", bitmap: null, asked: false}));
  function where(i) {
    const at = place[i] % data.columns ** 2;
    return {sheet: sheets[Math.floor(place[i] / data.columns ** 2)], x: at % data.columns, y: Math.floor(at / data.columns)};
  }
  function address(sheet) {
    if (sheet.url) return sheet.url;
    const [head, body] = sheet.script.textContent.split(",");
    sheet.script.remove();
    return sheet.url = body ? URL.createObjectURL(new Blob([bytes(body)], {type: "image/webp"})) : head;
  }
  function paint(node, i, side) {              // image i as the ground of a square of so many CSS pixels
    const {sheet, x, y} = where(i);
    node.style.width = node.style.height = `${side}px`;
    if (!sheet) { node.classList.add("bare"); node.append(el("span", {textContent: shown(data.files[i]).split("/").at(-1)})); return node; }
    node.style.backgroundImage = `url("${address(sheet)}")`;
    node.style.backgroundSize = `${side * data.columns}px auto`;
    node.style.backgroundPosition = `${-x * side}px ${-y * side}px`;
    return node;
  }
  function sprite(i) {                         // for the map, which draws bitmaps
    const {sheet, x, y} = where(i);
    if (sheet && !sheet.asked) {
      sheet.asked = true;
      const picture = new Image();
      picture.src = address(sheet);
      picture.decode().then(() => createImageBitmap(picture)).then(bitmap => { sheet.bitmap = bitmap; soon(drawMap); }).catch(() => {});
    }
    return sheet?.bitmap ? {image: sheet.bitmap, x: x * data.tile, y: y * data.tile, size: data.tile} : null;
  }
  const waiting = new Set();
  function soon(task) {                        // once, before the next picture on the screen
    if (!waiting.has(task)) requestAnimationFrame(() => { waiting.delete(task); task(); });
    waiting.add(task);
  }

  // ---- edits: a list of steps, replayed from the start; undo goes back in it

  const label = first.slice(), skipped = new Uint8Array(n);
  let names, skippedClusters, members, mean, steps = [], done = 0, kept = true;
  const STEPS = {
    rename({cluster, name}) { names[cluster] = name; },
    merge({from, to}) { label.forEach((c, i) => { if (c === from) label[i] = to; }); },
    move({rows, to}) { for (const i of rows) label[i] = to; },
    split({rows, name}) { names.push(name); for (const i of rows) label[i] = names.length - 1; },
    skip({rows, on}) { for (const i of rows) skipped[i] = on; },
    skipCluster({cluster, on}) { on ? skippedClusters.add(cluster) : skippedClusters.delete(cluster); },
  };
  function replay() {
    label.set(first); skipped.fill(0);
    names = [...data.names]; skippedClusters = new Set();
    for (const step of steps.slice(0, done)) STEPS[step.what](step);
    members = names.map(() => []);
    for (const i of falling) members[label[i]].push(i);
    mean = members.map(rows => rows.reduce((sum, i) => sum + confidence[i], 0) / rows.length);
  }
  function edit(what, said, step) {
    steps = [...steps.slice(0, done), {what, said, ...step}];
    done = steps.length;
    edited(said);
  }
  function edited(said) {
    replay(); keep(); toast(said); refresh();
  }
  function undo() { if (done) edited(`Undone: ${steps[--done].said}`); }
  function redo() { if (done < steps.length) edited(steps[done++].said); }
  const isSkipped = i => skipped[i] || skippedClusters.has(label[i]);
  const bySize = c => -members[c].length;
  let order = [];                              // clusters: split-off ones first, then the largest as they were at the start
  const clusters = () => [...names.keys()].slice(data.names.length).reverse().concat(order).filter(c => members[c].length);

  const KEY = `sac_seic.page ${data.key}`;     // edits outlive the page, where the browser lets them
  function keep() {
    try { localStorage.setItem(KEY, JSON.stringify({steps, done})); kept = true; } catch { kept = false; }
  }
  function load() {
    replay();
    order = [...names.keys()].sort((a, b) => bySize(a) - bySize(b) || a - b);
    try {
      const saved = JSON.parse(localStorage.getItem(KEY));
      if (saved) { ({steps, done} = saved); replay(); }
    } catch { steps = []; done = 0; replay(); }
  }
  function plan() {
    const groups = clusters().map(c => ({name: names[c], files: members[c].filter(i => !isSkipped(i))
      .map(i => ({file: data.files[i], confidence: confidence[i]}))})).filter(group => group.files.length);
    return {format: "sac_seic.plan 1", folder: data.folder, groups, skip: data.files.filter((_, i) => isSkipped(i))};
  }
  function exportPlan() {
    const url = URL.createObjectURL(new Blob([JSON.stringify(plan(), null, 1) + "\n"], {type: "application/json"}));
    el("a", {href: url, download: "plan.json"}).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
    toast("The plan is in your downloads, as plan.json.");
  }

  // ---- which images are shown

  const visible = new Uint8Array(n).fill(1);
  let chosenCluster = -1, nVisible = n;
  const filters = () => ({find: lower($("search").value).split(/\s+/).filter(Boolean), from: +$("from").value / 100, to: +$("to").value / 100, odd: $("odd").checked});
  function filter() {
    const {find, from, to, odd} = filters(), called = names.map(lower);
    nVisible = 0;
    for (let i = 0; i < n; i++) {
      const c = label[i];
      visible[i] = (chosenCluster < 0 || c === chosenCluster) && (from === 0 || confidence[i] >= from) && (to === 1 || confidence[i] <= to)
        && (!odd || oddOf.has(i)) && find.every(word => words[i].includes(word) || called[c].includes(word)) ? 1 : 0;
      nVisible += visible[i];
    }
    $("range").textContent = `${from.toFixed(2)} to ${to.toFixed(2)}`;
    $("clear").hidden = nVisible === n;
    $("count").textContent = nVisible === n ? "" : `${images(nVisible)} of ${n.toLocaleString("en")}`;
    $("count").hidden = nVisible === n;
  }
  function chooseCluster(c) { chosenCluster = c; refresh(true); }
  function clearFilters() {
    $("search").value = ""; $("from").value = 0; $("to").value = 100; $("odd").checked = false;
    chooseCluster(-1);
  }

  // ---- galleries: only the rows near the screen are there

  const GAP = 6, BRIEF = 3;                    // pixels between thumbnails; rows of a cluster that is not unfolded
  class Gallery {
    constructor(box) {
      Object.assign(this, {box, groups: [], items: [], alive: new Map(), open: new Set(), width: 0, columns: 1, side: 0});
      box.addEventListener("click", event => this.click(event));
      box.addEventListener("focusin", event => { const at = spot(event.target); if (at) this.at = at; });
    }
    show(groups) { this.groups = groups; this.lay(); }
    lay() {                                    // where everything is
      this.width = this.box.clientWidth;
      if (!this.width) return;
      const tile = narrow.matches ? 78 : data.tile < 64 ? 68 : 92, head = narrow.matches ? 100 : 70;
      this.columns = Math.max(3, Math.floor((this.width + GAP) / (tile + GAP)));
      this.side = Math.floor((this.width + GAP) / this.columns) - GAP;
      this.items = [];
      let top = 0;
      this.groups.forEach((group, g) => {
        const all = this.groups.length === 1 || this.open.has(group.key);
        group.fold = this.groups.length > 1 && group.rows.length > BRIEF * this.columns ? all ? "Fewer" : `All ${group.rows.length.toLocaleString("en")}` : "";
        group.count = all ? group.rows.length : Math.min(group.rows.length, BRIEF * this.columns);
        this.items.push({top, height: head, g, from: -1});
        top += head;
        for (let from = 0; from < group.count; from += this.columns, top += this.side + GAP) this.items.push({top, height: this.side, g, from});
        top += 18;
      });
      this.box.style.height = `${top}px`;
      this.draw(true);
    }
    draw(anew = false) {
      if (!this.box.clientWidth) return;
      const had = this.box.contains(document.activeElement) && spot(document.activeElement);
      if (anew) { this.box.replaceChildren(); this.alive.clear(); }
      const above = -this.box.getBoundingClientRect().top, low = above - innerHeight / 2, high = above + 1.5 * innerHeight;
      for (const [item, node] of this.alive) if (item.top + item.height < low || item.top > high) { node.remove(); this.alive.delete(item); }
      let a = 0, b = this.items.length;        // the first item that ends below `low`
      while (a < b) { const m = (a + b) >> 1; this.items[m].top + this.items[m].height < low ? a = m + 1 : b = m; }
      for (; a < this.items.length && this.items[a].top <= high; a++) if (!this.alive.has(this.items[a])) this.add(this.items[a], a);
      if (had && anew) this.thumb(had.g, had.at)?.focus({preventScroll: true});
    }
    add(item) {
      const group = this.groups[item.g], node = el("div", {className: item.from < 0 ? "group-head" : "row"});
      node.style.top = `${item.top}px`;
      if (item.from < 0) node.append(...group.head(group.fold && button(group.fold, () => this.fold(group.key), {"aria-expanded": String(this.open.has(group.key))})));
      else for (let at = item.from; at < Math.min(item.from + this.columns, group.count); at++) node.append(this.tile(group.rows[at], item.g, at));
      this.alive.set(item, node);
      // in reading order, which the Tab key follows
      const next = [...this.box.children].find(other => parseFloat(other.style.top) > item.top);
      this.box.insertBefore(node, next ?? null);
    }
    tile(i, g, at) {
      const node = paint(button("", null, {className: "thumb", title: shown(data.files[i])}), i, this.side);
      node.dataset.g = g; node.dataset.at = at; node.dataset.i = i;
      node.append(el("span", {className: "tick", "aria-hidden": "true"}));
      mark(node, i);
      return node;
    }
    fold(key) { this.open.has(key) ? this.open.delete(key) : this.open.add(key); this.lay(); }
    thumb(g, at) { return this.box.querySelector(`.thumb[data-g="${g}"][data-at="${at}"]`); }
    click(event) {
      const node = event.target.closest(".thumb"), at = node && spot(node);
      if (!at) return;
      if (event.shiftKey && this.anchor?.g === at.g) {
        const [a, b] = [this.anchor.at, at.at].sort((x, y) => x - y);
        select(this.groups[at.g].rows.slice(a, b + 1), true);
      } else if (event.ctrlKey || event.metaKey || event.target.closest(".tick")) select([at.i], !selection.has(at.i));
      else openDetail(at.i);
      this.anchor = at;
    }
    step(key) {                                // an arrow key
      if (!this.groups.length) return;
      let {g, at} = this.at && this.groups[this.at.g]?.count > this.at.at ? this.at : {g: 0, at: -1};
      if (at < 0) at = 0;
      else at += {ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.columns, ArrowUp: -this.columns}[key];
      if (at < 0 && g) at = this.groups[--g].count - 1;
      else if (at >= this.groups[g].count) {
        const below = key === "ArrowDown" && Math.floor((this.groups[g].count - 1) / this.columns) > Math.floor(this.at.at / this.columns);
        if (below) at = this.groups[g].count - 1;
        else if (g + 1 < this.groups.length) { g++; at = 0; }
        else at = this.groups[g].count - 1;
      }
      this.goTo(g, Math.max(at, 0));
    }
    goTo(g, at) {
      const item = this.items.find(x => x.g === g && x.from >= 0 && at < x.from + this.columns);
      this.reveal(item);
      const node = this.thumb(g, at);
      node.focus({preventScroll: true});
      if (!$("detail").hidden) openDetail(+node.dataset.i);
    }
    reveal(item) {
      const top = this.box.getBoundingClientRect().top + item.top, bar = Math.max($("bar").getBoundingClientRect().bottom, 0) + 8;
      const foot = innerHeight - ($("selection").hidden ? 8 : 72) - (narrow.matches && !$("detail").hidden ? $("detail").offsetHeight : 0);
      if (top < bar) scrollBy(0, top - bar);
      else if (top + item.height > foot) scrollBy(0, top + item.height - foot);
      this.draw();
    }
  }
  const spot = node => node.dataset?.at ? {g: +node.dataset.g, at: +node.dataset.at, i: +node.dataset.i} : null;
  function mark(node, i) {                     // what can change while it is on the screen
    node.setAttribute("aria-label", `${shown(data.files[i])}, ${shown(names[label[i]])}, confidence ${confidence[i].toFixed(2)}${isSkipped(i) ? ", skipped" : ""}`);
    node.setAttribute("aria-pressed", selection.has(i));
    node.classList.toggle("skipped", Boolean(isSkipped(i)));
    node.classList.toggle("current", i === current);
  }
  const markAll = () => document.querySelectorAll(".thumb[data-i]").forEach(node => mark(node, +node.dataset.i));

  // ---- clusters

  const color = c => `hsl(${(c * 137.508 + 210) % 360} ${[65, 50, 80][c % 3]}% ${(dark.matches ? [66, 74, 60] : [42, 34, 50])[Math.floor(c / 3) % 3]}%)`;
  const dot = c => { const node = el("span", {className: "dot", "aria-hidden": "true"}); node.style.background = color(c); return node; };
  function clusterHead(c, rows, fold) {
    const all = members[c], part = rows.length === all.length ? images(all.length) : `${rows.length.toLocaleString("en")} of ${images(all.length)}`;
    const off = skippedClusters.has(c), said = [part, `confidence ${mean[c].toFixed(2)}`, ...(off ? ["skipped"] : [])].join(" · ");
    const about = text => ({"aria-label": `${text} ${shown(names[c])}`});
    return [el("div", {className: "group-line"}, dot(c), el("h2", {textContent: shown(names[c]), title: shown(names[c])}),
      el("div", {className: "actions"}, fold || null,
        button("Rename", () => rename(c), about("Rename")), button("Merge", () => merge(c), about("Merge")),
        button("Select", () => select(rows, true), about("Select all images of")),
        button(off ? "Take back" : "Skip", () => edit("skipCluster", `${off ? "took back" : "skipped"} “${names[c]}”`, {cluster: c, on: !off}), about(off ? "Take back" : "Skip")))),
    el("p", {className: "muted"}, said, (data.keywords[c] ?? []).length ? el("span", {textContent: ` · ${shown(data.keywords[c].join(", "))}`}) : null)];
  }
  const clusterGroups = () => clusters().map(c => ({key: c, rows: members[c].filter(i => visible[i])}))
    .filter(group => group.rows.length).map(group => ({...group, head: fold => clusterHead(group.key, group.rows, fold)}));
  const oddGroups = () => Object.entries(data.odd).map(([kind, rows]) => ({key: kind, rows: rows.filter(i => visible[i]),
    head: fold => [el("div", {className: "group-line"}, el("h2", {textContent: shown(kind)}), el("div", {className: "actions"}, fold || null,
      button("Select", () => select(rows.filter(i => visible[i]), true), {"aria-label": `Select all: ${shown(kind)}`}))),
    el("p", {className: "muted", textContent: images(rows.length)})]})).filter(group => group.rows.length);

  function drawSide() {
    const item = (c, text, count) => button("", () => chooseCluster(chosenCluster === c ? -1 : c), {className: "side-item", "aria-pressed": String(chosenCluster === c)});
    const entries = clusters().map(c => {
      const node = item(c), typical = (data.typical?.[c] ?? []).find(i => label[i] === c) ?? members[c][0];
      node.append(paint(el("span", {className: "small-thumb"}), typical, 32), dot(c), el("span", {className: "side-name", textContent: brief(names[c]), title: shown(names[c])}),
        el("span", {className: "muted", textContent: members[c].length.toLocaleString("en")}));
      node.classList.toggle("skipped", skippedClusters.has(c));
      return node;
    });
    const all = item(-1);
    all.append(el("span", {className: "side-name", textContent: "All clusters"}), el("span", {className: "muted", textContent: n.toLocaleString("en")}));
    $("side").replaceChildren(all, ...entries);
    $("cluster").replaceChildren(el("option", {value: -1, textContent: "All clusters"}), ...clusters().map(c => el("option", {value: c, textContent: `${shown(names[c])} (${members[c].length})`})));
    $("cluster").value = chosenCluster;
  }

  // ---- dialogs

  function ask(title, {text, choices, yes = "OK", check = () => ""}) {  // a name, the value of a choice, or null
    const box = $("dialog"), input = $("dialog-text"), list = $("dialog-choice"), field = choices ? list : input;
    $("dialog-title").textContent = title; $("dialog-yes").textContent = yes; $("dialog-said").textContent = "";
    input.hidden = Boolean(choices); list.hidden = !choices;
    input.value = text ?? "";
    list.replaceChildren(...(choices ?? []).map(([value, name]) => el("option", {value, textContent: name})));
    list.size = Math.min(10, Math.max(2, list.length)); list.selectedIndex = 0;
    return new Promise(resolve => {
      box.onclose = () => resolve(box.returnValue === "yes" ? field.value.trim() : null);
      box.querySelector("form").onsubmit = event => {
        event.preventDefault();
        const wrong = check(field.value.trim());
        wrong ? $("dialog-said").textContent = wrong : box.close("yes");
      };
      list.ondblclick = () => $("dialog-yes").click();
      list.onkeydown = event => { if (event.key === "Enter") { event.preventDefault(); $("dialog-yes").click(); } };
      $("dialog-no").onclick = () => box.close("no");
      box.returnValue = "no";
      box.showModal();
      field.focus(); if (!choices) input.select();
    });
  }
  const checkName = (name, c = -1) => !name ? "Give it a name."
    : clusters().some(other => other !== c && lower(names[other]) === lower(name)) ? "Another cluster has this name. Merge the two, or choose another name." : "";
  async function rename(c) {
    const name = await ask("Rename the cluster", {text: names[c], yes: "Rename", check: name => checkName(name, c)});
    if (name !== null && name !== names[c]) edit("rename", `renamed “${names[c]}” to “${name}”`, {cluster: c, name});
  }
  const choices = without => clusters().filter(c => c !== without).sort((a, b) => names[a].localeCompare(names[b])).map(c => [c, `${shown(names[c])} (${members[c].length})`]);
  async function merge(c) {
    const to = await ask(`Merge “${shown(names[c])}” into`, {choices: choices(c), yes: "Merge", check: to => to ? "" : "Choose a cluster."});
    if (to === null) return;
    if (chosenCluster === c) chosenCluster = +to;
    edit("merge", `merged “${names[c]}” into “${names[to]}”`, {from: c, to: +to});
  }
  async function move(rows) {
    const to = await ask(`Move ${images(rows.length)} to`, {choices: choices(), yes: "Move", check: to => to ? "" : "Choose a cluster."});
    if (to !== null) { edit("move", `moved ${images(rows.length)} to “${names[to]}”`, {rows, to: +to}); select(rows, false); }
  }
  async function split(rows) {
    const base = names[label[rows[0]]];
    let suggested = base;
    for (let i = 2; checkName(suggested); i++) suggested = `${base} ${i}`;
    const name = await ask(`A new cluster of ${images(rows.length)}`, {text: suggested, yes: "Split off", check: checkName});
    if (name !== null) { edit("split", `split off ${images(rows.length)} as “${name}”`, {rows, name}); select(rows, false); }
  }
  function skip(rows) {
    const on = !rows.every(i => skipped[i]);
    edit("skip", `${on ? "skipped" : "took back"} ${images(rows.length)}`, {rows, on: on ? 1 : 0});
    select(rows, false);
  }

  // ---- selected images, and the one that is looked at

  const selection = new Set();
  let current = -1;
  const selected = () => [...selection].sort((a, b) => a - b);
  function select(rows, on) {
    for (const i of rows) on ? selection.add(i) : selection.delete(i);
    $("selection").hidden = !selection.size;
    $("selected").textContent = `${selection.size.toLocaleString("en")} selected`;
    $("skip").textContent = selection.size && selected().every(i => skipped[i]) ? "Take back" : "Skip";
    markAll();
    if (current >= 0) drawDetail();
  }
  function fileLink(i) {                       // a click opens the file itself; the page never does
    if (data.folder === null || location.protocol !== "file:") return null;
    try {
      const path = `${data.folder}/${data.files[i]}`.replaceAll("\\", "/").split("/").map(encodeURIComponent).join("/");
      return el("a", {href: `file://${path.startsWith("/") ? "" : "/"}${path.replace("%3A", ":")}`, target: "_blank", rel: "noopener", textContent: "Open the file"});
    } catch { return null; }
  }
  function openDetail(i) {
    current = i; $("detail").hidden = false; document.body.classList.add("with-detail");
    drawDetail(); markAll(); map?.focus(i);
    if ($("gallery").clientWidth !== galleries.clusters.width) soon(layOut);
  }
  function closeDetail() {
    current = -1; $("detail").hidden = true; document.body.classList.remove("with-detail");
    markAll(); map?.focus(-1); soon(layOut);
  }
  function drawDetail() {
    const i = current, c = label[i], line = (term, ...what) => [el("dt", {textContent: term}), el("dd", {}, ...what)];
    const others = near ? [...near.subarray(i * near.length / n, (i + 1) * near.length / n)] : [];
    const kinds = oddOf.get(i) ?? [];
    $("detail").replaceChildren(
      button("×", closeDetail, {className: "close", "aria-label": "Close (Esc)"}),
      paint(el("div", {className: "large", role: "img", ariaLabel: shown(data.files[i])}), i, narrow.matches ? 110 : 224),
      el("div", {className: "detail-text"},
        el("h2", {className: "file", textContent: shown(data.files[i])}),
        el("dl", {}, ...line("Cluster", button(shown(names[c]), () => chooseCluster(c), {className: "link"})),
          ...line("Confidence", confidence[i].toFixed(2)),
          ...(data.captions[i] ? line("Caption", shown(data.captions[i])) : []),
          ...(truth ? line("Known class", shown(data.classes[truth[i]])) : []),
          ...(kinds.length ? line("Odd", shown(kinds.join(", "))) : [])),
        el("div", {className: "actions"},
          button("Move", () => move([i]), {"aria-label": "Move to another cluster"}),
          button(selection.has(i) ? "Unselect" : "Select", () => select([i], !selection.has(i))),
          button(skipped[i] ? "Take back" : "Skip", () => skip([i])),
          xy && window.sacMap ? button("On the map", () => { openTab("map"); map.focus(i); }) : null, fileLink(i)),
        others.length ? el("h3", {textContent: "Nearest images"}) : null,
        el("div", {className: "near"}, ...others.map(j => paint(button("", () => openDetail(j), {className: "thumb", title: shown(`${data.files[j]} (${names[label[j]]})`),
          "aria-label": `Nearest image ${shown(data.files[j])}, ${shown(names[label[j]])}`}), j, 48)))));
  }

  // ---- the map

  let map = null;
  const drawMap = () => map?.redraw();
  function openMap() {
    map ??= window.sacMap($("map"), {n, xy, cluster: label, color, label: c => brief(names[c]), sprite, visible, onPick: openDetail,
      onLasso: rows => { select([...rows].filter(i => visible[i]), true); lasso(false); }});
    map.setVisible(visible);
  }
  function lasso(on) { $("lasso").setAttribute("aria-pressed", on); map.lasso?.(on); }

  // ---- about the run

  const value = x => typeof x === "number" && !Number.isInteger(x) ? String(+x.toPrecision(4)) : String(x ?? "none");
  const table = (name, entries) => el("details", {}, el("summary", {textContent: name}),
    el("table", {}, el("tbody", {}, ...entries.map(([key, x]) => el("tr", {}, el("th", {scope: "row", textContent: shown(key)}), el("td", {textContent: shown(value(x))}))))));
  function svg(tag, attributes, ...children) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, x] of Object.entries(attributes)) node.setAttribute(name, x);
    node.append(...children);
    return node;
  }
  function chart(name, ks, ys, best, runnerUp) {
    const W = 360, H = 150, L = 40, R = 12, T = 22, B = 26, known = ys.filter(y => y !== null);
    const [low, high, k0, k1] = [Math.min(...known), Math.max(...known), Math.min(...ks), Math.max(...ks)];
    const x = k => L + (Math.log(k) - Math.log(k0)) / (Math.log(k1) - Math.log(k0) || 1) * (W - L - R), y = v => H - B - (v - low) / (high - low || 1) * (H - T - B);
    const text = (at, up, anchor, said, cls = "") => svg("text", {x: at, y: up, "text-anchor": anchor, class: cls}, said);
    const ticks = [2, 5, 10, 20, 50, 100, 200].filter(k => k >= k0 && k <= k1);
    const short = v => high - low >= 0.05 ? String(+v.toFixed(2)) : v.toExponential(0);
    const upright = (k, cls) => k >= k0 && k <= k1 ? svg("line", {x1: x(k), x2: x(k), y1: T, y2: H - B, class: cls}) : "";
    const points = ks.map((k, i) => [k, ys[i]]).filter(([, v]) => v !== null).map(([k, v]) => `${x(k).toFixed(1)},${y(v).toFixed(1)}`).join(" ");
    return svg("svg", {viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${name} by number of clusters, from ${value(low)} to ${value(high)}`},
      text(L, 13, "start", name, "strong"), svg("line", {x1: L, x2: W - R, y1: H - B, y2: H - B, class: "axis"}), ...ticks.map(k => text(x(k), H - 9, "middle", String(k))),
      text(L - 5, y(low), "end", short(low)), text(L - 5, y(high) + 8, "end", short(high)),
      upright(runnerUp, "runner-up"), upright(best, "best"), svg("polyline", {points, class: "curve"}));
  }
  function kCurve({k, runner_up, unsure, why, curve = {}}) {
    const series = Object.entries(curve).filter(([name, ys]) => name !== "k" && Array.isArray(ys) && ys.length === curve.k?.length && ys.some(y => typeof y === "number"));
    const also = runner_up == null ? "" : ` Runner-up: ${runner_up}.`;
    const head = unsure ? `Unsure how many clusters there are. The best guess is ${k}.${also}` : `${k} clusters fit best.${also}`;
    return el("section", {}, el("h2", {textContent: "How many clusters"}), el("p", {}, el("strong", {textContent: head}), why ? ` ${shown(why)}` : ""),
      el("div", {className: "charts"}, ...series.map(([name, ys]) => chart(shown(name.replaceAll("_", " ")), curve.k, ys, k, runner_up))),
      series.length ? el("p", {className: "muted", textContent: "The full line marks the choice, the dashed one the runner-up."}) : null);
  }
  function confusion() {
    const shownClusters = clusters().slice(0, 100), counts = new Map(shownClusters.map(c => [c, new Int32Array(data.classes.length)]));
    label.forEach((c, i) => { if (counts.has(c)) counts.get(c)[truth[i]]++; });
    const classes = [], best = c => counts.get(c).reduce((at, x, j, row) => x > row[at] ? j : at, 0);
    for (const j of [...shownClusters.map(best), ...data.classes.keys()]) if (!classes.includes(j)) classes.push(j);
    const rows = shownClusters.map(c => el("tr", {}, el("th", {scope: "row", textContent: shown(names[c])}), ...classes.map(j => {
      const count = counts.get(c)[j], cell = el("td", {textContent: count || ""});
      if (count) { cell.title = shown(`${names[c]}: ${count} of ${data.classes[j]}`); cell.style.setProperty("--share", `${Math.round(count / members[c].length * 70)}%`); }
      return cell;
    })));
    return el("section", {}, el("h2", {textContent: "Clusters and known classes"}),
      el("p", {className: "muted", textContent: `How many images of each class are in each cluster, as edited.${clusters().length > 100 ? " The first 100 clusters." : ""}`}),
      el("div", {className: "wide", tabIndex: 0, role: "region", ariaLabel: "Clusters and known classes"}, el("table", {className: "confusion"},
        el("thead", {}, el("tr", {}, el("td"), ...classes.map(j => el("th", {scope: "col"}, el("span", {textContent: shown(data.classes[j])}))))), el("tbody", {}, ...rows))));
  }
  const KEYS = [["/", "search"], ["arrows", "from image to image"], ["Enter", "look at an image"], ["Space or x", "select it"], ["Shift and click", "select up to here"],
    ["u, Shift and u", "undo, redo"], ["Esc", "close, unselect"]];
  function drawAbout() {
    const entries = [data.kCurve ? kCurve(data.kCurve) : null, truth ? confusion() : null];
    if (Object.keys(data.recipe).length) entries.push(table("Recipe", Object.entries(data.recipe)));
    if (Object.keys(data.seconds).length) entries.push(table("Seconds", Object.entries(data.seconds)));
    $("view-about").replaceChildren(...entries.filter(Boolean), table("Keys", KEYS));
  }

  // ---- views

  const galleries = {clusters: new Gallery($("gallery")), odd: new Gallery($("odd-gallery"))};
  const tabs = ["clusters", "map", "odd", "about"];
  let tab = "clusters";
  function openTab(name) {
    tab = name;
    for (const other of tabs) {
      $(`view-${other}`).hidden = other !== name;
      $(`tab-${other}`).setAttribute("aria-selected", other === name);
      $(`tab-${other}`).tabIndex = other === name ? 0 : -1;
    }
    document.body.dataset.tab = name;
    scrollTo(0, 0);
    draw();
  }
  function draw() {                            // the view that is open
    if (tab === "clusters") galleries.clusters.show(clusterGroups());
    if (tab === "odd") galleries.odd.show(oddGroups());
    if (tab === "map") { openMap(); drawMap(); }
    if (tab === "about") drawAbout();
  }
  function layOut() { galleries[tab]?.lay(); }
  function refresh(toTop = false) {            // after an edit or another filter
    if (chosenCluster >= 0 && !members[chosenCluster]?.length) chosenCluster = -1;
    filter(); drawSide(); draw();
    if (toTop) scrollTo(0, 0);
    $("undo").disabled = !done; $("redo").disabled = done >= steps.length;
    const changes = done ? ` · ${done} change${done === 1 ? "" : "s"}${kept ? "" : ", not kept by this browser: export the plan before closing"}` : "";
    const scores = Object.entries(data.metrics).filter(([, x]) => x !== null).map(([name, x]) => ` · ${name} ${x.toFixed(3)}`).join("");
    const size = `${images(n)} in ${clusters().length} cluster${clusters().length === 1 ? "" : "s"}`;
    $("facts").textContent = ((size === data.title ? "" : size) + shown(scores) + changes).replace(/^ · /, "");
    if (current >= 0) drawDetail();
  }
  let toastTimer = 0;
  function toast(text) {
    const said = shown(text);
    $("toast").textContent = said.charAt(0).toUpperCase() + said.slice(1); $("toast").hidden = false;
    clearTimeout(toastTimer); toastTimer = setTimeout(() => { $("toast").hidden = true; }, 4000);
  }

  // ---- keys and clicks

  function key(event) {
    const typing = event.target.closest("input:not([type=range], [type=checkbox]), select, textarea"), thumb = spot(event.target);
    if ($("dialog").open || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      if (typing) { event.preventDefault(); event.target.blur(); }  // what is searched for stays
      else if (selection.size) select([...selection], false);
      else if (current >= 0) closeDetail();
      return;
    }
    if (typing || event.target.closest("#map")) return;
    const gallery = galleries[tab], acts = {"/": () => $("search").focus(), u: undo, U: redo};
    if (gallery && event.key.startsWith("Arrow") && (thumb || event.target === document.body)) acts[event.key] = () => gallery.step(event.key);
    if (thumb) acts[" "] = acts.x = () => select([thumb.i], !selection.has(thumb.i));
    if (acts[event.key]) { event.preventDefault(); acts[event.key](); }
  }
  function start() {
    document.title = $("title").textContent = shown(data.title);
    for (const [id, act] of Object.entries({undo, redo, export: exportPlan, clear: clearFilters, move: () => move(selected()), split: () => split(selected()),
      skip: () => skip(selected()), none: () => select([...selection], false), fit: () => map.fit(), lasso: () => lasso($("lasso").getAttribute("aria-pressed") !== "true")})) $(id).onclick = act;
    for (const id of ["search", "from", "to", "odd"]) $(id).oninput = () => soon(search);
    $("cluster").onchange = () => chooseCluster(+$("cluster").value);
    $("filters").onsubmit = event => event.preventDefault();
    for (const name of tabs) $(`tab-${name}`).onclick = () => openTab(name);
    $("tab-map").hidden = !xy || !window.sacMap; $("tab-odd").hidden = !oddOf.size; $("only-odd").hidden = !oddOf.size;
    document.querySelector("[role=tablist]").onkeydown = event => {
      const there = tabs.filter(name => !$(`tab-${name}`).hidden), by = {ArrowRight: 1, ArrowLeft: -1}[event.key];
      if (by) { openTab(there[(there.indexOf(tab) + by + there.length) % there.length]); $(`tab-${tab}`).focus(); event.stopPropagation(); }
    };
    addEventListener("keydown", key);
    addEventListener("scroll", () => soon(onScroll), {passive: true});
    addEventListener("resize", () => soon(layOut));
    addEventListener("beforeunload", event => { if (done && !kept) event.preventDefault(); });
    dark.addEventListener("change", () => { drawSide(); draw(); });
    load(); filter();
    openTab("clusters"); refresh();
    window.sacPage = {plan, map: () => map};
    document.body.classList.add("ready");
  }
  function search() { refresh(true); }
  function onScroll() { galleries[tab]?.draw(); }
  start();
})();
