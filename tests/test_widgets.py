"""The widgets of the site compute what the package computes, show it, and can be used by everybody."""

import itertools
import json
import math
from importlib import resources

import pytest
import torch
from nbdev.config import get_config
from torch.testing import assert_close

from sac_seic.sac_losses import (_contrast, cross_weight, four_neighbor_means,
    intra_contrastive, intra_weight, neighbor_mean)
from sac_seic.seic_losses import DynamicBalance, alignment_objective, balance_loss
from sac_seic.tool.widgets import WIDGETS, show_widget

TOOL = resources.files("sac_seic.tool")
NAMES = tuple(WIDGETS)
PAGE = """<!doctype html><html lang="en"><head><title>widgets</title><meta name="viewport" content="width=device-width">
<style>body {{ margin: 12px; font: 16px sans-serif }}</style></head><body><main>{}</main></body></html>"""
DIVS = "".join(f'<div class="widget" data-widget="{name}">It lives on the site.</div>' for name in NAMES)


def open_page(browser, html: str = DIVS, width: int = 900):
    page = browser.new_page(viewport=dict(width=width, height=800))
    page.set_default_timeout(10_000)
    page.complaints = []
    page.on("console", lambda message: page.complaints.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("request", lambda request: page.complaints.append(f"asked for {request.url}") if request.url.startswith("http") else None)
    page.set_content(PAGE.format(html))
    page.add_style_tag(path=TOOL / "widgets.css")
    page.add_script_tag(path=TOOL / "widgets.js")
    return page


@pytest.fixture
def page(browser):
    page = open_page(browser)
    yield page
    assert page.complaints == []
    page.close()


def call(page, name: str, *arguments):
    "The widgets' own function, given and returning plain lists and numbers."
    plain = [x.tolist() if torch.is_tensor(x) else x for x in arguments]
    return page.evaluate("([name, arguments]) => sacSeicWidgets[name](...arguments)", [name, plain])


def agree(got, want) -> None:
    assert_close(torch.as_tensor(got, dtype=torch.float64), torch.as_tensor(want, dtype=torch.float64), atol=1e-9, rtol=1e-12)


def rows(n: int, c: int, seed: int) -> torch.Tensor:
    return (2 * torch.randn(n, c, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)).softmax(dim=1)


def numbers(page, widget: str) -> dict:
    "Every number shown by a widget, under its name; shown twice it must be the same, and the text must be the value rounded."
    found = {}
    for name, value, text, hidden in page.locator(f"[data-widget={widget}] [data-name]").evaluate_all(
            "nodes => nodes.map(x => [x.dataset.name, x.dataset.value, x.textContent, x.closest('[hidden]') !== null])"):
        if hidden: continue
        value, text = float(value), text.replace("−", "-")
        if text.startswith("over "): assert value > float(text[5:]); text = str(value)
        assert abs(float(text) - value) <= 0.5000001 * 10 ** -len(text.partition(".")[2]), (name, value, text)
        assert found.setdefault(name, value) == value, name
    return found


def move(page, widget: str, **controls) -> None:
    "Set controls by their accessible names, with '_' for ' '."
    place = page.locator(f"[data-widget={widget}]")
    for name, value in controls.items():
        if isinstance(value, bool): place.get_by_role("checkbox", name=name.replace("_", " ")).set_checked(value)
        elif isinstance(value, str): place.get_by_role("combobox", name=name.replace("_", " ")).select_option(value)
        else: place.get_by_role("slider", name=name.replace("_", " ")).fill(str(value))


# ---- the pure functions

def test_neighbor_mean_and_weights(page):
    p, q, *means = (rows(7, 4, seed) for seed in range(6))
    nbr = torch.randint(0, 7, (5, 3), generator=torch.Generator().manual_seed(0))
    agree(call(page, "neighborMean", p, nbr), neighbor_mean(p, nbr))
    p[0] = 0  # a row without length: torch's normalize leaves it 0
    for scale, alpha in ((1.0, 0.9), (0.3, 0.6)):
        agree(call(page, "intraWeight", p, q, *means[:2], scale, alpha), intra_weight(p, q, *means[:2], scale, alpha))
        agree(call(page, "crossWeight", p, q, *means[2:], scale, alpha), cross_weight(p, q, *means[2:], scale, alpha))
    agree(call(page, "intraWeight", p, q, *means[:2]), intra_weight(p, q, *means[:2]))  # the defaults as well
    agree(call(page, "crossWeight", p, q, *means[2:]), cross_weight(p, q, *means[2:]))
    agree([call(page, "cosine", x, y) for x, y in zip(p, q)], torch.cosine_similarity(p, q, eps=1e-12))


def test_intra_contrastive(page):
    p, p_bar, weight = rows(7, 4, 0), rows(7, 4, 1), torch.linspace(0.2, 0.9, 7, dtype=torch.float64)
    sims = torch.nn.functional.normalize(p, dim=1) @ torch.nn.functional.normalize(p_bar, dim=1).T
    for tau in (0.001, 0.05, 1.1, 2.0):
        agree(call(page, "contrast", p, p_bar, tau), _contrast(p, p_bar, tau, "cosine"))
        agree(call(page, "intraContrastive", p, p_bar, weight, tau), intra_contrastive(p, p_bar, weight, tau))
        agree(call(page, "intraContrastive", p, p_bar, None, tau), intra_contrastive(p, p_bar, None, tau))
        agree([call(page, "softmax", row, tau) for row in sims], (sims / tau).softmax(dim=1))
    agree(call(page, "intraContrastive", p, p_bar, weight), intra_contrastive(p, p_bar, weight))


def test_perfect_and_uniform(page):
    for batch, c, tau in itertools.product((6, 64, 512), (2, 3, 10, 100), (0.1, 1.1)):
        best = torch.nn.functional.one_hot(torch.arange(batch) % c, c).double()
        even = torch.full((batch, c), 1 / c, dtype=torch.float64)
        agree(call(page, "perfectLoss", batch, c, tau), intra_contrastive(best, best, None, tau))
        agree(call(page, "uniformLoss", batch), intra_contrastive(even, even, None, tau))


@pytest.mark.parametrize("k", (2, 3, 10))
def test_balance(page, k):
    pv, pt, h = rows(8, k, 0), rows(8, k, 1), rows(1, k, 2)[0]
    h[0] = 0.001  # below the package's floor
    for form in ("printed", "scaled"):
        ours = DynamicBalance(k, scaled=form == "scaled").double().eval()
        ours.h.copy_(h)
        divisor = call(page, "divisor", h, form)
        agree(call(page, "balanceLoss", pv.mean(dim=0), pt.mean(dim=0), divisor), ours(pv, pt))
        agree(call(page, "balancePush", pv.mean(dim=0), divisor), push(pv.mean(dim=0), torch.tensor(divisor, dtype=torch.float64)))
    plain = alignment_objective(pv, pt, pv, pt, "entropy", alpha=0, beta=0, gamma=0).balance
    agree(call(page, "balanceLoss", pv.mean(dim=0), pt.mean(dim=0), call(page, "divisor", h, "entropy")), plain)
    empty = torch.cat([torch.zeros(1, dtype=torch.float64), h])
    agree(call(page, "balanceLoss", empty, empty, empty + 1), balance_loss(empty, empty, empty + 1))
    agree(call(page, "balancePush", empty, empty + 1), push(empty, empty + 1))


def push(b: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    "Downhill on one head's b, kept on the simplex, by autograd."
    leaf = b.clone().requires_grad_()
    gradient, = torch.autograd.grad(balance_loss(leaf, b, h), leaf)
    return gradient.mean() - gradient


# ---- what is shown

def test_temperature_shows_the_package(page):
    start = numbers(page, "temperature")
    assert (round(start["perfect"], 2), round(start["uniform"], 2), round(start["gap-percent"])) == (5.47, 6.24, 12)
    says = page.locator("[data-widget=temperature] [aria-live=polite]")
    assert "nearly flat" in says.inner_text() and "12 %" in says.inner_text()
    for tau, soft, wrong, sample, batch, c in ((1.1, 0, 0, 0, 512, 10), (0.05, 0, 3, 0, 6, 3), (0.35, 0.4, 1, 2, 64, 20), (2, 0.95, 4, 5, 128, 2), (0.1, 1, 2, 1, 512, 100)):
        move(page, "temperature", temperature=tau, how_undecided=soft, wrong_text=wrong, look_at=str(sample), batch_size=str(batch), clusters_c=str(c))
        bank = (1 - soft) * torch.eye(3, dtype=torch.float64) + soft / 3
        nbr = torch.tensor([0, 0, 1, 1, 2, 2])[:, None].repeat(1, 4)
        nbr[0, :wrong] = 1
        p, p_bar = bank[[0, 0, 1, 1, 2, 2]], neighbor_mean(bank, nbr)
        weight = intra_weight(p, p_bar, p_bar, p)  # the text head says what the text neighbours say; image neighbours are right
        sims = torch.cosine_similarity(p[sample], p_bar)
        got = numbers(page, "temperature")
        agree([got[f"sim-{j}"] for j in range(1, 7)], sims)
        agree([got[f"softmax-{j}"] for j in range(1, 7)], (sims / tau).softmax(dim=0))
        agree([got["loss"], got["weight"]], [_contrast(p, p_bar, tau, "cosine")[sample], weight[sample]])
        agree(got["batch"], intra_contrastive(p, p_bar, weight, tau))
        best = torch.nn.functional.one_hot(torch.arange(batch) % c, c).double()
        agree([got["perfect"], got["uniform"]], [intra_contrastive(best, best, None, tau), math.log(batch)])
        agree(got["ratio"], math.exp((sims.max() - sims.min()) / tau))
        assert (got["tau"], got["soft"], got["wrong"], got["B"], got["c"]) == (tau, soft, wrong, batch, c)
    assert "sharp" not in says.inner_text()  # uniform rows: flat at any temperature
    move(page, "temperature", how_undecided=0)
    assert "sharp" in says.inner_text()


def test_picture_of_the_weights(page):
    first, seen = call(page, "pictureOf", 0, False), []
    for wrong in (0, 0.05, 0.25, 0.5, 0.75, 1):
        now = call(page, "pictureOf", wrong, False)
        p, q = (torch.tensor(now[key], dtype=torch.float64) for key in "pq")
        assert p.shape == q.shape == (12, 2) and p.min() >= 0 and q.min() >= 0
        agree(p.sum(dim=1), torch.ones(12)); agree(q.sum(dim=1), torch.ones(12))
        assert now["p"] == first["p"] and now["q"][1:] == first["q"][1:] and now["nbrV"] == [[1, 2, 3, 4]]  # one caption moves, nothing else
        assert len(set(now["nbrT"][0])) == 4 and sum(j >= 6 for j in now["nbrT"][0]) == now["away"]
        agree(now["q"][0][0], 0.95 - 0.9 * wrong)
        seen.append(now["away"])
    assert seen == [0, 0, 1, 2, 3, 4]
    agree(call(page, "pictureOf", 0.5, True)["q"], torch.tensor(call(page, "pictureOf", 0.5, False)["q"], dtype=torch.float64).flip(1))


def test_weights_show_the_package(page):
    least = {}
    for wrong, scale, alpha, swapped in ((0, 1, 0.9, False), (0.5, 1, 0.9, False), (1, 1, 0.9, False), (0.75, 0.2, 0.35, False), (0.3, 1.7, 0, True), (1, 0.05, 1, False)):
        move(page, "weights", caption=wrong, scale_a=scale, balance=alpha, the_text_head=swapped)
        drawn = call(page, "pictureOf", wrong, swapped)
        p, q = (torch.tensor(drawn[key], dtype=torch.float64) for key in "pq")
        means = four_neighbor_means(p, q, torch.tensor(drawn["nbrT"]), torch.tensor(drawn["nbrV"]))
        got, p0, q0 = numbers(page, "weights"), p[:1], q[:1]
        intra, cross = (p0, q0, means.p_bar_text, means.q_bar_image), (p0, q0, means.q_bar_text, means.p_bar_image)
        agree([got["w-IN"], got["w-CN"]], torch.cat([intra_weight(*intra, scale, alpha), cross_weight(*cross, scale, alpha)]))
        agree([got["w-i2i"], got["w-t2t"]], torch.cat([intra_weight(*intra, scale, 1), intra_weight(*intra, scale, 0)]))
        agree([got["w-I2T"], got["w-T2I"]], torch.cat([cross_weight(*cross, scale, 1), cross_weight(*cross, scale, 0)]))
        for name, bar, row in (("i2i", means.p_bar_text, p0), ("t2t", means.q_bar_image, q0), ("I2T", means.q_bar_text, p0), ("T2I", means.p_bar_image, q0)):
            agree([got[f"mean-{name}-A"], got[f"mean-{name}-B"]], bar[0])
            agree(got[f"sim-{name}"], torch.cosine_similarity(row, bar)[0])
        top = 1 / (1 + math.exp(-1 / scale))
        agree([got["top"], got["least"], got["percent-IN"], got["percent-CN"]], [top, 0.5, 100 * got["w-IN"] / top, 100 * got["w-CN"] / top])
        assert (got["wrong"], got["scale"], got["alpha"], got["away"]) == (wrong, scale, alpha, drawn["away"])
        assert page.locator("[data-widget=weights] .link.text").count() == 4 + 1 == page.locator("[data-widget=weights] .link.image").count()  # and the legend's
        least[wrong] = got["w-IN"]
    assert ("number the clusters differently" in page.locator("[data-widget=weights] .widget-says").inner_text()) == swapped
    assert 0.5 <= least[1] and least[0] < 0.7311


def balance_state(page) -> tuple:
    got = numbers(page, "balance")
    k = sum(name.startswith("push-printed") for name in got)
    return got, k, *(torch.tensor([got[f"{key}-{j}"] for j in range(1, k + 1)], dtype=torch.float64) for key in "bh")


def test_balance_shows_the_package(page):
    states = [dict(), dict(b_of_cluster_1=0.9), dict(h_of_cluster_2=0.05), dict(clusters_K="3"), dict(h_of_cluster_3=0.7), dict(b_of_cluster_2=0.9, h_of_cluster_1=0.05),
              dict(b_of_cluster_3=0.2), dict(b_of_cluster_1=0.62, h_of_cluster_2=0.31), dict(clusters_K="2")]
    seen = []
    for state in states:
        move(page, "balance", **state)
        got, k, b, h = balance_state(page)
        agree([b.sum(), h.sum()], [1, 1])
        assert min(b.min(), h.min()) >= 0.05 - 1e-12 and k == int(page.get_by_role("combobox", name="clusters K").input_value())
        for name, value in state.items():  # the one that was moved is where it was put
            if name[0] in "bh": agree(got[f"{name[0]}-{name[-1]}"], value)
        for form, scaled in (("printed", False), ("scaled", True)):
            ours = DynamicBalance(k, scaled=scaled).double().eval()
            ours.h.copy_(h)
            agree(got[f"loss-{form}"], ours(b[None], b[None]))
            agree([got[f"push-{form}-{j + 1}"] for j in range(k)], push(b, h * k if scaled else h))
        agree(got["loss-entropy"], alignment_objective(b[None], b[None], b[None], b[None], "entropy", alpha=0, beta=0, gamma=0).balance)
        agree([got[f"push-entropy-{j + 1}"] for j in range(k)], push(b, torch.ones(k, dtype=torch.float64)))
        seen.append((b.tolist(), h.tolist()))
    assert len({str(x) for x in seen}) == len(states) - 1 and seen[0] == seen[-1]


def test_balance_presets_and_words(page):
    says = page.locator("[data-widget=balance] .widget-says")
    move(page, "balance", b_of_cluster_1=0.2)
    page.get_by_role("button", name="Preset K = 2").click()
    got, k, b, h = balance_state(page)
    assert (b.tolist(), h.tolist()) == ([0.5, 0.5], [0.6, 0.4]) and round(got["loss-printed"], 3) == -2.888
    assert got["push-printed-2"] < 0 == got["push-entropy-2"] and "down (−0.128), against its purpose" in says.inner_text()
    page.get_by_role("button", name="Preset K = 3").click()
    assert balance_state(page)[0]["push-printed-3"] > 0 and "up" in says.inner_text() and "as it should" in says.inner_text()
    move(page, "balance", clusters_K="2", h_of_cluster_1=0.5)
    assert "alike" in says.inner_text() and "purpose" not in says.inner_text()


# ---- who can use it, and where

CONTROLS = ".widget :is(input, select, button):visible"
FOCUS = """() => { const x = document.activeElement, style = getComputedStyle(x);
    return [x.id || x.textContent, x.selectedIndex === 0 ? 'first' : x.type, style.outlineStyle === 'solid' ? parseFloat(style.outlineWidth) : 0]; }"""
KEYS = {"range": "ArrowLeft", "checkbox": "Space", "select-one": "ArrowUp", "first": "ArrowDown", "button": "Enter"}


def test_every_control_has_a_name(page):
    for control in page.locator(CONTROLS).all():
        name = control.evaluate("x => x.labels.length ? [...x.labels].map(y => y.textContent).join() : x.textContent")
        role = control.evaluate("x => ({range: 'slider', checkbox: 'checkbox', button: 'button'})[x.type] ?? 'combobox'")
        assert len(name) > 3 and page.get_by_role(role, name=name, exact=True).count() == 1, name


def test_every_control_is_reached_and_works_by_keyboard(page):
    page.get_by_role("button", name="Preset K = 3").click()
    move(page, "temperature", how_undecided=0.3, wrong_text=2); move(page, "weights", caption=0.5)
    wanted = page.locator(CONTROLS).evaluate_all("nodes => nodes.map(x => x.id || x.textContent)")
    assert len(set(wanted)) == len(wanted) == 6 + 4 + 9
    page.locator("body").evaluate("x => { x.tabIndex = -1; x.focus(); }")
    pictures = lambda: page.locator(".widget-view [data-value]").evaluate_all("nodes => nodes.map(x => x.dataset.value)")
    for name in wanted:
        page.keyboard.press("Tab")
        focused, kind, outline = page.evaluate(FOCUS)
        assert focused == name and outline >= 2, name  # in the order of the page, and one sees where one is
        if kind == "button": move(page, "balance", h_of_cluster_1=0.25); page.get_by_role("button", name=name).focus()
        before = pictures()
        page.keyboard.press(KEYS[kind])
        assert pictures() != before, name
        if not page.get_by_role("slider", name="b of cluster 3").is_visible():
            page.get_by_role("button", name="Preset K = 3").evaluate("x => x.click()")  # back to all nine controls


def test_pictures_and_sentences_are_told(page):
    for name in NAMES:
        place = page.locator(f"[data-widget={name}]")
        assert "lives on the site" not in place.inner_text() and place.locator(".widget-title").inner_text().endswith("?")
        assert place.locator("[aria-live=polite]").count() == 1 and place.locator("h1, h2, h3, h4").count() == 0
        told = lambda: place.locator("svg[role=img]").evaluate_all("nodes => nodes.map(x => x.getAttribute('aria-label')).join()") + place.locator("[aria-live]").inner_text()
        assert place.locator("svg").count() == place.locator("svg[role=img][aria-label]").count() > 0
        before = told()
        assert place.locator("input[type=range]").first.evaluate("x => { x.value = x.min; x.dispatchEvent(new Event('input')); return x.value; }")
        place.locator("input[type=range]").nth(-2 if name == "balance" else 0).fill("0.3")
        assert told() != before


@pytest.mark.parametrize("width", (390, 320, 900))
def test_nothing_scrolls_sideways(browser, width):
    page = open_page(browser, width=width)
    for wrong, name in ((0, "Preset K = 2"), (1, "Preset K = 3")):
        move(page, "weights", caption=wrong)
        page.get_by_role("button", name=name).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        outside = page.locator(".widget *:visible").evaluate_all("""nodes => nodes.filter(x => { const r = x.getBoundingClientRect(),
            w = x.closest('.widget').getBoundingClientRect(); return r.width && (r.left < w.left || r.right > w.right); }).map(x => x.outerHTML.slice(0, 120))""")
        assert outside == []
    assert page.complaints == []
    page.close()


def test_does_nothing_elsewhere(browser):
    html = '<p>A page without widgets.</p><div class="widget" data-widget="toString">left alone</div><div class="widget" data-widget="other">me too</div>'
    page = open_page(browser, html)
    assert page.locator("main").inner_html() == html and page.complaints == []
    page.close()


def test_colours_follow_the_site(page):
    for variable in ("image", "text", "weight", "tau", "ink", "paper", "card", "line", "muted"):
        page.add_style_tag(content=f":root {{ --{variable}: rgb(1, 2, 3); }}")
    colours = page.locator(".widget, .widget :not(input)").evaluate_all("""nodes => nodes.flatMap(x => { const s = getComputedStyle(x);
        return [s.color, ...(x.closest('svg') && x.tagName !== 'svg' ? [s.fill, s.stroke] : [])]; })""")
    known = {"rgb(1, 2, 3)", "none", "rgb(0, 0, 0)"}  # black is SVG's fill of a line, which has no inside
    assert set(colours) <= known
    assert page.locator(".widget svg :is(text, rect, circle, path)").evaluate_all("nodes => nodes.every(x => getComputedStyle(x).fill === 'rgb(1, 2, 3)')")


def test_one_widget_alone_before_the_page_is_read(browser):
    "As on the site: the script is deferred, and one div stands in the page."
    page = browser.new_page()
    script = (TOOL / "widgets.js").read_text(encoding="utf-8")
    page.set_content(PAGE.format(f'<script>{script}</script><div class="widget" data-widget="balance"></div>'))
    assert page.locator(".widget-title").count() == 1 and numbers(page, "balance")["K"] == 2
    page.close()


def test_show_widget_as_a_notebook_shows_it(browser):
    "Each output is put into one page with its own style and script, whose scripts run then, as Jupyter does; one is shown twice."
    page = open_page(browser, '<div id="outputs" class="jp-RenderedHTMLCommon"></div>')
    page.add_style_tag(content=".jp-RenderedHTMLCommon :is(table, thead) { color: #fff } .jp-RenderedHTMLCommon tbody tr:nth-child(n) { background: #000; text-align: right }")  # as Jupyter's dark theme
    for name in ("weights", *NAMES):
        page.evaluate("""html => { const output = document.createElement('div'); output.innerHTML = html; outputs.append(output);
            for (const old of output.querySelectorAll('script')) { const script = document.createElement('script'); script.textContent = old.textContent; old.replaceWith(script) } }""",
            show_widget(name)._repr_html_())
        if page.locator(".widget").count() == 1: page.locator("[data-widget=weights]").get_by_role("slider", name="caption").fill("0.5")
    assert page.locator(".widget .widget-title").count() == 4
    ids = page.locator("[id]").evaluate_all("nodes => nodes.map(x => x.id)")
    assert len(ids) == len(set(ids)) > 20
    first, second = page.locator("[data-widget=weights]").all()
    assert first.locator("table, table *").evaluate_all("nodes => nodes.every(x => [getComputedStyle(x).color, getComputedStyle(x).backgroundColor, getComputedStyle(x).textAlign].join() === 'rgb(31, 35, 40),rgba(0, 0, 0, 0),left')")
    assert "2 of 4 text neighbours are wrong" in (before := first.inner_text())
    second.get_by_role("slider", name="caption").fill("1")
    assert "4 of 4 text neighbours are wrong" in second.inner_text() and first.inner_text() == before
    assert page.complaints == []
    page.close()


def test_no_notebook_keeps_a_copy_of_the_script():
    "It stands in the package once; the site and show_widget take it from there."
    for path in get_config().nbs_path.rglob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        kept = [cell["id"] for cell in cells if cell["cell_type"] == "code" and "sacSeicWidgets" in json.dumps(cell["outputs"])]
        assert not kept, f"clear the output of {kept} in {path.name}"
