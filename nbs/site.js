// What the pages do beyond their renderer: remember the equations a reader has come by, and show how far that is.
// Kept in this browser only (localStorage); nothing is sent anywhere.
(() => {
  const pages = /* equations by page */ {};
  const key = "sac-seic-equations-seen";
  const all = Object.values(pages).flat();
  let seen = new Set();
  try { seen = new Set(JSON.parse(localStorage.getItem(key)) || []); } catch { /* a browser that keeps nothing */ }

  const here = location.pathname.split("/").pop() || "index.html";
  const sidebar = document.querySelector("#quarto-sidebar");
  const element = (tag, attributes, text = "") => Object.assign(document.createElement(tag), attributes, { textContent: text });

  function show() {
    const count = all.filter((label) => seen.has(label)).length;
    progress.value = count;
    progress.textContent = words.textContent = `${count} of ${all.length} equations seen`;
    for (const link of sidebar.querySelectorAll("a.sidebar-item-text[href]")) {
      const labels = pages[link.getAttribute("href").split(/[?#]/)[0].split("/").pop()];
      if (!labels) continue;
      const part = labels.filter((label) => seen.has(label)).length;
      let mark = link.querySelector(".seen");
      if (!mark) link.append((mark = element("span", { className: "seen" })));
      mark.textContent = part === labels.length ? " ✓" : part ? ` ${part}/${labels.length}` : "";
    }
  }

  // An equation counts as seen when it has stayed in view for a second.
  const waiting = new Map();
  function look(entries) {
    for (const { target, isIntersecting } of entries) {
      clearTimeout(waiting.get(target.id));
      if (isIntersecting && !seen.has(target.id)) waiting.set(target.id, setTimeout(remember, 1000, target.id));
    }
  }

  function remember(label) {
    seen.add(label);
    try { localStorage.setItem(key, JSON.stringify([...seen])); } catch { /* then only for this page */ }
    if (sidebar) show();
  }

  const box = element("div", { className: "progress-box" });
  const progress = element("progress", { max: all.length });
  const words = element("span", {});
  progress.setAttribute("aria-label", "Equations seen");
  box.append(words, progress);
  if (sidebar) {
    sidebar.querySelector(".sidebar-menu-container, ul")?.before(box);
    show();
  }
  const watch = new IntersectionObserver(look, { rootMargin: "0px 0px -20% 0px" });
  for (const label of pages[here] || []) {
    const place = document.getElementById(label);
    if (place) watch.observe(place);
  }

  // What opens by a click opens by the keyboard too, and says what it is.
  for (const header of document.querySelectorAll(".callout-header[data-bs-toggle]")) {
    header.setAttribute("role", "button");
    header.tabIndex = 0;
    header.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      header.click();
    });
  }
  document.querySelectorAll("a[aria-label] > .bi[role=img]").forEach((icon) => { icon.removeAttribute("role"); icon.ariaHidden = "true"; });
  document.querySelectorAll("a.sidebar-item-toggle").forEach((toggle) => toggle.setAttribute("role", "button"));
  document.querySelector("nav.navbar")?.setAttribute("aria-label", "Site");

  // What scrolls sideways by itself (a wide table or equation) can be reached and scrolled with the keyboard.
  const reachable = () => {
    for (const box of document.querySelectorAll("main .katex-display, main pre, main .cell-output-display, main .table-scroll")) {
      if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  };
  for (const table of document.querySelectorAll("main table")) {
    const box = element("div", { className: "table-scroll" });
    table.replaceWith(box);
    box.append(table);
  }
  addEventListener("resize", reachable);
  addEventListener("load", reachable);
})();
