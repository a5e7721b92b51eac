"""Live cells in a browser: pages served over HTTP, Python in the page, nothing from elsewhere.

Needs the site in _docs (python .ci/build_site.py) and Chromium. Which cells are live is up to the notebooks."""

import json
import math
import re

import pytest
from nbdev.config import get_config
from test_site import PAGES, PALE, SITE, address, fits_a_phone, open_page, pytestmark, serious  # noqa: F401 fixtures, and when to skip

LIVE = [name for name in PAGES if '<div class="live">' in (SITE / name).read_text(encoding="utf-8")]
IDLE = "document.querySelectorAll('.live-stop:not([hidden])').length === 0"
NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?(?:e[-+]?\d+)?")


def run(page, n, code=None, keys=None):
    "Run the n-th live cell, with other code if told to; returns what it shows, then what is wrong."
    cell = page.locator("div.live").nth(n)
    if code is not None: cell.locator("textarea").fill(code)
    if keys: cell.locator("textarea").press(keys)
    else: cell.locator(".live-run").click()
    page.wait_for_function(IDLE, timeout=60_000)
    return tuple("".join(cell.locator(part).all_inner_texts()) for part in (".live-output pre", ".live-error"))


def says(page, n): return page.locator("div.live").nth(n).locator(".live-says").inner_text()


def alike(shown, saved):
    "The same text, but for spaces and the last digits: Python 3.12 sums floats more exactly than 3.11."
    (a, b), (x, y) = ([["".join(NUMBER.split(text)).split() for text in (shown, saved)], [[float(s) for s in NUMBER.findall(text)] for text in (shown, saved)]])
    return a == b and len(x) == len(y) and all(math.isclose(p, q, rel_tol=1e-9, abs_tol=1e-12) for p, q in zip(x, y))


def test_alike_tells_texts_apart():
    assert alike("[[0.8],\n [1e-3]] a", "[[0.7999999999999999], [0.001]] a")
    assert not alike("0.8", "0.81") and not alike("-1", "1") and not alike("a 1", "b 1") and not alike("1", "1 1")


def test_every_marked_cell_is_live():
    cells = [cell for path in get_config().nbs_path.rglob("[!.]*.ipynb") for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    marked = sum(cell["cell_type"] == "code" and "#| live: true" in "".join(cell["source"]).splitlines() for cell in cells)
    pages = [(SITE / name).read_text(encoding="utf-8") for name in PAGES]
    assert sum(page.count('<div class="live">') for page in pages) == marked > 0
    assert not any("live: true" in re.sub(r"<[^>]*>", "", page) for page in pages if "live.js" not in page)


@pytest.mark.parametrize("name", LIVE)
def test_every_live_cell_prints_what_is_saved(open_page, address, name):
    page = open_page(name)
    assert not any("pyodide" in url for url in page.asked)
    page.evaluate("document.querySelectorAll('.live details').forEach(fold => fold.open = true)")
    run(page, page.locator("div.live").count() - 1)
    cells = page.locator("div.live").evaluate_all("""cells => cells.map(cell => [
        [...cell.querySelectorAll('.cell-output:not(.live-output) pre')].map(e => e.textContent).join('\\n'),
        [...cell.querySelectorAll('.live-output pre')].map(e => e.textContent).join('\\n'),
        [...cell.querySelectorAll('.live-error')].map(e => e.textContent).join()])""")
    assert [error for *_, error in cells if error] == []
    for saved, shown, _ in cells: assert not saved or alike(shown, saved), f"saved:\n{saved}\nshown:\n{shown}"
    assert page.complaints == [] and any("pyodide.asm.wasm" in url for url in page.asked)
    assert all(url.startswith((address, "data:")) for url in page.asked)
    fits_a_phone(page)
    assert page.evaluate("[...document.querySelectorAll('.live textarea')].every(e => e.scrollHeight <= e.clientHeight + 1)")  # as high as the text under it


@pytest.fixture(scope="module")
def play(browser, address):
    "A page with live cells, its Python loaded once for the tests below, and whatever it complains about."
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.complaints = []
    page.on("console", lambda m: page.complaints.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(address + max(LIVE, key=lambda name: (SITE / name).read_text(encoding="utf-8").count('<div class="live">')))
    page.evaluate("document.querySelectorAll('.live details').forEach(fold => fold.open = true)")
    yield page
    assert page.complaints == []
    context.close()


def test_a_changed_number_changes_the_answer(play):
    assert run(play, 0, "x = 20\nprint('twice', x)\n2 * x") == ("twice 20\n40", "")
    assert run(play, 0, "x = 21\nprint('twice', x)\n2 * x") == ("twice 21\n42", "")
    assert run(play, 0, "x = 21;") == ("", "") and says(play, 0) == "It ran, and prints nothing."


def test_the_cells_above_run_first_where_they_changed(play):
    run(play, 0, "runs = [0]\nx = 2")
    assert run(play, 1, "runs[0] += 1\nx * 21, runs") == ("(42, [1])", "")
    assert run(play, 1) == ("(42, [2])", "")  # nothing above has changed: x is still there
    play.locator("div.live textarea").first.fill("runs = [0]\nx = 3")
    assert run(play, 1) == ("(63, [1])", "")


def test_an_error_is_shown_where_it_is(play):
    assert run(play, 0, "print('before')\n1 / 0") == ("before", "Line 2: ZeroDivisionError: division by zero")
    assert run(play, 1, "1") == ("", "A cell above has an error.")
    for code, error in (("def f(:", "SyntaxError: invalid syntax"), ("import numpy", "ModuleNotFoundError: .*numpy.*"), ("f = 1\n\nf()", "TypeError: .*not callable"),
                        ("assert 1 > 2", "AssertionError"), ("raise SystemExit(1)", "SystemExit: 1")):
        assert re.fullmatch(rf"Line {code.count(chr(10)) + 1}: {error}", run(play, 0, code)[1])
    assert run(play, 0, "1") == ("1", "")


def test_stop_ends_a_run_that_never_ends(play):
    cell = play.locator("div.live").first
    cell.locator("textarea").fill("while True: pass")
    cell.locator(".live-run").click()
    assert play.evaluate("1 + 1") == 2  # the page is alive
    cell.locator(".live-stop").click()
    play.wait_for_function(IDLE)
    assert says(play, 0) == "Stopped." and run(play, 0, "'again'") == ("'again'", "")


def test_reset_brings_the_cell_back(play):
    cell = play.locator("div.live").nth(1)
    cell.locator(".live-reset").evaluate("button => button.hidden || button.click()")
    look = "cell => [cell.querySelector('textarea').value, ...[...cell.querySelectorAll('.cell-output')].filter(e => !e.hidden).map(e => e.textContent)]"
    before = cell.evaluate(look)
    play.locator("div.live textarea").first.fill("")
    run(play, 1, "'changed'")
    assert cell.evaluate(look)[:2] == ["'changed'", "'changed'"]
    cell.locator(".live-reset").click()
    assert cell.evaluate(look) == before and cell.locator(".live-reset").is_hidden()


def test_by_keyboard(play):
    assert run(play, 0, "6 * 7", keys="Control+Enter") == run(play, 0, "6 * 7", keys="Shift+Enter") == ("42", "")
    editor = play.locator("div.live textarea").first
    editor.fill("for x in [1, 2]:")
    editor.press("End")
    editor.press("Enter")
    play.keyboard.type("print(x)")
    assert editor.input_value() == "for x in [1, 2]:\n    print(x)"
    for _ in range(2):  # no trap: Tab leaves the box, for the button that copies, then for Run
        play.keyboard.press("Tab")
        if play.evaluate("document.activeElement.className") == "live-run": break
    play.keyboard.press("Enter")
    play.wait_for_function(IDLE)
    assert play.locator("div.live").first.locator(".live-output pre").inner_text() == "1\n2"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_shown_can_be_read_by_everybody(open_page, scheme):
    page = open_page(LIVE[0], color_scheme=scheme)
    page.evaluate("document.querySelectorAll('.live details').forEach(fold => fold.open = true)")
    assert run(page, 0, "# a comment\nprint('text', 12.5)\n1 / 0")[1]
    assert serious(page) == [] and page.evaluate(PALE) == {}
    assert page.locator("[aria-live=polite].live-output").count() == page.locator("div.live textarea[aria-label]").count() == page.locator("div.live").count()


def test_opened_from_a_file_it_says_what_to_do(browser):
    page = browser.new_page()
    page.goto((SITE / LIVE[0]).as_uri())
    page.evaluate("document.querySelectorAll('.live details').forEach(fold => fold.open = true)")
    page.locator(".live-run").first.click()
    assert "python -m http.server -d _docs" in says(page, 0) and page.locator(".live-stop:not([hidden])").count() == 0
    page.close()


def test_a_page_without_live_cells_loads_nothing_of_it(open_page):
    page = open_page("changelog.html")
    assert not [url for url in page.asked if re.search(r"pyodide|live\.js|widgets\.js", url)]
