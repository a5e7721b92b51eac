/* Three small widgets for the equation pages: <div class="widget" data-widget="temperature"></div>, "weights", "balance".
   The site has this file once a page; show_widget of sac_seic/tool/widgets.py puts it under a notebook's cell, where it may run
   again and again on one page. No library, no network. First the equations, as the package computes them; then what draws them. */
"use strict";

(() => {
// ---------------------------------------------------------------- the equations, on plain arrays

const EPS = 1e-12;  // _EPS in sac_seic/sac_losses.py, and the floor under a norm in torch's F.normalize
const sum = x => x.reduce((total, value) => total + value, 0);
const mean = x => sum(x) / x.length;
const sigmoid = x => 1 / (1 + Math.exp(-x));

// SAC, the text under Eqs. 3 and 5: p̄_i, the mean of p over the neighbours of i. sac_losses.neighbor_mean
const neighborMean = (p, nbr) => nbr.map(row => p[0].map((_, cluster) => mean(row.map(j => p[j][cluster]))));

// sim(x, y) of SAC's Eqs. 3 to 11: the cosine of two rows. sac_losses._unit with similarity="cosine"
function cosine(x, y) {
  const norm = v => Math.max(Math.sqrt(sum(v.map(a => a * a))), EPS);
  return sum(x.map((a, i) => a * y[i])) / (norm(x) * norm(y));
}

// SAC, Eqs. 3 and 5: sgm(sim(x, x̄)/a) of every row. sac_losses._agreement
const agreement = (x, xBar, scale = 1) => x.map((row, i) => sigmoid(cosine(row, xBar[i]) / scale));
const mixed = (first, second, balance) => first.map((w, i) => balance * w + (1 - balance) * second[i]);

// SAC, Eqs. 3 and 4: w^IN, from p over TEXT neighbours and q over IMAGE neighbours. sac_losses.intra_weight
const intraWeight = (p, q, pBar, qBar, scale = 1, balance = 0.9) =>
  mixed(agreement(p, pBar, scale), agreement(q, qBar, scale), balance);

// SAC, Eqs. 5 and 6: w^CN, from q over TEXT neighbours and p over IMAGE neighbours. sac_losses.cross_weight
const crossWeight = (p, q, qBar, pBar, scale = 1, balance = 0.9) =>
  mixed(agreement(p, qBar, scale), agreement(q, pBar, scale), balance);

// The fraction in SAC's Eq. 8 for all j at once: softmax of sim(p_i, p̄_j)/τ over the batch
function softmax(similarities, temperature = 1.1) {
  const logits = similarities.map(x => x / temperature), top = Math.max(...logits);
  const e = logits.map(x => Math.exp(x - top)), all = sum(e);
  return e.map(x => x / all);
}

// −log of each sample's own entry in that softmax, without its weight. sac_losses._contrast
const contrast = (anchor, target, temperature = 1.1) => anchor.map((row, i) => {
  const logits = target.map(other => cosine(row, other) / temperature), top = Math.max(...logits);
  return Math.log(sum(logits.map(x => Math.exp(x - top)))) + top - logits[i];  // logsumexp: no overflow at small τ
});

// SAC, Eq. 8, as a mean over the batch; weight null counts every sample 1. sac_losses.intra_contrastive
const intraContrastive = (p, pBar, weight, temperature = 1.1) =>
  mean(contrast(p, pBar, temperature).map((loss, i) => (weight ? weight[i] : 1) * loss));

// The same for a perfect solution, in closed form: m samples of a cluster lose ln(m + (B − m)·e^(−1/τ)) each. The B samples
// are dealt to c clusters in turn, so B mod c of these have one more. intra_contrastive(perfect(B, c), …) in the notebook
function perfectLoss(B, c, temperature = 1.1) {
  const sizes = Array.from({length: c}, (_, k) => Math.floor(B / c) + (k < B % c ? 1 : 0));
  return sum(sizes.map(m => m / B * Math.log(m + (B - m) * Math.exp(-1 / temperature))));
}

// … and for a uniform one, at every temperature
const uniformLoss = B => Math.log(B);

// SEIC, Eq. 10: Σ_j (b_j^v log b_j^v + b_j^t log b_j^t)/h_j. seic_losses.balance_loss
const balanceLoss = (bv, bt, h) =>
  sum([bv, bt].flatMap(b => b.map((x, j) => x * Math.log(Math.max(x, EPS)) / h[j])));

// What each cluster's term is divided by: h "printed", K·h "scaled" (the package's default), 1 for balance="entropy".
// seic_losses.DynamicBalance.forward, with its floor, and seic_losses._balancing
const divisor = (h, form, floor = 0.1) =>
  h.map(x => form === "entropy" ? 1 : Math.max(x, floor / h.length) * (form === "scaled" ? h.length : 1));

// SEIC, Eq. 10: where a step downhill takes one head's b, which keeps its sum: −(g_j − mean g), with g_j = (ln b_j + 1)/h_j.
// The gradient of seic_losses.balance_loss, projected on the simplex
function balancePush(b, h) {
  const g = b.map((x, j) => (Math.log(Math.max(x, EPS)) + (x >= EPS ? 1 : 0)) / h[j]);
  return g.map(x => mean(g) - x);
}

// ---------------------------------------------------------------- what the widgets show

// Six samples, two in each of three clusters; `wrong` of sample 1's four text neighbours belong to the second cluster.
// `soft` mixes every assignment with the uniform one. All images of a cluster carry the same row of `bank`.
function batchOf(soft, wrong) {
  const bank = [0, 1, 2].map(k => [0, 1, 2].map(j => (1 - soft) * (j === k ? 1 : 0) + soft / 3));
  const cluster = [0, 0, 1, 1, 2, 2], nbr = cluster.map(k => [k, k, k, k]);
  nbr[0] = nbr[0].map((k, place) => place < wrong ? 1 : k);
  return {bank, nbr, p: cluster.map(k => bank[k])};
}

// Twelve images, 0 to 5 in group A and 6 to 11 in group B; image 0 has the caption that goes wrong (0 right, 1 wrong).
function pictureOf(wrong, renumbered) {
  const rows = share => share.map(x => [x, 1 - x]);
  const p = rows([.95, .9, .85, .92, .88, .8, .08, .15, .1, .05, .2, .12]);
  let q = rows([.95 - .9 * wrong, .88, .9, .82, .93, .86, .1, .12, .06, .18, .09, .14]);
  if (renumbered) q = q.map(row => [...row].reverse());
  const away = Math.round(4 * wrong);  // the text neighbours leave for group B one by one
  return {p, q, nbrV: [[1, 2, 3, 4]], nbrT: [[2, 3, 4, 5].map((j, place) => place < away ? [6, 7, 9, 11][place] : j)], away};
}

globalThis.sacSeicWidgets = {neighborMean, cosine, intraWeight, crossWeight, softmax, contrast, intraContrastive,
                             perfectLoss, uniformLoss, balanceLoss, divisor, balancePush, batchOf, pictureOf};

// ---------------------------------------------------------------- drawing

// An element with attributes and children; in a string, "w^IN" raises IN.
function make(space, tag, attributes, children) {
  const node = document.createElementNS(space, tag), inside = space.endsWith("svg");
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  for (const child of children) node.append(...(typeof child === "string" ? raised(child, inside) : [child]));
  return node;
}
const html = (tag, attributes = {}, ...children) => make("http://www.w3.org/1999/xhtml", tag, attributes, children);
const svg = (tag, attributes = {}, ...children) => make("http://www.w3.org/2000/svg", tag, attributes, children);
const raised = (string, inside) => string.split(/\^(\w+)/).flatMap((part, i) => {
  if (i % 2 === 0) return inside && i ? [svg("tspan", {dy: 4}, part)] : [part];
  return [inside ? svg("tspan", {dy: -4, "font-size": 9}, part) : html("sup", {}, part)];
});

// Strings, numbers and other nodes as the new content of a sentence
const say = (place, ...children) => place.replaceChildren(...html("span", {}, ...children).childNodes);

// A number as shown, with all its digits in data-value: in a sentence or table (shown), in a picture (written)
const digitsOf = (value, digits) => value.toFixed(digits).replace(/^-(0\.?0*)$/, "$1").replace("-", "−");
const exact = (name, value) => ({"data-name": name, "data-value": value});
const shown = (name, value, digits = 2) => html("span", exact(name, value), digitsOf(value, digits));
const written = (x, y, name, value, digits = 2, style = "") =>
  svg("text", {x, y, class: style, ...exact(name, value)}, digitsOf(value, digits));

// The other parts of a picture, 360 units wide
const word = (x, y, string, style = "") => svg("text", {x, y, class: style}, string);
const box = (x, y, width, height, style) => svg("rect", {x, y, width: Math.max(width, 0), height: Math.max(height, 0), class: style});
const line = (x1, y1, x2, y2, style) => svg("line", {x1, y1, x2, y2, class: style});
const diamond = (x, y) => svg("path", {d: `M${x} ${y - 9}l9 9l-9 9l-9 -9z`, class: "caption"});
const picture = (height, label, ...children) => svg("svg", {viewBox: `0 0 360 ${height}`, role: "img", "aria-label": label}, ...children);

globalThis.sacSeicMade ??= 0;  // so that ids stay apart on a page with several widgets

// The parts every widget has: a question, controls, what is seen in words, pictures and numbers, a note
function frame(place, question, note) {
  const id = `widget-${++sacSeicMade}`;
  const controls = html("div", {class: "widget-controls"}), view = html("div", {class: "widget-view"});
  const says = html("p", {class: "widget-says", role: "status", "aria-live": "polite", "aria-atomic": "true"});
  place.replaceChildren(html("p", {class: "widget-title", id}, question), controls, says, view, html("p", {class: "widget-note"}, note));
  place.setAttribute("role", "group"); place.setAttribute("aria-labelledby", id);
  return {controls, view, says};
}

function labelled(where, text, input, ...between) {
  input.id = `widget-input-${++sacSeicMade}`;
  where.append(html("div", {class: `widget-control ${input.type}`}, html("label", {for: input.id}, text), ...between, input));
  return input;
}

// A slider with its reading; `mark` puts a word under the track at a value. `show` sets the reading, and the slider if asked to.
function slider(where, text, name, [min, max, step, value], onmove, {digits = 2, mark = null, style = ""} = {}) {
  const reading = html("span", {class: "widget-reading"});
  const input = labelled(where, text, html("input", {type: "range", min, max, step, value, class: style}), reading);
  if (mark) {
    const at = (mark.at - min) / (max - min), before = at > 0.7;  // far right, the word stands before its triangle
    input.after(html("span", {class: before ? "widget-mark before" : "widget-mark", style: `--at: ${at}`},
                     before ? `${mark.text} ▲` : `▲ ${mark.text}`));
  }
  input.show = set => {
    if (set !== undefined) input.value = set;
    reading.replaceChildren(shown(name, set ?? Number(input.value), digits));
  };
  input.addEventListener("input", () => onmove(Number(input.value)));
  return input;
}
function choice(where, text, options, value, onchoice) {
  const input = labelled(where, text, html("select", {}, ...options.map(([key, label]) => html("option", {value: key}, label))));
  input.value = value; input.addEventListener("change", onchoice);
  return input;
}
function button(where, text, onpress) {
  const input = html("button", {type: "button"}, text);
  input.addEventListener("click", onpress); where.append(input);
}
const plain = values => values.map(value => [value, String(value)]);

// ---------------------------------------------------------------- 1: temperature, SAC Eq. 8

const SUBSCRIPT = "₁₂₃₄₅₆";

function temperature(place) {
  const {controls, view, says} = frame(place, "SAC Eq. 8: how sharply does the temperature τ tell an image's own neighbours from the others?",
    "Samples 1 and 2 belong to cluster A, 3 and 4 to B, 5 and 6 to C. The weights are those of Eqs. 3 and 4, with right image " +
    "neighbours, and a text head that says of a caption what its text neighbours say.");
  const tau = slider(controls, "temperature τ", "tau", [0.05, 2, 0.05, 1.1], draw, {mark: {at: 1.1, text: "paper: 1.1"}, style: "tau"});
  const soft = slider(controls, "how undecided the heads are, 0 to 1", "soft", [0, 1, 0.05, 0], draw, {style: "image"});
  const wrong = slider(controls, "wrong text neighbours of sample 1, of 4", "wrong", [0, 4, 1, 0], draw, {digits: 0, style: "text"});
  const sample = choice(controls, "look at", [0, 1, 2, 3, 4, 5].map(i => [i, `sample ${i + 1} (cluster ${"AABBCC"[i]})`]), 0, draw);
  const size = choice(controls, "batch size B, to compare", plain([6, 64, 128, 512]), 512, draw);
  const clusters = choice(controls, "clusters c, to compare", plain([2, 3, 10, 20, 100]), 10, draw);

  function similarityAndSoftmax(i, sims, share) {
    const columns = sims.flatMap((sim, j) => {
      const x = 14 + 58 * j, own = j === i ? "" : " other";
      return [box(x, 92 - 55 * sim, 42, 55 * sim, `bar image${own}`), written(x + 21, 87 - 55 * sim, `sim-${j + 1}`, sim, 2, "middle"),
              word(x + 21, 108, `p̄${SUBSCRIPT[j]}${own ? "" : " own"}`, own ? "middle" : "middle strong"),
              box(x, 206 - 64 * share[j], 42, 64 * share[j], `bar tau${own}`), written(x + 21, 221, `softmax-${j + 1}`, share[j], 2, "middle")];
    });
    const told = row => row.map(x => x.toFixed(2)).join(", ");
    return picture(226, `Similarities of sample ${i + 1} to the six neighbour means: ${told(sims)}; their softmax: ${told(share)}.`,
      word(0, 14, `similarity of p${SUBSCRIPT[i]} to each neighbour mean`), word(0, 132, "softmax over the batch (dashed: flat, 1/6)"), ...columns,
      line(0, 92, 360, 92, "axis"), line(0, 206, 360, 206, "axis"), line(0, 206 - 64 / 6, 360, 206 - 64 / 6, "dashed"));
  }

  function draw() {
    for (const input of [tau, soft, wrong]) input.show();
    const t = Number(tau.value), i = Number(sample.value), B = Number(size.value), c = Number(clusters.value);
    const {bank, nbr, p} = batchOf(Number(soft.value), Number(wrong.value));
    const pBar = neighborMean(bank, nbr), weight = intraWeight(p, pBar, pBar, p);  // q_i is what the text neighbours say: p̄_i
    const sims = pBar.map(row => cosine(p[i], row)), share = softmax(sims, t);
    const perfect = perfectLoss(B, c, t), uniform = uniformLoss(B), ratio = Math.max(...share) / Math.min(...share);
    const bars = [["perfect", perfect], ["uniform", uniform]].flatMap(([name, value], row) => {
      const y = 25 + 24 * row;
      return [word(0, y + 12, name), box(54, y, 38 * value, 16, row ? "bar tau other" : "bar tau"), written(61 + 38 * value, y + 12, name, value)];
    });
    view.replaceChildren(similarityAndSoftmax(i, sims, share), html("div", {},
      html("ul", {class: "widget-numbers"},
        html("li", {}, `loss of sample ${i + 1}: `, shown("loss", contrast(p, pBar, t)[i], 3)),
        html("li", {}, "its weight w^IN: ", shown("weight", weight[i], 3)),
        html("li", {}, "weighted mean over the batch: ", shown("batch", intraContrastive(p, pBar, weight, t), 3))),
      picture(68, `Eq. 8 with B = ${B} and c = ${c}: perfect ${perfect.toFixed(2)}, uniform ${uniform.toFixed(2)}.`,
        word(0, 14, `Eq. 8 with B = ${B}, c = ${c} and weights 1`), ...bars)));
    say(says, "At τ = ", shown("tau", t), " the largest entry of the softmax is ", ratio < 1e4 ? shown("ratio", ratio, 1) : html("span", exact("ratio", ratio), "over 10000"), " times the smallest: ",
      ratio < 3 ? "nearly flat" : ratio < 20 ? "tilted" : "sharp", ". With B =\u00a0", shown("B", B, 0), " and c =\u00a0", shown("c", c, 0),
      " a perfect clustering loses ", shown("perfect", perfect), " and a uniform one ", shown("uniform", uniform),
      ", so all that can be won is ", shown("gap-percent", 100 * (1 - perfect / uniform), 0), " %.");
  }
  draw();
}

// ---------------------------------------------------------------- 2: weights, SAC Eqs. 3 to 6

const DOTS = [[88, 92], [40, 60], [48, 128], [98, 42], [126, 138], [142, 84],          // group A
              [240, 54], [232, 120], [282, 40], [276, 92], [318, 76], [296, 140]];    // group B

function weights(place) {
  const {controls, view, says} = frame(place, "SAC Eqs. 3 to 6: how much does a pair's weight fall when its caption goes wrong?",
    "A mean is (share of A, share of B). In image space and in text space every image has four neighbours; only the caption of the " +
    "large circle changes.");
  const wrong = slider(controls, "caption (0 right, 1 wrong)", "wrong", [0, 1, 0.05, 0], draw, {style: "text"});
  const scale = slider(controls, "scale a", "scale", [0.05, 2, 0.05, 1], draw, {mark: {at: 1, text: "default: 1"}, style: "weight"});
  const alpha = slider(controls, "balance α", "alpha", [0, 1, 0.05, 0.9], draw, {mark: {at: 0.9, text: "default: 0.9"}, style: "weight"});
  const swap = labelled(controls, "the text head numbers its clusters the other way round", html("input", {type: "checkbox"}));
  swap.addEventListener("change", draw);

  function scene(t, {nbrV, nbrT, away}) {
    const from = [104 + 166 * t, 106 - 14 * t];  // where the caption stands
    const dots = DOTS.map(([x, y], j) => j >= 6 ? svg("rect", {x: x - 6, y: y - 6, width: 12, height: 12, class: "dot"}) :
      svg("circle", {cx: x, cy: y, r: j ? 6 : 10, class: j ? "dot" : "dot chosen"}));
    return picture(186, `The image stands in group A, its caption ${t === 0 ? "beside it" : `${Math.round(100 * t)} % of the way to group B`}; ` +
        `${away} of its 4 text neighbours are in group B, its 4 image neighbours in group A.`,
      word(2, 14, "group A: circles"), word(226, 14, "group B: squares"), line(...DOTS[0], ...from, "tether"),
      ...nbrV[0].map(j => line(...DOTS[0], ...DOTS[j], "link image")), ...nbrT[0].map(j => line(...from, ...DOTS[j], "link text")),
      ...dots, diamond(...from), line(0, 174, 20, 174, "link image"), word(25, 178, "image neighbours"),
      line(142, 174, 162, 174, "link text"), word(167, 178, "text neighbours"), diamond(286, 174), word(299, 178, "caption"));
  }

  function bars(all, top) {
    const rows = all.flatMap(([name, value], row) => {
      const y = 22 + 20 * row + (row > 2 ? 8 : 0), strong = row % 3 === 2 ? "strong" : "";
      return [word(0, y + 12, `w^${name}`, strong), box(42, y, 264 * value, 15, strong ? "bar weight" : "bar weight other"),
              written(312, y + 12, `w-${name}`, value, 3, strong)];
    });
    const x = value => 42 + 264 * value;
    return picture(170, `Weights, between 0.5 and ${top.toFixed(3)}: ${all.map(([name, value]) => `${name} ${value.toFixed(3)}`).join(", ")}.`,
      box(x(0.5), 18, x(top) - x(0.5), 132, "band"), ...rows, line(x(0.5), 18, x(0.5), 150, "dashed"), line(x(top), 18, x(top), 150, "dashed"),
      written(x(0.5), 13, "least", 0.5, 1, "middle"), written(x(top), 13, "top", top, 3, "middle"),
      word(0, 166, "dashed: the least and the most a weight can be"));
  }

  function draw() {
    for (const input of [wrong, scale, alpha]) input.show();
    const t = Number(wrong.value), a = Number(scale.value), balance = Number(alpha.value), drawn = pictureOf(t, swap.checked);
    const {p, q, nbrT, nbrV, away} = drawn, p0 = [p[0]], q0 = [q[0]], top = sigmoid(1 / a);
    const pText = neighborMean(p, nbrT), qImage = neighborMean(q, nbrV), qText = neighborMean(q, nbrT), pImage = neighborMean(p, nbrV);
    const wIN = intraWeight(p0, q0, pText, qImage, a, balance)[0], wCN = crossWeight(p0, q0, qText, pImage, a, balance)[0];
    const rows = [["i2i", "p̄^K", "image head", "text neighbours", pText, "p", p0], ["t2t", "q̄^K", "text head", "image neighbours", qImage, "q", q0],
                  ["I2T", "q̄^N", "text head", "text neighbours", qText, "p", p0], ["T2I", "p̄^N", "image head", "image neighbours", pImage, "q", q0]];
    const each = rows.map(([name, , , , bar, , row]) => [name, agreement(row, bar, a)[0]]);
    const table = html("table", {},
      html("thead", {}, html("tr", {}, ...["mean", "of the", "over its", "is", "sim to"].map(name => html("th", {scope: "col"}, name)))),
      html("tbody", {}, ...rows.map(([name, symbol, head, space, [bar], letter, [row]]) => html("tr", {},
        html("th", {scope: "row"}, symbol), html("td", {}, head), html("td", {}, space),
        html("td", {}, "(", shown(`mean-${name}-A`, bar[0]), ", ", shown(`mean-${name}-B`, bar[1]), ")"),
        html("td", {}, `${letter}: `, shown(`sim-${name}`, cosine(row, bar)))))));
    view.replaceChildren(scene(t, drawn), bars([each[0], each[1], ["IN", wIN], each[2], each[3], ["CN", wCN]], top), table);
    say(says, shown("away", away, 0), " of 4 text neighbours are wrong: w^IN is ", shown("w-IN", wIN, 3), " and w^CN is ", shown("w-CN", wCN, 3),
      ", where ", shown("least", 0.5, 1), " is the least and ", shown("top", top, 3), " the most. The pair still counts ",
      shown("percent-IN", 100 * wIN / top, 0), " % (IN) and ", shown("percent-CN", 100 * wCN / top, 0), " % (CN) of a perfect one.",
      swap.checked ? " That the heads number the clusters differently, only w^CN can see." : "");
  }
  draw();
}

// ---------------------------------------------------------------- 3: balance, SEIC Eq. 10

const FORMS = [["printed", "as printed"], ["scaled", "scaled, K·h"], ["entropy", "plain entropy"]];
const PRESETS = {2: {b: [0.5, 0.5], h: [0.6, 0.4]}, 3: {b: [1 / 3, 1 / 3, 1 / 3], h: [0.5, 0.3, 0.2]}};
const LEAST = 0.05;  // no share goes below, so the package's floor under h (0.1/K) plays no part

// Cluster j gets `value`, the others keep their proportions above LEAST: the shares still sum to 1
function moved(shares, j, value) {
  const others = shares.length - 1, now = Math.min(value, 1 - LEAST * others), room = 1 - now - LEAST * others;
  const rest = shares.map((x, k) => k === j ? 0 : x - LEAST), all = sum(rest);
  return shares.map((_, k) => k === j ? now : LEAST + room * (all > EPS ? rest[k] / all : 1 / others));
}

function balance(place) {
  const {controls, view, says} = frame(place, "SEIC Eq. 10: does it push the cluster that has had too little up?",
    "Both heads have the same b here. A push is minus the gradient for one head's b, less its mean over the clusters, since b keeps its " +
    "sum of 1; arrows share one scale. “Scaled” is the package's default, “plain entropy” its balance=\"entropy\", the way round the flaw at K = 2.");
  let state = PRESETS[2];
  const set = next => { state = next; draw(); };
  const stack = html("div", {class: "widget-stack"}), sliders = {};
  controls.append(stack);
  const number = choice(stack, "clusters K", plain([2, 3]), 2, () => set(PRESETS[number.value]));
  button(stack, "Preset K = 2: the paper's form pushes the smaller cluster down", () => set(PRESETS[2]));
  button(stack, "Preset K = 3: with three clusters it goes up", () => set(PRESETS[3]));
  for (const [key, title, style] of [["b", "b: mean of this batch", "image"], ["h", "h: the history", "weight"]]) {
    const group = html("fieldset", {}, html("legend", {}, title));
    controls.append(group);
    sliders[key] = [0, 1, 2].map(j => slider(group, `${key} of cluster ${j + 1}`, `${key}-${j + 1}`, [LEAST, 1 - LEAST, 0.01, 0.5],
      value => set({...state, [key]: moved(state[key], j, value)}), {style}));
  }

  function cluster(j, b, h, push, longest) {
    const arrows = FORMS.flatMap(([form, name], row) => {
      const value = push[form][j], y = 78 + 19 * row, length = 84 * value / longest, tip = Math.sign(length) * Math.min(7, Math.abs(length));
      const arrow = Math.abs(length) < 0.5 ? svg("circle", {cx: 200, cy: y, r: 3, class: "still"}) :
        svg("path", {d: `M200 ${y}h${length - tip}m0 -5l${tip} 5l${-tip} 5z`, class: "arrow"});
      return [word(0, y + 4, name), arrow, written(358, y + 4, `push-${form}-${j + 1}`, value, 3, "end")];
    });
    const told = FORMS.map(([form, name]) => `${name} ${push[form][j].toFixed(3)}`).join(", ");
    return picture(126, `Cluster ${j + 1}: b ${b[j].toFixed(2)}, h ${h[j].toFixed(2)}; push on b ${told}.`,
      word(0, 12, `cluster ${j + 1}`, "strong"),
      word(0, 32, "b"), box(16, 22, 240 * b[j], 12, "bar image"), written(22 + 240 * b[j], 32, `b-${j + 1}`, b[j]),
      word(0, 49, "h"), box(16, 39, 240 * h[j], 12, "bar weight other"), written(22 + 240 * h[j], 49, `h-${j + 1}`, h[j]),
      word(0, 66, "push on b", "muted"), word(190, 66, "← down", "end muted"), word(210, 66, "up →", "muted"), line(200, 70, 200, 124, "axis"), ...arrows);
  }

  function verdict(b, h, push) {
    const low = h.indexOf(Math.min(...h)), ties = h.filter(x => x - h[low] < 1e-9).length, value = push.printed[low];
    if (ties === h.length) return ["All histories are alike. Then h changes only the strength of the push; its direction follows b alone."];
    const way = x => Math.abs(x) < 5e-4 ? "leaves it where it is" : `pushes it ${x < 0 ? "down" : "up"}`;
    const judged = Math.abs(value) < 5e-4 || b[low] > Math.min(...b) + 1e-9 ? "" : value < 0 ? ", against its purpose" : ", as it should";
    return [ties > 1 ? `No cluster has had fewer images than cluster ${low + 1}. ` : `Cluster ${low + 1} has had the fewest images. `,
      `Eq. 10 as printed ${way(value)} (`, shown("push-low", value, 3), `)${judged}. Scaled, the push has the same direction and is K = `,
      shown("K", h.length, 0), ` times smaller. The plain entropy, which knows no h, ${way(push.entropy[low])}.`];
  }

  function draw() {
    const {b, h} = state, K = b.length;
    number.value = K;
    for (const [key, shares] of Object.entries(state)) sliders[key].forEach((input, j) => {
      input.parentElement.hidden = j >= K;
      input.max = 1 - LEAST * (K - 1);
      if (j < K) input.show(shares[j]);
    });
    const push = Object.fromEntries(FORMS.map(([form]) => [form, balancePush(b, divisor(h, form))]));
    const longest = Math.max(0.02, ...Object.values(push).flat().map(Math.abs));
    view.replaceChildren(...b.map((_, j) => cluster(j, b, h, push, longest)), html("ul", {class: "widget-numbers"},
      ...FORMS.map(([form, name]) => html("li", {}, `Eq. 10, ${name}: `, shown(`loss-${form}`, balanceLoss(b, b, divisor(h, form)), 3)))));
    say(says, ...verdict(b, h, push));
  }
  draw();
}

function start() {
  const widgets = {temperature, weights, balance};
  for (const place of document.querySelectorAll("div.widget[data-widget]:not([role])"))  // a widget that stands has its role
    if (Object.hasOwn(widgets, place.dataset.widget)) widgets[place.dataset.widget](place);
}
if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start); else start();
})();
