"""Every page of the built site in a browser, and the equation index from paper to page, function, test and back.

Needs the site in _docs (python .ci/build_site.py) and Chromium."""

import csv
import functools
import http.server
import json
import re
import sys
import threading

import pytest
from nbdev.config import get_config

ROOT, SITE = get_config().config_path, get_config().doc_path
PAGES = sorted(p.relative_to(SITE).as_posix() for p in SITE.rglob("*.html") if "site_libs" not in p.parts)
AXE = ROOT / ".ci" / "node_modules" / "axe-core" / "axe.min.js"
pytestmark = pytest.mark.skipif(not PAGES or not AXE.exists(), reason="no site in _docs yet: python .ci/build_site.py builds it")

NUMBERS = [("sac", n) for n in range(1, 15)] + [("seic", n) for n in range(1, 14)]
# What a reader sees, without code and without what KaTeX keeps for screen readers
TEXT = """() => { const body = document.body.cloneNode(true);
  body.querySelectorAll('code, pre, script, style, .katex, select').forEach(e => e.remove()); return body.textContent; }"""
RAW = re.compile(r"\$\$|\\\(|\\\[|\\(?:frac|sum|bar|mathcal|text|tag)\b|\?\?|\?@|(?<!\w)@(?:eq|fig|sec|tbl)-\w|\{#[\w-]+\}|^:::|^#\| |<!-- gathered", re.M)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args): pass


@pytest.fixture(scope="module")
def address():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=SITE)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def open_page(browser, address):
    "Opens a page and notes what it complains about and asks for; closes it after the test."
    contexts = []

    def opened(name, **options):
        contexts.append(browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options)))
        page = contexts[-1].new_page()
        page.complaints, page.asked = [], []
        page.on("console", lambda m: page.complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("response", lambda answer: page.complaints.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)
        page.goto(address + name, wait_until="load")
        return page

    yield opened
    for context in contexts: context.close()


def unfold(page):
    page.add_style_tag(content="*, *::before, *::after { transition: none !important; animation: none !important }")
    page.evaluate("""document.querySelectorAll('details').forEach(d => d.open = true);
                     document.querySelectorAll('.callout-collapse').forEach(d => d.classList.add('show'))""")


COLOURS = ["color-contrast", "link-in-text-block"]  # axe-core's slow rules


def serious(page):
    "axe-core's serious and critical findings, unfolded, but for `COLOURS`: `PALE` looks at them, and one page at links. Formulas and code are thousands of spans."
    unfold(page)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    options = {"resultTypes": ["violations"], "rules": {rule: {"enabled": False} for rule in COLOURS}}
    found = page.evaluate("options => axe.run({exclude: [['.katex'], ['pre']]}, options)", options)["violations"]
    return [(v["id"], v["help"], [n["html"][:120] for n in v["nodes"][:3]]) for v in found if v["impact"] in ("serious", "critical")]


PALE = """() => {  // pairs of text and background with a contrast below 4.5, of large text below 3 (WCAG 2)
  const rgb = (c) => { const x = c.match(/[\\d.]+/g).map(Number); return c.startsWith('color(') ? [...x.slice(0, 3).map(v => 255 * v), ...x.slice(3)] : x };
  const over = (top, under) => [0, 1, 2].map(i => top[i] * (top[3] ?? 1) + under[i] * (1 - (top[3] ?? 1)));
  const light = (c) => [.2126, .7152, .0722].reduce((sum, w, n) => { const v = c[n] / 255;
    return sum + w * (v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4) }, 0);
  const known = new Map();
  const behind = (e) => {
    if (!e) return [255, 255, 255];
    if (!known.has(e)) { const c = rgb(getComputedStyle(e).backgroundColor); known.set(e, c.length < 4 ? c : over(c, behind(e.parentElement))) }
    return known.get(e) };
  const found = {};
  for (const e of document.querySelectorAll('body *:not(script, style, svg *, .katex-mathml *, :disabled)')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || !e.checkVisibility({visibilityProperty: true})) continue;
    const s = getComputedStyle(e), colour = over(rgb(s.color), behind(e)), [low, high] = [light(colour), light(behind(e))].sort((a, b) => a - b);
    const size = parseFloat(s.fontSize), large = size >= 24 || size >= 18.66 && s.fontWeight >= 700;
    if ((high + .05) / (low + .05) < (large ? 3 : 4.5)) found[colour + ' on ' + behind(e)] = e.textContent.slice(0, 30);
  }
  return found }"""


DARK = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).every(c => c < 80)"
CUT_OFF = """() => {  // what reaches beyond the screen and stands in no box that scrolls: the body hides it
  const scrolls = (e) => { for (; e && e.tagName !== 'MAIN'; e = e.parentElement) if (/auto|scroll/.test(getComputedStyle(e).overflowX)) return true };
  return [...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1 && e.getClientRects().length && !scrolls(e))
    .filter(e => !e.closest('.katex-mathml, .visually-hidden') && !e.ownerSVGElement).map(e => e.outerHTML.slice(0, 90)).slice(0, 5) }"""


def sound(page, address):
    "Loads nothing from elsewhere, complains of nothing, is fully rendered."
    assert not page.complaints
    assert all(url.startswith((address, "data:")) for url in page.asked), page.asked
    assert not RAW.findall(text := page.evaluate(TEXT)), [text[max(0, m.start() - 40):m.end() + 40] for m in RAW.finditer(text)]
    assert not page.evaluate("[...document.images].filter(i => !i.alt.trim() || !i.naturalWidth).map(i => i.outerHTML.slice(0, 100))")
    assert not page.evaluate("[...document.querySelectorAll('.katex-error')].map(e => e.textContent)")
    assert page.title() and page.locator("h1").count() == 1
    assert page.locator(".progress-box").count() == 1  # site.js was found


def accessible(page):
    "axe-core has no serious finding, and everything can be read: by daylight and, on the same page, in the dark."
    assert not page.evaluate(DARK) and serious(page) == []
    assert page.evaluate(PALE) == {}
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"document.documentElement.classList.contains('quarto-dark') && {DARK}")  # the theme's sheet changes first, a script sets the class later
    assert page.evaluate(PALE) == {}


def fits_a_phone(page):
    "Unfolded (`serious` did that), nothing scrolls or is cut off sideways at 390 pixels."
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate(CUT_OFF) == []


@pytest.mark.parametrize("name", PAGES)
def test_page(open_page, address, name):
    page = open_page(name)
    sound(page, address)
    accessible(page)
    fits_a_phone(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pale_text_is_found_as_axe_finds_it(open_page, scheme):
    page = open_page("index.html", color_scheme=scheme)
    serious(page)  # loads axe-core
    contrast = f"async () => (await axe.run({{runOnly: {COLOURS}}})).violations.flatMap(v => v.nodes.map(n => n.html))"
    assert page.evaluate(contrast) == [] and page.evaluate(PALE) == {}
    page.evaluate("document.querySelector('main p').style.color = 'rgb(120 120 120 / 0.7)'")
    assert len(page.evaluate(contrast)) == len(page.evaluate(PALE)) == 1


def test_symbols_have_four_colours(open_page):
    "The image's side, the text's, weights, temperature."
    page = open_page("sac_losses.html")
    assert len(set(page.evaluate("[...document.querySelectorAll('.katex [style*=color]')].map(e => getComputedStyle(e).color)"))) == 4


def test_links_and_anchors_resolve():
    sys.path.insert(0, str(ROOT / ".ci"))
    import build_site

    assert list(build_site.check(SITE)) == []


def test_sidebar_holds_every_page(open_page):
    page = open_page("index.html")
    listed = page.evaluate("[...document.querySelectorAll('#quarto-sidebar a[href]')].map(a => new URL(a.href).pathname.slice(1))")
    assert set(PAGES) <= set(listed)


def test_what_the_papers_leave_unsaid_is_gathered(open_page):
    notebooks = "".join(p.read_text(encoding="utf-8") for p in get_config().nbs_path.rglob("[0-9]*.ipynb"))
    gathered = open_page("unsaid.html").locator("main h3 a[href*='.html#']")
    assert gathered.count() == notebooks.count('title=\\"What the paper leaves unsaid\\"') > 5


@pytest.fixture(scope="module")
def index(browser, address):
    "The symbols page, and a way to open the pages it leads to, each once."
    context = browser.new_context()

    @functools.cache
    def page(name):
        opened = context.new_page()
        opened.goto(address + name)
        return opened

    yield page
    context.close()


def plain(tex):
    "TeX without what differs between a displayed equation and its copy in the index."
    return re.sub(r"\\tag\{.*?\}|\\displaystyle|\s|[{}]", "", tex).replace(r"\vert", "|")


@pytest.mark.parametrize("paper, number", NUMBERS, ids=lambda x: str(x))
def test_equation_has_page_function_and_test(index, paper, number):
    label = f"{paper}-{number}"
    row = index("symbols.html").locator(f"tr:has(#idx-{label})")
    walk, function, test = (row.locator("a").nth(n).get_attribute("href").split("#") for n in range(3))
    assert walk[1] == f"eq-{label}" and walk[0] == function[0] == test[0]
    there = index(walk[0])
    assert there.locator(f'[id="{function[1]}"]').count() == there.locator(f'[id="{test[1]}"]').count() == 1
    named = next(r for r in csv.DictReader((ROOT / "nbs/equations.csv").read_text(encoding="utf-8").splitlines()) if (r["paper"].lower(), r["number"]) == (paper, str(number)))
    assert function[1] == named["function"].lower() and row.locator("a").nth(1).inner_text() == named["function"]
    # the first displayed formula after the anchor has the paper's number, and is the one the index shows
    display = there.locator(f'xpath=//*[@id="{walk[1]}"]/following::*[contains(@class, "katex-display")][1]')
    assert display.locator(".tag").inner_text().strip() == f"({number})"
    shown, copied = (place.locator("annotation").first.text_content() for place in (display, row))
    assert plain(shown) == plain(copied)
    back = there.locator(f'a[href="symbols.html#idx-{label}"]')
    assert back.count() == 1 and named["function"] in back.locator("xpath=..").inner_text()
    # the test anchor stands right before code that calls the function and asserts something
    code = there.locator(f'xpath=//*[@id="{test[1]}"]/following::pre[1]').text_content()  # it may be folded
    assert f"{named['function']}(" in code and re.search(r"assert|raises", code)


def test_search_finds_a_symbol(open_page):
    page = open_page("index.html")
    page.keyboard.press("/")
    page.keyboard.type("bidirectional_alignment")
    page.wait_for_selector("a[href*='sac_losses.html']:visible >> nth=0")


def test_equations_seen_are_remembered(open_page):
    page = open_page("sac_losses.html")
    page.evaluate("document.getElementById('eq-sac-14').scrollIntoView({behavior: 'instant'})")
    page.wait_for_function("!document.querySelector('.progress-box').textContent.startsWith('0 of')")
    said = page.inner_text(".progress-box")
    assert said.endswith("of 27 equations seen")
    page.reload()
    assert int(page.inner_text(".progress-box").split()[0]) >= int(said.split()[0]) >= 1


def test_who_prefers_the_dark_gets_it(open_page):
    page = open_page("index.html", color_scheme="dark")
    assert page.evaluate(DARK)


def test_theme_can_be_changed_and_stays(open_page):
    page = open_page("index.html", color_scheme="light")
    page.click(".quarto-color-scheme-toggle:visible")
    page.goto(page.url.replace("index.html", "sac.html"))
    assert page.evaluate("document.documentElement.classList.contains('quarto-dark') || document.body.classList.contains('quarto-dark')")


def test_tab_reaches_the_text_and_is_seen(open_page):
    page = open_page("sac_losses.html")
    reached = set()
    for _ in range(150):  # the sidebar comes first
        page.keyboard.press("Tab")
        at = page.evaluate("(() => { const e = document.activeElement; return [!!e.closest('main'), getComputedStyle(e).outlineStyle !== 'none' || getComputedStyle(e).boxShadow !== 'none'] })()")
        reached.add(tuple(at))
    assert (True, True) in reached and not any(inside and not seen for inside, seen in reached)


@pytest.mark.parametrize("name, widget", [("sac_losses.html", "temperature"), ("sac_losses.html", "weights"), ("seic_losses.html", "balance")])
def test_widget_stands_in_its_page(open_page, name, widget):
    page = open_page(name)
    box = page.locator(f'[data-widget="{widget}"]')
    before = box.locator("[data-value]").evaluate_all("all => all.map(e => e.dataset.value)")
    slider = box.locator("input[type=range]").first
    slider.focus()
    for _ in range(3): page.keyboard.press("ArrowRight")
    assert before and box.locator("[data-value]").evaluate_all("all => all.map(e => e.dataset.value)") != before
