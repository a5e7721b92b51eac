/* A map of many pictures on one canvas: points far out, the pictures themselves from near. No library, no request.

   const map = sacMap(canvas, {n, xy, cluster, color, sprite, visible, label, onPick, onLasso})
     canvas    has its width and height from CSS, and --fg, --bg, from which text and ground are drawn
     n         number of images; xy: Float32Array(2n), x and y in [0, 1]; cluster: Int32Array(n), read again at redraw()
     color     c => CSS colour;  label: c => name ("" for none);  visible: Uint8Array(n), 0 leaves a faint dot
     sprite    i => {image, x, y, size}, a square in an image, bitmap or canvas; null while there is none
     onPick    i => click, tap or Enter on an image;  onLasso: rows => shift-drag round them, an Int32Array
   map.redraw() after edits or a change of theme; setVisible(u8); focus(i): go there and mark it (-1: no mark); fit();
   lasso(true): drags select, for fingers; fps(): of the latest movement; destroy() */
"use strict";

window.sacMap = (canvas, {n, xy, cluster, color, sprite, visible, label, onPick, onLasso}) => {
  const paper = canvas.getContext("2d"), off = new AbortController(), still = new Map(), times = [];
  const clamp = (x, low, high) => Math.max(low, Math.min(high, x));
  let layer = document.createElement("canvas").getContext("2d"), spare = document.createElement("canvas").getContext("2d");
  let W = 0, H = 0, dpr = 1;               // of the canvas, in its own pixels, of which dpr make one of CSS
  let k = 0, ox = 0, oy = 0, drawn = null;  // image i is at (ox + k·x, oy + k·y); drawn: where the layer was painted
  let colors, names, fg, bg, faint, font;   // looked up at redraw()
  let chosen = null, chosenAt = 0;          // which images are pictures, at which zoom
  let hover = -1, marked = -1, keys = false, lassoMode = false, loop = null, queued = 0, fitted = true;

  // ---- how big things are

  const box = [Infinity, Infinity, -Infinity, -Infinity], cells = new Set();
  for (let i = 0; i < n; i++) {
    const x = xy[2 * i], y = xy[2 * i + 1];
    box[0] = Math.min(box[0], x); box[1] = Math.min(box[1], y); box[2] = Math.max(box[2], x); box[3] = Math.max(box[3], y);
  }
  const side = Math.max(8, Math.ceil(Math.sqrt(n / 4)));
  for (let i = 0; i < n; i++) cells.add(Math.floor(xy[2 * i] * side) * 65536 + Math.floor(xy[2 * i + 1] * side));
  const spacing = Math.sqrt(cells.size / Math.max(n, 1)) / side;  // between neighbours, where there are any
  const fitZoom = () => 0.92 * Math.min(W / Math.max(box[2] - box[0], 0.05), H / Math.max(box[3] - box[1], 0.05));
  const maxZoom = () => Math.max(8 * fitZoom(), 240 * dpr / spacing);
  const room = () => spacing * k / dpr;     // CSS pixels from an image to the next
  const pictures = () => room() >= 14;
  const pictureSize = () => Math.round(clamp(room(), 18, 88) * dpr), border = () => Math.ceil(1.5 * dpr);
  const dotSize = () => clamp(0.36 * room(), 1.3, 5) * dpr;

  // ---- where we look

  function fit() {
    k = fitZoom(); fitted = true;
    ox = Math.round(W / 2 - k * (box[0] + box[2]) / 2); oy = Math.round(H / 2 - k * (box[1] + box[3]) / 2);
    ask();
  }
  function pan(dx, dy) { ox = Math.round(ox + dx); oy = Math.round(oy + dy); keepNear(); }
  function zoom(factor, x = W / 2, y = H / 2) {  // the point (x, y) stays where it is
    const next = clamp(k * factor, 0.5 * fitZoom(), maxZoom());
    ox = Math.round(x - (x - ox) * next / k); oy = Math.round(y - (y - oy) * next / k); k = next;
    keepNear();
  }
  function keepNear() {  // some of the map stays in view
    ox = Math.round(clamp(ox, W / 2 - k * box[2], W / 2 - k * box[0]));
    oy = Math.round(clamp(oy, H / 2 - k * box[3], H / 2 - k * box[1]));
    fitted = false; ask();
  }
  function focus(i) {
    marked = i; chosen = null;
    if (i >= 0 && W) {
      k = clamp(Math.max(k, 32 * dpr / spacing), 0, maxZoom());
      ox = W / 2 - k * xy[2 * i]; oy = H / 2 - k * xy[2 * i + 1];
      keepNear();
    } else ask();
  }

  // ---- what is there

  function pixel(css) {  // a CSS colour as one pixel of ImageData
    spare.canvas.width = spare.canvas.height = 1;
    spare.fillStyle = "#888"; spare.fillStyle = css; spare.fillRect(0, 0, 1, 1);
    return new Uint32Array(spare.getImageData(0, 0, 1, 1).data.buffer)[0];
  }
  function look() {  // read colours, names and clusters
    const style = getComputedStyle(canvas), seen = new Map();
    fg = style.getPropertyValue("--fg").trim() || "#222"; bg = style.getPropertyValue("--bg").trim() || "#fff";
    font = style.fontFamily || "sans-serif"; colors = new Uint32Array(n); names = [];
    for (let i = 0; i < n; i++) {
      if (!seen.has(cluster[i])) seen.set(cluster[i], {css: color(cluster[i]), xs: [], ys: [], rows: []});
      if (visible[i]) seen.get(cluster[i]).rows.push(i);
    }
    for (const one of seen.values()) one.pixel = pixel(one.css);
    for (let i = 0; i < n; i++) colors[i] = seen.get(cluster[i]).pixel;
    faint = [fg, bg].map(pixel).reduce((a, b) => [0, 8, 16].reduce(
      (all, s) => all | Math.round(0.2 * (a >>> s & 255) + 0.8 * (b >>> s & 255)) << s, 0xff000000)) >>> 0;
    for (const [c, {rows}] of seen) {
      const text = String(label(c) ?? ""), middle = side => Float32Array.from(rows, i => xy[2 * i + side]).sort()[rows.length >> 1];
      if (!rows.length || !text) continue;
      const x = middle(0), y = middle(1), far = i => (xy[2 * i] - x) ** 2 + (xy[2 * i + 1] - y) ** 2;
      const at = rows.reduce((a, b) => far(b) < far(a) ? b : a);  // the member in the middle: a cluster may be a ring
      names.push({text: text.length > 32 ? text.slice(0, 31) + "…" : text, size: rows.length, x: xy[2 * at], y: xy[2 * at + 1]});
    }
    names.sort((a, b) => b.size - a.size);
    chosen = drawn = null;
  }
  function choose() {  // as many as do not overlap, the earlier row first; the same ones wherever we pan
    const step = (pictureSize() + 2 * border()) / k, found = new Uint8Array(n);
    const mask = (1 << Math.ceil(Math.log2(4 * n + 4))) - 1, head = new Int32Array(mask + 1), next = new Int32Array(n);  // a hash of cells
    const bin = (cx, cy) => (Math.imul(cx, 73856093) ^ Math.imul(cy, 19349663)) & mask;
    for (let turn = marked < 0 ? 0 : -1; turn < n; turn++) {
      const i = turn < 0 ? marked : turn;  // the marked one comes first
      if (!visible[i] || found[i]) continue;
      const x = xy[2 * i], y = xy[2 * i + 1], cx = Math.floor(x / step), cy = Math.floor(y / step);
      let free = true;
      for (let dx = -1; free && dx <= 1; dx++) for (let dy = -1; free && dy <= 1; dy++)
        for (let j = head[bin(cx + dx, cy + dy)] - 1; free && j >= 0; j = next[j] - 1)
          free = Math.abs(xy[2 * j] - x) >= step || Math.abs(xy[2 * j + 1] - y) >= step;
      if (!free) continue;
      const here = bin(cx, cy);
      next[i] = head[here]; head[here] = i + 1; found[i] = 1;
    }
    chosen = found; chosenAt = k;
  }

  // ---- painting: points go straight into pixels, pictures on top of them; while panning only the strips that are new

  function paint(x0, y0, w, h) {
    if (w <= 0 || h <= 0) return;
    const image = layer.createImageData(w, h), pixels = new Uint32Array(image.data.buffer);
    const near = pictures(), size = near ? pictureSize() : 0, half = size >> 1, edge = border(), found = [];
    pixels.fill(ground);
    const rows = radius => Array.from({length: 2 * Math.round(radius) + 1}, (_, j) =>
      Math.floor(Math.sqrt((Math.round(radius) + 0.4) ** 2 - (j - Math.round(radius)) ** 2)));
    const dot = rows(dotSize()), speck = rows(Math.max(dpr, 0.6 * dotSize())), square = Array(size + 2 * edge).fill(half + edge);
    const stamp = (i, shape, tone, reach) => {
      const x = Math.round(ox + k * xy[2 * i]) - x0, y = Math.round(oy + k * xy[2 * i + 1]) - y0;
      if (x < -reach || y < -reach || x > w + reach || y > h + reach) return false;
      const top = y - (shape.length >> 1);
      for (let j = Math.max(0, -top), end = Math.min(shape.length, h - top); j < end; j++) {
        const from = Math.max(0, x - shape[j]), to = Math.min(w, x + shape[j] + 1), line = (top + j) * w;
        for (let p = line + from; p < line + to; p++) pixels[p] = tone;
      }
      return true;
    };
    for (let i = 0; i < n; i++) if (!visible[i]) stamp(i, speck, faint, 9 * dpr);
    for (let i = 0; i < n; i++) if (visible[i] && !(near && chosen[i])) stamp(i, dot, colors[i], 9 * dpr);
    if (near) for (let i = 0; i < n; i++) if (chosen[i] && stamp(i, square, colors[i], size)) found.push(i);
    layer.putImageData(image, x0, y0);
    if (!found.length) return;
    layer.save(); layer.beginPath(); layer.rect(x0, y0, w, h); layer.clip();
    for (const i of found) picture(layer, i, Math.round(ox + k * xy[2 * i]) - half, Math.round(oy + k * xy[2 * i + 1]) - half, size);
    layer.restore();
  }
  function picture(context, i, x, y, size) {
    const s = sprite(i);
    if (!s) return false;
    if (s.image.complete === false) { s.image.addEventListener("load", redraw, {once: true, signal: off.signal}); return false; }
    if (s.image.naturalWidth === 0) return false;  // broken
    context.drawImage(s.image, s.x, s.y, s.size, s.size, x, y, size, size);
    return true;
  }
  function layerUpToDate() {
    if (pictures() && (!chosen || chosenAt !== k)) { choose(); drawn = null; }
    const dx = drawn ? ox - drawn.ox : W, dy = drawn ? oy - drawn.oy : H, same = drawn && drawn.k === k;
    if (same && !dx && !dy) return;
    if (same && Math.abs(dx) < W / 2 && Math.abs(dy) < H / 2) {
      spare.canvas.width === W && spare.canvas.height === H || Object.assign(spare.canvas, {width: W, height: H});
      spare.globalCompositeOperation = "copy"; spare.drawImage(layer.canvas, dx, dy);
      [layer, spare] = [spare, layer]; layer.globalCompositeOperation = "source-over";
      const top = Math.max(0, dy), bottom = H + Math.min(0, dy);
      paint(0, 0, W, top); paint(0, bottom, W, H - bottom);
      paint(0, top, Math.max(0, dx), bottom - top); paint(W + Math.min(0, dx), top, -Math.min(0, dx), bottom - top);
    } else {
      if (layer.canvas.width !== W || layer.canvas.height !== H) Object.assign(layer.canvas, {width: W, height: H});
      paint(0, 0, W, H);
    }
    drawn = {k, ox, oy};
  }
  function written(text, x, y) {
    paper.lineJoin = "round"; paper.lineWidth = 3.5 * dpr; paper.strokeStyle = bg; paper.fillStyle = fg;
    paper.strokeText(text, x, y); paper.fillText(text, x, y);
  }
  let ground = 0;
  function draw(now) {
    queued = 0;
    if (!measure()) return;
    if (!colors) { look(); ground = pixel(bg); }
    layerUpToDate();
    paper.globalCompositeOperation = "copy"; paper.drawImage(layer.canvas, 0, 0); paper.globalCompositeOperation = "source-over";
    paper.textAlign = "center"; paper.textBaseline = "middle"; paper.font = `600 ${13 * dpr}px ${font}`;
    if (k < 5 * fitZoom()) {
      const placed = [];
      for (const one of names) {
        const w = (one.width ??= paper.measureText(one.text).width / dpr) * dpr / 2 + 4 * dpr, h = 10 * dpr;
        const x = clamp(ox + k * one.x, w, W - w), y = oy + k * one.y;
        if (y < 0 || y > H || Math.abs(x - ox - k * one.x) > w) continue;
        if (placed.some(p => Math.abs(p.x - x) < p.w + w && Math.abs(p.y - y) < 2 * h)) continue;
        placed.push({x, y, w}); written(one.text, x, y);
      }
    }
    const here = keys ? W / 2 : -1;
    paper.strokeStyle = fg; paper.lineWidth = 2 * dpr;
    if (here > 0) { paper.beginPath(); paper.arc(W / 2, H / 2, 9 * dpr, 0, 7); paper.stroke(); }
    if (marked >= 0) {
      const r = (pictures() && chosen[marked] ? 0.75 * pictureSize() : dotSize() + 4 * dpr);
      paper.beginPath(); paper.arc(ox + k * xy[2 * marked], oy + k * xy[2 * marked + 1], r, 0, 7); paper.stroke();
    }
    if (hover >= 0 && !loop) card(hover);
    if (loop) {
      paper.beginPath(); loop.forEach(([x, y]) => paper.lineTo(x, y)); paper.closePath();
      paper.globalAlpha = 0.15; paper.fillStyle = fg; paper.fill(); paper.globalAlpha = 1; paper.stroke();
    }
    if (times.length && now - times.at(-1) > 250) times.length = 0;
    times.push(now); if (times.length > 90) times.shift();
  }
  function card(i) {  // the picture under the pointer, beside it, with its cluster's name
    const size = 132 * dpr, gap = 14 * dpr, x0 = ox + k * xy[2 * i], y0 = oy + k * xy[2 * i + 1];
    const reach = gap + (pictures() ? pictureSize() / 2 : 0);
    const x = clamp(x0 + reach + size < W ? x0 + reach : x0 - reach - size, 0, W), y = clamp(y0 - size / 2, 4 * dpr, H - size - 26 * dpr);
    const text = String(label(cluster[i]) ?? "");
    paper.fillStyle = bg; paper.fillRect(x - 4 * dpr, y - 4 * dpr, size + 8 * dpr, size + (text ? 28 : 8) * dpr);
    paper.strokeStyle = color(cluster[i]); paper.strokeRect(x - 4 * dpr, y - 4 * dpr, size + 8 * dpr, size + (text ? 28 : 8) * dpr);
    if (!picture(paper, i, x, y, size)) { paper.fillStyle = color(cluster[i]); paper.fillRect(x, y, size, size); }
    paper.font = `${12 * dpr}px ${font}`; paper.fillStyle = fg;
    paper.fillText(text.length > 22 ? text.slice(0, 21) + "…" : text, x + size / 2, y + size + 12 * dpr);
  }
  function measure() {  // follow the size of the canvas and of a pixel
    dpr = window.devicePixelRatio || 1;
    const w = Math.round(canvas.clientWidth * dpr), h = Math.round(canvas.clientHeight * dpr);
    if (!w || !h || !n) return false;
    if (w !== W || h !== H || canvas.width !== w || canvas.height !== h) {
      const first = !W, x = (W / 2 - ox) / k, y = (H / 2 - oy) / k;
      canvas.width = W = w; canvas.height = H = h; drawn = null;
      if (first || fitted) fit(); else { ox = Math.round(W / 2 - k * x); oy = Math.round(H / 2 - k * y); }
    }
    return true;
  }
  function ask() { queued ||= requestAnimationFrame(draw); }
  function redraw() { colors = null; ask(); }

  // ---- which image is where

  function at(x, y, reach = 9 * dpr) {  // a picture that holds the point, else the nearest image within reach, else -1
    const half = pictures() && chosen ? pictureSize() / 2 : 0;
    let best = -1, least = Infinity;
    for (let i = 0; i < n; i++) {
      if (!visible[i]) continue;
      const dx = Math.abs(ox + k * xy[2 * i] - x), dy = Math.abs(oy + k * xy[2 * i + 1] - y);
      const inside = half && chosen[i] && Math.max(dx, dy) <= half, d = Math.hypot(dx, dy) - (inside ? 1e6 : 0);
      if ((inside || d <= reach) && d < least) { least = d; best = i; }
    }
    return best;
  }
  function inLoop() {
    const found = [];
    for (let i = 0; i < n; i++) {
      const x = ox + k * xy[2 * i], y = oy + k * xy[2 * i + 1];
      let inside = false;
      for (let a = 0, b = loop.length - 1; a < loop.length; b = a++) {
        const [xa, ya] = loop[a], [xb, yb] = loop[b];
        if ((ya > y) !== (yb > y) && x < (xb - xa) * (y - ya) / (yb - ya) + xa) inside = !inside;
      }
      if (inside && visible[i]) found.push(i);
    }
    return Int32Array.from(found);
  }

  // ---- mouse, fingers, keys

  let start = null, moved = false;
  const on = (target, event, handler, options = {}) => target.addEventListener(event, handler, {...options, signal: off.signal});
  const place = e => { const r = canvas.getBoundingClientRect(); return [(e.clientX - r.left) * dpr, (e.clientY - r.top) * dpr]; };
  const point = i => { if (i !== hover) { hover = i; canvas.style.cursor = i >= 0 ? "pointer" : "grab"; ask(); } };
  on(canvas, "pointerdown", e => {
    if (e.button) return;
    try { canvas.setPointerCapture(e.pointerId); } catch { /* made by a script */ }
    still.set(e.pointerId, place(e)); keys = false;
    moved = still.size > 1; loop = null; start = place(e);
    if (still.size === 1 && (e.shiftKey || lassoMode)) loop = [start];
    ask();
  });
  on(canvas, "pointermove", e => {
    const to = place(e), from = still.get(e.pointerId);
    if (!from) { keys = false; if (e.pointerType !== "touch") point(at(...to)); return; }
    if (!moved && Math.hypot(to[0] - start[0], to[1] - start[1]) < 4 * dpr) return;
    moved = true; hover = -1;
    still.set(e.pointerId, to);
    if (loop) { loop.push(to); ask(); return; }
    const other = [...still].find(([id]) => id !== e.pointerId)?.[1];
    if (!other) { pan(to[0] - from[0], to[1] - from[1]); return; }
    const apart = p => Math.hypot(p[0] - other[0], p[1] - other[1]) || 1;
    pan((to[0] - from[0]) / 2, (to[1] - from[1]) / 2);
    zoom(apart(to) / apart(from), (to[0] + other[0]) / 2, (to[1] + other[1]) / 2);
  });
  const release = e => {
    if (!still.delete(e.pointerId) || still.size) return;
    const rows = loop && moved && e.type === "pointerup" ? inLoop() : null, was = loop;
    loop = null; ask();
    if (rows) onLasso?.(rows);
    else if (!moved && !was && e.type === "pointerup") {
      const i = at(...place(e), (e.pointerType === "touch" ? 16 : 9) * dpr);
      if (i >= 0) onPick?.(i);
    }
  };
  on(canvas, "pointerup", release); on(canvas, "pointercancel", release);
  on(canvas, "pointerleave", () => point(-1));
  on(canvas, "dblclick", e => zoom(e.shiftKey ? 0.5 : 2, ...place(e)));
  on(canvas, "wheel", e => {
    e.preventDefault(); hover = -1;
    zoom(Math.exp(-e.deltaY * [1, 16, 400][e.deltaMode] * (e.ctrlKey ? 0.01 : 0.002)), ...place(e));
  }, {passive: false});
  on(canvas, "keydown", e => {
    const step = 80 * dpr, move = {ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step]}[e.key];
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    if (move) pan(...move);
    else if (e.key === "+" || e.key === "=") zoom(1.5);
    else if (e.key === "-") zoom(1 / 1.5);
    else if (e.key === "0") fit();
    else if (e.key === "Escape" && loop) { loop = null; moved = true; }
    else if (e.key === "Enter") { const i = at(W / 2, H / 2, Infinity); if (i >= 0) onPick?.(i); }
    else return;
    e.preventDefault(); keys = e.key !== "Escape"; hover = keys ? at(W / 2, H / 2, Infinity) : -1; ask();
  });
  on(canvas, "blur", () => { keys = false; point(-1); ask(); });
  on(matchMedia("(prefers-color-scheme: dark)"), "change", redraw);
  const watch = new ResizeObserver(ask);
  watch.observe(canvas);
  canvas.style.touchAction = "none"; canvas.style.cursor = "grab";
  if (!canvas.hasAttribute("tabindex")) canvas.tabIndex = 0;
  if (!canvas.hasAttribute("role")) canvas.setAttribute("role", "application");
  if (!canvas.hasAttribute("aria-label")) canvas.setAttribute("aria-label",
    `Map of ${n} images. Arrow keys move, plus and minus zoom, 0 shows all, Enter opens the image in the middle.`);
  ask();
  return {
    redraw, focus, fit,
    setVisible(flags) { visible = flags; hover = -1; redraw(); },
    lasso(flag) { lassoMode = flag; },
    fps: () => times.length < 2 ? 0 : 1000 * (times.length - 1) / (times.at(-1) - times[0]),
    destroy() { off.abort(); watch.disconnect(); cancelAnimationFrame(queued); queued = -1; },
  };
};
