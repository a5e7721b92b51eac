"""The page of a clustering in a browser, opened from disk: it asks for nothing, finds, is put in order, and gives a plan."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from sac_seic.data.images import ImageFolder
from sac_seic.tool import page as page_module
from sac_seic.tool.command import app
from sac_seic.tool.page import PageData, write_page

HOSTILE = ["<img src=x onerror=alert(1)>.jpg", "</script><script>alert(1)</script>.png", "<!-- a.jpg", "\"double\" 'single' & amp;.jpg",
           "line\nbreak.jpg", "caf\udce9.jpg", "\u202egpj.evil", "100% #1?.jpg", "ünïcode 🙂.jpg"]
N, COLORS = 120, np.random.default_rng(0).integers(0, 8, (120, 3)) * 32 + 16
LABELS = np.arange(N) % 3
CONFIDENCE = np.round(np.linspace(0.05, 0.95, N), 3)


def thumbnail(i: int) -> Image.Image | None:
    return None if i == 7 else Image.new("RGB", (40 + i, 50), tuple(COLORS[i].tolist()))


def example(**more) -> PageData:
    files = HOSTILE + [f"folder/{'odd' if i % 2 else 'even'} {i}.jpg" for i in range(len(HOSTILE), N)]
    ring = np.arange(N) / N * 2 * np.pi
    return PageData(**{**dict(
        title="</title><script>alert(1)</script>", files=files, labels=LABELS, names=["car", "<b>bold</b>", ""], confidence=CONFIDENCE,
        folder="/some folder", thumbnails=thumbnail, keywords=[["<i>wheel"], [], ["a", "b"]], captions=[f"</script> caption of {i}" for i in range(N)],
        xy=np.stack([np.cos(ring), np.sin(ring)], axis=1) / 2 + 0.5, near=(np.arange(N)[:, None] + np.arange(1, 9)) % N, typical=[[3], [4], [5]],
        odd={"far <u>out</u>": [0, 1, 2, 50], "twins": [50, 51]}, truth=LABELS, classes=["<s>", "two", "three"], metrics={"ACC": 1.0, "NMI": np.nan},
        k_curve={"k": 3, "runner_up": 5, "unsure": True, "why": "<flat>", "curve": {"k": [2, 3, 5], "silhouette": [0.1, np.nan, 0.2], "gap": [1, 3, 2]}},
        recipe={"start": "</script>"}, seconds={"Embedding": np.float32(1.5)}), **more})


@pytest.fixture(scope="module")
def path(tmp_path_factory): return write_page(tmp_path_factory.mktemp("page") / "report.html", example())


@pytest.fixture(scope="module")
def context(browser):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    yield context
    context.close()


def opened(context, path):
    "The page, with what it complains about and asks for."
    page = context.new_page()
    page.set_default_timeout(5_000)
    page.complaints, page.asked = [], []
    page.on("console", lambda message: page.complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("dialog", lambda dialog: (page.complaints.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector("body.ready")
    return page


@pytest.fixture
def page(context, path):
    page = opened(context, path)
    yield page
    page.evaluate("localStorage.clear()")
    page.close()
    assert page.complaints == []


def heads(page): return [head.split("\n") for head in page.locator("#gallery .group-head").evaluate_all("all => all.map(x => x.querySelector('h2').textContent + '\\n' + x.querySelector('p').textContent)")]
def sizes(page): return {name: int(said.split()[0]) for name, said in heads(page)}
def press(page, name, nth=0): page.get_by_role("button", name=name, exact=True).nth(nth).click()
def files(page): return page.locator("#gallery .thumb").evaluate_all("all => all.map(x => x.title)")


def settle(page): page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")  # what was asked is drawn


def put(page, field, value):
    page.locator(field).fill(value)
    settle(page)


def answer(page, value=None, choice=None):
    if value is not None: page.locator("#dialog-text").fill(value)
    if choice is not None: page.locator("#dialog-choice").select_option(label=choice)
    page.locator("#dialog-yes").click()
    settle(page)


def exported(page) -> dict:
    with page.expect_download() as download: press(page, "Export plan")
    return json.loads(download.value.path().read_text("utf-8"))


def test_asks_for_nothing_and_says_no_error(page, path):
    for name in ("Map", "Odd ones", "About", "Clusters"):
        page.get_by_role("tab", name=name).click()
        assert page.get_by_role("tabpanel", name=name).is_visible()
        page.wait_for_timeout(150)
    page.locator(".thumb").first.click()
    assert [url for url in page.asked if not url.startswith(("blob:", "data:"))] == [path.as_uri()]
    assert "default-src 'none'" in page.locator("meta[http-equiv]").get_attribute("content")


def test_what_comes_from_outside_is_text(page):
    assert page.title() == page.locator("h1").inner_text() == "</title><script>alert(1)</script>"
    assert [name for name, _ in heads(page)] == ["car", "<b>bold</b>", "cluster 2"]
    page.get_by_role("button", name="All 40").first.click()
    for i in (6, 3, 0):
        page.locator(f"#gallery .thumb[data-i='{i}']").click()
        assert page.locator(".file").inner_text() == HOSTILE[i].replace("\u202e", "\\u202e")
        assert f"</script> caption of {i}" in page.locator("#detail").inner_text()
    put(page, "#search", "caf")
    page.locator(".thumb[data-i='5']").click()
    assert page.locator(".file").inner_text() == "caf\\udce9.jpg"
    put(page, "#search", "line")
    page.locator(".thumb[data-i='4']").click()
    assert page.locator(".file").inner_text() == "line\\u000abreak.jpg"
    page.get_by_role("tab", name="About").click()
    about = page.locator("#view-about").inner_text()
    assert "Unsure how many clusters there are" in about and "<flat>" in about and "<s>" in about
    assert page.locator("img, b, i, u, s").count() == 0 and page.locator("body script:not([type])").count() == 2


def test_every_thumbnail_is_its_image(page):
    for fold in page.get_by_role("button", name="All 40").all()[::-1]: fold.click()
    checked = set()
    for top in (0, 10**6):  # the second sheet, too
        page.evaluate(f"scrollTo(0, {top})")
        page.wait_for_timeout(200)
        pixels = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)
        for i, x, y in page.locator("#gallery .thumb").evaluate_all("all => all.map(t => { const b = t.getBoundingClientRect(); return [+t.dataset.i, b.x + b.width / 2, b.y + b.height / 2]; })"):
            if not 140 < y < 890: continue
            assert np.abs(pixels[int(y), int(x)] - (COLORS[i] if i != 7 else 128)).max() < 12, i
            checked.add(i)
    assert len(checked) > 60


def test_search_and_filters(page):
    put(page, "#search", "ODD 77.JPG")     # of the file's name
    assert page.locator("#count").inner_text() == "1 image of 120" and files(page) == ["folder/odd 77.jpg"]
    put(page, "#search", "caption of 76")  # of the caption
    assert files(page) == ["folder/even 76.jpg"]
    put(page, "#search", "bold even")      # the cluster's name and the file
    want = [i for i in range(len(HOSTILE), N) if LABELS[i] == 1 and i % 2 == 0]
    assert sorted(files(page)) == sorted(f"folder/even {i}.jpg" for i in want)
    page.get_by_role("button", name="Clear filters").click()
    assert page.locator("#search").input_value() == "" and sum(sizes(page).values()) == N
    put(page, "#from", "90")
    assert page.locator("#count").inner_text() == f"{(CONFIDENCE >= 0.9).sum()} images of 120"
    put(page, "#from", "95")  # the surest image has just that
    assert page.locator("#count").inner_text() == "1 image of 120" and files(page) == [f"folder/odd {N - 1}.jpg"]
    put(page, "#from", "0")
    put(page, "#to", "5")     # the least sure one
    assert page.locator("#count").inner_text() == "1 image of 120"
    put(page, "#to", "100")
    page.get_by_role("checkbox", name="Only odd ones").check()
    settle(page)
    assert page.locator("#count").inner_text() == "5 images of 120"
    page.get_by_role("checkbox", name="Only odd ones").uncheck()
    settle(page)
    page.locator("#side").get_by_role("button", name="car").click()
    order = sorted(np.flatnonzero(LABELS == 0), key=lambda i: -CONFIDENCE[i])  # all of it, the surest first
    assert page.locator("#gallery .thumb").evaluate_all("all => all.map(t => +t.dataset.i)") == order
    put(page, "#search", "no such thing")
    assert page.locator("#count").inner_text() == "0 images of 120" and files(page) == []


def test_edits_undo_and_the_plan(page, path):
    rows = {c: [i for i in np.argsort(-CONFIDENCE) if LABELS[i] == c] for c in range(3)}
    press(page, "Rename car")
    answer(page, "<B>BOLD</B>")  # taken, in other letters
    assert "Another cluster has this name" in page.locator("#dialog-said").inner_text()
    answer(page, "red </script> cars/vans")
    assert heads(page)[0][0] == "red </script> cars/vans"
    press(page, "Merge <b>bold</b>")
    answer(page, choice="cluster 2 (40)")
    assert sizes(page) == {"red </script> cars/vans": 40, "cluster 2": 80}
    thumbs = page.locator("#gallery .thumb")
    thumbs.nth(0).click(modifiers=["Control"])
    thumbs.nth(4).click(modifiers=["Shift"])
    assert page.locator("#selected").inner_text() == "5 selected"
    press(page, "Split off")
    answer(page, "five")
    assert sizes(page) == {"five": 5, "red </script> cars/vans": 35, "cluster 2": 80}
    page.locator("#gallery .thumb[data-i='5'], #gallery .thumb").nth(10).focus()
    moved = int(page.evaluate("document.activeElement.dataset.i"))
    page.keyboard.press("x")
    press(page, "Move to a cluster")
    answer(page, choice="five (5)")
    assert sizes(page)["five"] == 6
    press(page, "Skip cluster 2")
    page.locator("#gallery .thumb[data-g='0']").first.click()
    page.locator("#detail").get_by_role("button", name="Skip").click()
    names = example().files
    five = sorted({*rows[0][:5], moved}, key=lambda i: -CONFIDENCE[i])
    others = [i for i in rows[0] if i not in five]
    listed = lambda kept: [{"file": names[i], "confidence": CONFIDENCE[i]} for i in kept]  # noqa: E731
    plan = exported(page)
    assert plan == {"format": "sac_seic.plan 1", "folder": "/some folder", "skip": [names[i] for i in range(N) if LABELS[i] or i == five[0]],
                    "groups": [{"name": "five", "files": listed(five[1:])}, {"name": "red </script> cars/vans", "files": listed(others)}]}
    page.reload()
    page.wait_for_selector("body.ready")
    assert exported(page) == plan and sizes(page) == {"five": 6, "red </script> cars/vans": 34, "cluster 2": 80}
    for _ in range(6): press(page, "Undo")
    assert page.locator("#undo").is_disabled()
    first = exported(page)
    assert [group["name"] for group in first["groups"]] == ["car", "<b>bold</b>", "cluster 2"] and first["skip"] == []
    assert [group["files"] for group in first["groups"]] == [listed(rows[c]) for c in range(3)]
    for _ in range(6): press(page, "Redo")
    assert exported(page) == plan
    page.keyboard.press("u")
    assert exported(page) != plan


def test_keys(page):
    page.keyboard.press("/")
    page.keyboard.type("car")
    assert page.locator("#search").input_value() == "car"
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    first = page.evaluate("+document.activeElement.dataset.i")
    assert first == 117  # the surest of cluster 0
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.locator(".file").inner_text() == "folder/even 114.jpg"
    page.keyboard.press("ArrowLeft")  # the panel follows
    assert page.locator(".file").inner_text() == "folder/odd 117.jpg"
    page.keyboard.press("Space")
    assert page.locator("#selected").inner_text() == "1 selected"
    for _ in range(2): page.keyboard.press("Escape")
    assert page.locator("#selection").is_hidden() and page.locator("#detail").is_hidden()
    page.get_by_role("button", name="Clear filters").click()
    page.locator(".thumb").first.focus()
    shown = page.locator("#gallery .thumb[data-g='0']").count()
    assert shown % 3 == 0 and shown < 40                       # three rows of forty images
    for _ in range(8): page.keyboard.press("ArrowDown")
    last = [i for i in np.argsort(-CONFIDENCE) if LABELS[i] == 2][2 * shown // 3]
    assert page.evaluate("+document.activeElement.dataset.i") == last  # three rows each in three clusters


def test_neighbours_and_map(page):
    page.locator("#gallery .thumb[data-i='117']").click()
    page.get_by_role("button", name="Nearest image folder/even 118.jpg, <b>bold</b>").click()
    assert page.locator(".file").inner_text() == "folder/even 118.jpg"
    page.get_by_role("button", name="On the map").click()
    for _ in range(30):  # until the pictures are there
        page.wait_for_timeout(100)
        pixels = np.asarray(Image.open(io.BytesIO(page.locator("#map").screenshot())).convert("RGB")).astype(int)
        (height, width, _), ring = pixels.shape, example().xy - 0.5  # the map fills 92 % of the canvas
        x, y = (ring * 0.92 * min(width, height) + np.array([width, height]) / 2).astype(int).T
        if (np.abs(pixels[y, x] - COLORS).max(axis=1) < 12).sum() >= 25: break  # where there is no room, dots
    else: raise AssertionError("the map does not show the images at their places")


@pytest.mark.parametrize("width, scheme", [(390, "light"), (1280, "dark")])
def test_fits(browser, path, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, is_mobile=width < 700, has_touch=width < 700)
    page = opened(context, path)
    for name in ("Map", "Odd ones", "About", "Clusters"):
        page.get_by_role("tab", name=name).click()
        assert page.evaluate("document.documentElement.scrollWidth") == width
    page.locator(".tick").first.click()
    assert page.locator("#selected").inner_text() == "1 selected"
    page.locator(".thumb").nth(1).click(position={"x": 60, "y": 60})
    assert page.evaluate("document.documentElement.scrollWidth") == width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light") and page.complaints == []
    context.close()


def test_without_storage_it_says_so(context, path):
    page = context.new_page()
    page.add_init_script("Object.defineProperty(window, 'localStorage', {get() { throw new Error('forbidden'); }})")
    page.goto(path.as_uri())
    press(page, "Skip car")
    assert "not kept by this browser" in page.locator("#facts").inner_text()
    assert len(exported(page)["skip"]) == 40
    page.close()


def test_unnamed_clusters_are_brief_in_the_list(context, tmp_path):
    page = opened(context, write_page(tmp_path / "named.html", example(names=["unnamed, looks like pot", "car", ""], title="120 images in 3 clusters")))
    assert page.locator(".side-name").all_inner_texts() == ["All clusters", "pot?", "car", "cluster 2"]
    assert heads(page)[0][0] == exported(page)["groups"][0]["name"] == "unnamed, looks like pot"
    assert page.locator("#facts").inner_text() == "ACC 1.000"  # the title says the rest
    page.close()


def test_little_is_enough(context, tmp_path):
    one = PageData("One", ["a.jpg"], np.array([1]), ["", "b", ""], np.array([np.nan]))  # two clusters are empty
    page = opened(context, write_page(tmp_path / "one.html", one))
    assert page.locator("h1").inner_text() == "One" and [name for name, _ in heads(page)] == ["b"]
    assert [page.get_by_role("tab", name=name).is_visible() for name in ("Map", "Odd ones", "About")] == [False, False, True]
    page.locator(".thumb").click()
    plan = exported(page)
    assert plan["folder"] is None and plan["groups"] == [{"name": "b", "files": [{"file": "a.jpg", "confidence": 0}]}] and page.complaints == []
    page.close()


def test_more_images_than_fit_one_file(context, tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "_ONE_FILE", 89)
    folder = tmp_path / "a & b" / "my report_files"
    folder.parent.mkdir()
    path = write_page(folder.parent / "my report.html", example())
    before = {file.name for file in folder.iterdir()}
    assert len(before) == 2 and b"data:image" not in path.read_bytes().split(b"</style>")[1].split(b"<script>")[0]
    page = opened(context, path)
    page.wait_for_timeout(300)
    asked = [url for url in page.asked if not url.startswith(("blob:", "data:"))]
    assert asked[0] == path.as_uri() and {url.rpartition("/")[2] for url in asked[1:]} == before and page.complaints == []
    pixels = np.asarray(Image.open(io.BytesIO(page.locator("#gallery .thumb[data-i='117']").screenshot())).convert("RGB")).astype(int)
    assert np.abs(pixels[40, 40] - COLORS[117]).max() < 12
    page.get_by_role("tab", name="Map").click()
    page.wait_for_timeout(500)  # until the map has pictures, which it may draw but not read
    page.evaluate("sacPage.map().redraw()")
    settle(page)
    assert page.complaints == []
    page.close()
    write_page(path, example(thumbnails=lambda i: Image.new("RGB", (9, 9), "red")))
    assert not before & {file.name for file in folder.iterdir()}  # an earlier page's sheets are gone


def test_from_the_page_to_folders_and_back(context, tmp_path):
    "What is put in order on the page is what lies in the folders, and nothing is left of it after undo."
    photos, sorted_into, colors = tmp_path / "photos", tmp_path / "sorted", "red green blue".split()
    for i in range(12):
        (photos / str(i % 2)).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (i, 0, 0)).save(photos / str(i % 2) / f"{i:02}.png")
    images = ImageFolder(photos)
    path = write_page(tmp_path / "report.html", PageData("12 images", images.names, np.arange(12) % 3, colors, np.linspace(0.9, 0.1, 12), folder=str(photos)))
    page = opened(context, path)
    press(page, "Rename red")
    answer(page, "dark: red?")
    press(page, "Merge green")
    answer(page, choice="blue (4)")
    (tmp_path / "plan.json").write_text(json.dumps(exported(page)))
    page.close()
    run = lambda *words: CliRunner().invoke(app, [*words[:1], *map(str, words[1:])])  # noqa: E731
    looked = run("apply", tmp_path / "plan.json", sorted_into)
    assert looked.exit_code == 0 and "Nothing was done" in looked.output and not sorted_into.exists()
    assert run("apply", tmp_path / "plan.json", sorted_into, "--copy", "--yes").exit_code == 0
    there = {folder.name: {file.read_bytes() for file in folder.iterdir()} for folder in sorted_into.iterdir() if folder.is_dir()}
    expected = {name: {(photos / file).read_bytes() for i, file in enumerate(images.names) if i % 3 in kept}
                for name, kept in {"dark- red-": {0}, "blue": {1, 2}}.items()}
    assert there == expected
    assert run("undo", sorted_into).exit_code == 0
    assert not [file for file in sorted_into.rglob("*.png")] and len(list(photos.rglob("*.png"))) == 12
