"""How large the page of many images is, how soon it opens in headless Chromium, and how many frames a second it draws.

    python tests/score_page.py [n] [HTML]

The embedded images, shifted and brightened at random, until there are n of them (20,000); or a page that is there already."""

import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from sac_seic.data.images import fashion_mnist_sample
from sac_seic.tool.page import PageData, write_page

FRAMES = """([what, seconds]) => new Promise(done => {
    const begin = performance.now(), room = document.documentElement.scrollHeight - innerHeight;
    const map = document.getElementById("map"), box = map.getBoundingClientRect();
    const move = now => map.dispatchEvent(new PointerEvent("pointermove", {bubbles: true, pointerId: 1, isPrimary: true, buttons: 1,
        clientX: box.x + box.width / 2 + 150 * Math.sin(now / 300), clientY: box.y + box.height / 2 + 120 * Math.cos(now / 400)}));
    let frames = 0, last = begin, longest = 0;
    requestAnimationFrame(function next(now) {
        frames++; longest = Math.max(longest, now - last); last = now;
        what === "scroll" ? scrollTo(0, (scrollY + 60) % room) : move(now);
        now - begin < 1000 * seconds ? requestAnimationFrame(next) : done([1000 * frames / (now - begin), longest]);
    });
})"""


def many(n: int) -> PageData:
    "A page of n images, with everything on it."
    images, dice = fashion_mnist_sample(), np.random.default_rng(0)
    m, rows = len(images), np.arange(n) % 2000
    shift, light = dice.integers(-3, 4, (n, 2)), dice.uniform(0.6, 1, n)
    labels = images.labels[rows] * 5 + rows % 5  # 50 clusters
    angle, far = dice.uniform(0, 2 * np.pi, n), dice.normal(0, 0.035, n)
    center = np.stack([labels // 7, labels % 7], axis=1) / 8 + 0.1
    xy = (center + far[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)).clip(0, 1)

    def thumbnail(i: int) -> Image.Image:
        pixels = np.roll(images.arrays[i % m], tuple(shift[i]), axis=(0, 1)) * light[i]
        noise = np.random.default_rng(i).normal(0, 6, (28, 28, 3))  # colour and noise, as photographs have
        return Image.fromarray((pixels[..., None] + noise).clip(0, 255).astype(np.uint8))

    return PageData(
        f"{n:,} images", [f"folder-{i % 97}/image-{i:06d}.jpg" for i in range(n)], labels, [f"group {c}" for c in range(50)],
        dice.uniform(size=n), folder="/images", thumbnails=thumbnail, keywords=[["first", "second", "third"]] * 50,
        captions=[f"a photo of a {images.classes[images.labels[i]].lower()}, seen for the {i}th time" for i in rows], xy=xy,
        near=dice.integers(0, n, (n, 8)), odd={"between two clusters": dice.integers(0, n, 200)}, truth=images.labels[rows],
        classes=images.classes, recipe={"recipe": "none"})


def measure(path: Path) -> None:
    from playwright.sync_api import sync_playwright
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport=dict(width=1280, height=900))
        begin = time.perf_counter()
        page.goto(path.resolve().as_uri(), wait_until="commit")
        page.wait_for_selector("#gallery .thumb")
        page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
        painted = time.perf_counter() - begin
        page.wait_for_selector("body.ready")
        page.wait_for_load_state("load")
        print(f"opened: first gallery after {painted:.1f} s, usable after {time.perf_counter() - begin:.1f} s")
        said = lambda name, frames: print(f"{name}: {frames[0]:.0f} frames a second, the longest pause {frames[1]:.0f} ms")  # noqa: E731
        page.locator(".group-head button", has_text="All ").first.click()
        said("scrolling", page.evaluate(FRAMES, ["scroll", 4]))
        begin = time.perf_counter()
        page.locator("#search").fill("shirt 7")
        page.wait_for_selector("#count:visible")
        print(f"search: {time.perf_counter() - begin:.2f} s")
        page.locator("#clear").click()
        page.locator("#tab-map").click()
        page.wait_for_timeout(1500)
        box = page.locator("#map").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        for name, turns in (("map, all of it", 0), ("map, closer", 5), ("map, pictures", 8)):
            for _ in range(turns):
                page.mouse.wheel(0, -240)
                page.wait_for_timeout(60)
            page.wait_for_timeout(1500)
            page.mouse.down()
            said(name, page.evaluate(FRAMES, ["map", 4]))
            print("   the map's own count:", round(page.evaluate("sacPage.map().fps()")), "frames a second")
            page.mouse.up()
        print(f"memory of the script: {page.evaluate('performance.memory.usedJSHeapSize') / 1e6:.0f} MB")
        browser.close()


def main() -> None:
    arguments = sys.argv[1:]
    path = next((Path(x) for x in arguments if x.endswith(".html")), None)
    n = next((int(x) for x in arguments if x.isdigit()), 20_000)
    with tempfile.TemporaryDirectory() as folder:
        if path is None:
            begin = time.perf_counter()
            path = write_page(Path(folder) / "report.html", many(n))
            print(f"written in {time.perf_counter() - begin:.1f} s")
        beside = sum(file.stat().st_size for file in path.with_name(f"{path.stem}_files").glob("*")) / 1e6
        print(f"{path.stat().st_size / 1e6:.1f} MB" + (f", and {beside:.1f} MB beside it" if beside else ""))
        measure(path)


if __name__ == "__main__": main()
