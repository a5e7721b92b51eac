"""How many frames a second the map draws: 20,000 pictures of 40 pixels, 1280×800, Chromium without a GPU.

    python tests/score_map.py [images] [screenshot folder]
"""

import base64
import io
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

MAP = Path(__file__).parents[1] / "sac_seic" / "tool" / "map.js"
SIDE, ACROSS = 40, 50  # pixels of a sprite, sprites along a sheet

PAGE = """<!doctype html><style>body{margin:0;--fg:#222;--bg:#fff} canvas{width:100vw;height:100vh;display:block}</style>
<canvas id=map></canvas>"""

SETUP = """async ([n, sheets, xy, cluster, side, across, names]) => {
  const images = await Promise.all(sheets.map(async src => { const image = new Image(); image.src = src; await image.decode(); return image }));
  const sprite = i => { const at = i % (across * across); return {image: images[Math.floor(i / across / across)], x: side * (at % across), y: side * Math.floor(at / across), size: side} };
  window.picks = []; window.lassos = [];
  window.map = sacMap(document.getElementById("map"), {n, xy: Float32Array.from(xy), cluster: Int32Array.from(cluster), sprite,
    color: c => `hsl(${c * 137.5 % 360} 60% 50%)`, label: c => names[c], visible: new Uint8Array(n).fill(1),
    onPick: i => picks.push(i), onLasso: rows => lassos.push([...rows])});
}"""

# A hand on the mouse: one move a frame, in circles, as long as asked
DRIVE = """([kind, seconds]) => new Promise(done => {
  const canvas = document.getElementById("map"), long = [], begin = performance.now();
  const send = (type, x, y, more = {}) => canvas.dispatchEvent(new PointerEvent(type, {clientX: x, clientY: y, pointerId: 7, bubbles: true, ...more}));
  if (kind === "pan") send("pointerdown", 640, 400);
  let last = begin, frames = 0;
  const tick = () => {
    const now = performance.now(), t = (now - begin) / 1000;
    if (frames) long.push(now - last);
    last = now; frames++;
    if (t >= seconds) {
      if (kind === "pan") send("pointerup", 640, 400);
      long.sort((a, b) => a - b);
      return done({fps: (frames - 1) / t, median: long[long.length >> 1], p95: long[Math.floor(0.95 * long.length)], own: map.fps()});
    }
    if (kind === "pan") send("pointermove", 640 + 300 * Math.sin(3 * t), 400 + 250 * Math.sin(2 * t));
    if (kind === "zoom") canvas.dispatchEvent(new WheelEvent("wheel", {clientX: 640, clientY: 400, deltaY: 12 * Math.cos(3 * t) * -1, cancelable: true}));
    if (kind === "hover") send("pointermove", 640 + 300 * Math.sin(t), 400 + 250 * Math.sin(0.7 * t), {pointerId: 8});
    requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
})"""


def blobs(n: int, clusters: int = 50, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    "Points as a t-SNE map has them: round clusters of even density, side by side."
    rng = np.random.default_rng(seed)
    cluster = rng.integers(0, clusters, n)
    angle, radius = 2.4 * np.arange(clusters), np.sqrt((np.arange(clusters) + 0.5) / clusters) * 0.43
    centers = 0.5 + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    turn, reach = rng.uniform(0, 2 * np.pi, n), np.sqrt(rng.random(n)) * 0.062
    return (centers[cluster] + reach[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)).astype(np.float32), cluster


def sheets(n: int) -> list[str]:
    "Sprite sheets as the report has them: the embedded clothes, tinted, as JPEG data."
    from sac_seic.data.images import fashion_mnist_sample

    sample, rng = fashion_mnist_sample(), np.random.default_rng(0)
    tiles = [np.asarray(sample[i].convert("RGB").resize((SIDE, SIDE)), np.float32) for i in range(500)]
    found = []
    for first in range(0, n, ACROSS * ACROSS):
        sheet = np.zeros((ACROSS * SIDE, ACROSS * SIDE, 3), np.uint8)
        for at in range(min(ACROSS * ACROSS, n - first)):
            y, x = divmod(at, ACROSS)
            tile = tiles[(first + at) % len(tiles)] * rng.uniform(0.4, 1, 3)
            sheet[y * SIDE:(y + 1) * SIDE, x * SIDE:(x + 1) * SIDE] = tile
        file = io.BytesIO()
        Image.fromarray(sheet).save(file, "JPEG", quality=80)
        found.append("data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode())
    return found


def main(n: int = 20_000, shots: str = "") -> None:
    xy, cluster = blobs(n)
    names = [["wool coats", "sandals", "ankle boots", "shirts", "bags & purses"][c % 5] + f" {c}" for c in range(50)]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--disable-gpu"])
        page = browser.new_page(viewport=dict(width=1280, height=800))
        page.on("pageerror", lambda error: print("error:", error))
        page.set_content(PAGE)
        page.add_script_tag(path=MAP)
        page.evaluate(SETUP, [n, sheets(n), xy.ravel().tolist(), cluster.tolist(), SIDE, ACROSS, names])
        page.wait_for_timeout(500)
        for where, steps in (("far", 0), ("pictures just appear", 4), ("near", 9)):
            page.evaluate("() => map.fit()")
            page.locator("#map").focus()
            for _ in range(steps): page.keyboard.press("+")
            page.wait_for_timeout(300)
            page.mouse.move(5, 5)
            if shots: page.screenshot(path=f"{shots}/{where.split()[0]}.png")
            for kind in ("pan", "zoom", "hover"):
                got = page.evaluate(DRIVE, [kind, 3])
                print(f"{where:22} {kind:6} {got['fps']:5.1f} frames a second, {got['median']:5.1f} ms the median, "
                      f"{got['p95']:5.1f} ms the 95th percentile")
        browser.close()


if __name__ == "__main__":
    main(*[kind(value) for kind, value in zip((int, str), sys.argv[1:])])
