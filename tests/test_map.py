"""The map: places that keep neighbours together, and a canvas that can be looked at, moved and picked from."""

from importlib import resources

import numpy as np
import pytest

from sac_seic.tool.map import layout

SCRIPT = resources.files("sac_seic.tool") / "map.js"
PAGE = """<!doctype html><style>body{margin:0;--fg:#111;--bg:#fff} canvas{width:600px;height:400px;display:block}</style>
<canvas id=map></canvas>"""
# Four images in the corners of a square, red, green, blue and black, and 96 grey ones in the middle that are hidden
SETUP = """() => {
  const n = 100, xy = new Float32Array(2 * n).fill(0.5), visible = new Uint8Array(n), cluster = new Int32Array(n);
  xy.set([0, 0, 1, 0, 0, 1, 1, 1]); visible.fill(1, 0, 4); cluster.set([0, 1, 2, 3]);
  const sheet = document.createElement("canvas"); sheet.width = 80; sheet.height = 40;
  const brush = sheet.getContext("2d"); brush.fillStyle = "#ff0"; brush.fillRect(0, 0, 40, 40); brush.fillStyle = "#0ff"; brush.fillRect(40, 0, 40, 40);
  window.picks = []; window.lassos = []; window.cluster = cluster;
  window.map = sacMap(document.getElementById("map"), {n, xy, cluster, visible, label: c => c === 3 ? "<b>black</b>" : "",
    color: c => ["#f00", "#0f0", "#00f", "#000"][c], sprite: i => ({image: sheet, x: 40 * (i % 2), y: 0, size: 40}),
    onPick: i => picks.push(i), onLasso: rows => lassos.push(Array.from(rows))});
}"""
COLORS = """() => { const c = document.getElementById("map"), d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data, found = {};
  for (let i = 0; i < d.length; i += 4) { const key = [d[i], d[i + 1], d[i + 2]].join(); found[key] = (found[key] ?? 0) + 1; } return found; }"""
CORNERS = [(116, 16), (484, 16), (116, 384), (484, 384)]  # 0.92 of 400 pixels, in the middle of 600


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport=dict(width=600, height=400))
    page.set_default_timeout(10_000)
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: errors.append(request.url) if request.url.startswith("http") else None)
    page.set_content(PAGE)
    page.add_script_tag(path=SCRIPT)
    page.evaluate(SETUP)
    drawn(page)
    yield page
    assert errors == []
    page.close()


def drawn(page) -> dict:
    "How many pixels have which colour, once what was asked for is drawn."
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.evaluate(COLORS)


def test_dots_in_their_colours_and_names(page):
    colors = drawn(page)
    assert all(colors.get(one, 0) > 10 for one in ("255,0,0", "0,255,0", "0,0,255"))
    assert "255,255,0" not in colors  # no picture yet
    assert page.locator("b").count() == 0  # a name is text, whatever it holds
    page.evaluate("() => { cluster[0] = 1; map.redraw(); }")
    assert "255,0,0" not in drawn(page)


def test_click_picks_what_is_visible(page):
    for x, y in CORNERS: page.mouse.click(x, y)
    page.mouse.click(300, 200)  # the hidden ones
    assert page.evaluate("picks") == [0, 1, 2, 3]
    page.evaluate("() => map.setVisible(new Uint8Array(100).fill(1, 1, 4))")
    page.mouse.click(*CORNERS[0])
    assert page.evaluate("picks") == [0, 1, 2, 3]


def test_pictures_from_near(page):
    page.evaluate("() => map.focus(0)")
    colors = drawn(page)
    assert colors["255,255,0"] > 300 and colors["255,0,0"] > 30  # picture 0, framed in its cluster's colour
    page.mouse.move(5, 5)
    page.mouse.click(300, 200)
    assert page.evaluate("picks") == [0]  # it is in the middle


def test_pan_repaints_only_strips_but_all_of_them(page):
    page.evaluate("() => map.focus(0)")
    page.mouse.move(300, 200); page.mouse.down()
    for x, y in ((340, 170), (290, 230), (250, 210), (321, 187)): page.mouse.move(x, y); drawn(page)
    page.mouse.up(); page.mouse.move(599, 399)
    page.keyboard.press("Escape")
    moved = drawn(page)
    page.evaluate("() => map.redraw()")
    assert drawn(page) == moved  # strip by strip is the same as all at once


def test_wheel_zooms_about_the_pointer(page):
    page.mouse.move(*CORNERS[3])
    for _ in range(3): page.mouse.wheel(0, -300)
    drawn(page)
    page.mouse.click(*CORNERS[3])
    assert page.evaluate("picks") == [3]
    page.evaluate("() => map.fit()"); drawn(page)
    page.mouse.click(*CORNERS[1])
    assert page.evaluate("picks") == [3, 1]


def test_keys(page):
    page.locator("#map").focus()
    for key in ("+", "ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowUp", "ArrowUp", "ArrowUp", "Enter"): page.keyboard.press(key)
    assert page.evaluate("picks") == [0]
    for key in ("0", "+", "ArrowRight", "ArrowRight", "ArrowRight", "ArrowDown", "ArrowDown", "ArrowDown", "Enter"): page.keyboard.press(key)
    assert page.evaluate("picks") == [0, 3]


@pytest.mark.parametrize("how", ("shift", "lasso"))
def test_loop_round_the_left_half(page, how):
    if how == "shift": page.keyboard.down("Shift")
    else: page.evaluate("() => map.lasso(true)")
    page.mouse.move(60, 2); page.mouse.down()
    for x, y in ((300, 2), (300, 398), (60, 398)): page.mouse.move(x, y)
    page.mouse.up()
    assert page.evaluate("lassos") == [[0, 2]] and page.evaluate("picks") == []


def test_destroyed_it_does_nothing_more(page):
    page.evaluate("() => map.destroy()")
    page.mouse.click(*CORNERS[0])
    page.evaluate("() => map.redraw()")
    assert page.evaluate("picks") == []


def test_layout_keeps_neighbours():
    rng = np.random.default_rng(0)
    middles = rng.normal(size=(8, 20))
    v = np.repeat(middles, 60, axis=0) + 0.3 * rng.normal(size=(480, 20))
    xy, group = layout(v), np.arange(480) // 60
    assert xy.dtype == np.float32 and xy.shape == (480, 2) and xy.min() >= 0 and xy.max() <= 1
    assert np.isclose(np.ptp(xy, axis=0).max(), 1, atol=1e-5)
    near = ((xy[:, None] - xy) ** 2).sum(axis=2).argsort(axis=1)[:, 1:11]
    assert (group[near] == group[:, None]).mean() > 0.98


def test_layout_follows_the_neighbours_it_is_given():
    v, rng = np.random.default_rng(0).normal(size=(200, 5)), np.random.default_rng(1)
    half = np.arange(200) // 100
    nbr = np.stack([rng.choice(np.flatnonzero(half == h), 10, replace=False) for h in half])
    near = ((layout(v, nbr)[:, None] - layout(v, nbr)) ** 2).sum(axis=2).argsort(axis=1)[:, 1:6]
    assert (half[near] == half[:, None]).mean() > 0.95


@pytest.mark.parametrize("dtype", (np.float16, np.float64, np.int32))
def test_layout_takes_any_numbers(dtype):
    v = (100 * np.random.default_rng(0).normal(size=(30, 6))).astype(dtype)[::-1, ::2]
    assert np.isfinite(layout(v)).all()
