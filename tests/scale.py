"""How the default recipe does, and what it costs, as a set grows and as its captions and pictures get worse.

    python tests/scale.py DATA WORK [--axes wrong fashion quality c n] [--recipes NAME ...] [--seeds N] [--most N]
    python tests/scale.py DATA WORK --write

DATA holds cifar10_test (a folder a class). Each run is a process of its own and a row in WORK/scale.csv: accuracy,
seconds of processor time, and memory beside the mapped files. A run that is there is not made again: stop it whenever
you like. It keeps to one core. --write copies the rows to nbs/scale.csv, for nbs/16_scale.ipynb."""

import argparse
import io
import os
import shutil
import signal
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import _anonymous_gb
from table import NBS, key

SECONDS, GIGABYTES = 300, 12  # what a rival may take; what any run may
SIMPLE = "kmeans-image kmeans-text kmeans-both kmeans-averaged kmeans-smooth sac-start sac tac tac-more".split()
SIZES = 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000
RIVALS = "tac temi scan turtle spectral umap-ward".split()
CLASSES = {10: 1_000, 30: 3_000, 100: 10_000, 300: 15_000, 1_000: 30_000}  # and so many images
REAL, WIDTH = 10_000, 128  # real images; numbers a row has where there are more rows than images
KEYS = ["axis", "data", "n", "d", "c", "image", "text", "wrong", "recipe", "key", "seed"]


def recipes() -> dict:
    """All recipes, and two more: `sac-start` is `sac` without a step, and `tac-more` TAC with 320 of them as in
    nbs/14_simulate.ipynb, since its 20 epochs of 1,000 images are only 40."""
    from sac_seic.recipes import RECIPES
    more = {"sac-start": RECIPES["sac"].untrained(), "tac-more": RECIPES["tac"].changed(epochs=40, batch_size=128)}
    return RECIPES | {name: replace(recipe, name=name) for name, recipe in more.items()}


def _sets(axis: str, seeds: int | None):
    "The sets of an axis, each with the recipes to run on it."
    simulated = dict(axis=axis, data="simulated", n=1_000, d=64, c=10, image=0.6, text=0.65, wrong=0.0)
    if axis in ("wrong", "fashion"):
        for seed in range(seeds or 5):
            for wrong in (0.0, 0.2, 0.4, 0.6, 0.8):
                own = dict(data="fashion", n=2_000, d=0, image=0.0, text=0.0) if axis == "fashion" else {}
                blind = ("kmeans-image", "kmeans-smooth") if wrong else ()  # as without wrong captions
                yield simulated | own | dict(wrong=wrong, seed=seed), [r for r in SIMPLE if r not in blind]
    if axis == "quality":
        for seed in range(seeds or 3):
            for image in (0.4, 0.6, 0.8):
                for text in (0.4, 0.6, 0.8): yield simulated | dict(image=image, text=text, seed=seed), SIMPLE
    if axis == "c":
        for c, n in CLASSES.items():
            for seed in range(seeds or (3 if c < 1_000 else 1)):
                some = [r for r in SIMPLE if r not in ("tac", "tac-more") or c <= 100] + ["sac-paper"] * (c <= 30)
                yield simulated | dict(c=c, n=n, seed=seed), some
    if axis == "n":
        for n in SIZES:
            for seed in range(seeds or (3 if n < REAL else 1)):
                real = simulated | dict(data="cifar", n=n, d=WIDTH if n > REAL else 1280, image=0.0, text=0.0, seed=seed)
                ours = ["kmeans-image", "kmeans-smooth", "sac-start", "sac"]
                rivals = RIVALS if n <= REAL else ["umap-ward"] if n <= 3 * REAL else []
                yield real, ours + (rivals if seed == 0 else [])
                if n == REAL: yield real | dict(d=WIDTH), ours  # how much the fewer numbers change


def plan(axes, seeds=None, only=None, most: int = max(SIZES)) -> list[dict]:
    "Every run as the first columns of its row."
    there = recipes()
    chosen = [r for r in there if not only or r in only]
    return [one | {"recipe": r, "key": key(there[r])}
            for axis in axes for one, some in _sets(axis, seeds) for r in some if r in chosen and one["n"] <= most]


def unit(x: np.ndarray) -> np.ndarray: return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def moves(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # n angles; n×d of length 1
    "How far unit rows turned, and in which direction."
    cosine = (before * after).sum(axis=1).clip(-1, 1)
    return np.arccos(cosine).astype(np.float32), unit(after - cosine[:, None] * before)


def moved(x: np.ndarray, angles: np.ndarray, directions: np.ndarray, rng, mixed: int = 4) -> np.ndarray:  # n×d of length 1
    "Unit rows turned by real angles, in random mixtures of real directions: one alone would draw its rows together."
    drawn = rng.integers(len(directions), size=(mixed, len(x)))
    step = sum(rng.normal(size=(len(x), 1)).astype(np.float32) * directions[some] for some in drawn)
    step, angle = unit(step - (step * x).sum(axis=1, keepdims=True) * x), rng.choice(angles, len(x))[:, None]
    return unit(np.cos(angle) * x + np.sin(angle) * step)


def _pairs(images, cache: Path, encoder=None):
    from sac_seic.data.files import no_progress
    from sac_seic.models.presets import load_preset
    from sac_seic.pairs import make_pairs
    return make_pairs(images, load_preset("mini", cache, image_encoder=encoder), cache, progress=no_progress)


def _cifar(data: Path, work: Path) -> dict:
    "CIFAR-10's test images (JPEG): v, t, y; and of 500 a flip and a crop each: near_v, near_t, of, same (is the caption)."
    if (kept := work / "cifar.npz").exists(): return dict(np.load(kept))
    from sac_seic.data.images import ImageArray, ImageFolder
    images, rng = ImageFolder(data / "cifar10_test", labels=True), np.random.default_rng(0)
    pairs, some = _pairs(images, work), rng.permutation(len(images))[:500]
    pixels, corner = np.stack([np.asarray(images[i]) for i in some]), rng.integers(5, size=(500, 2))
    crops = np.stack([p[y:y + 28, x:x + 28] for p, (y, x) in zip(pixels, corner)])
    other = [_pairs(ImageArray(np.ascontiguousarray(x)), work) for x in (pixels[:, :, ::-1], crops)]
    captions = [caption for each in other for caption in each.captions]
    found = dict(v=unit(pairs.v), t=unit(pairs.t), y=images.labels, near_v=unit(np.concatenate([o.v for o in other])),
                 near_t=unit(np.concatenate([o.t for o in other])), of=np.tile(some, 2),
                 same=np.array([caption == pairs.captions[i] for caption, i in zip(captions, np.tile(some, 2))]))
    np.savez(kept, **found)
    return found


def _narrow(x: np.ndarray, width: int) -> np.ndarray:  # d×width
    "The leading directions of unit rows about the origin, so that cosines change little."
    return np.linalg.eigh(x.T @ x)[1][:, ::-1][:, :width].astype(np.float32)


def _repeated(of: dict, n: int, width: int, seed: int, folder: Path):
    "n rows of fewer images: the images, then each again and again, moved as a flip or a crop moves one. Written block by block."
    rng, order = np.random.default_rng(seed), np.random.default_rng(seed).permutation(len(of["y"]))
    row = np.concatenate([order] * -(-n // len(order)))[:n]
    np.save(folder / "y.npy", of["y"][row])
    for name in "vt":
        turn = _narrow(of[name], width) if width < of[name].shape[1] else np.eye(of[name].shape[1], dtype=np.float32)
        x, near = unit(of[name] @ turn), unit(of["near_" + name] @ turn)
        stays = of["same"] if name == "t" else np.zeros(len(near), bool)
        how = moves(x[of["of"]][~stays], near[~stays])
        out = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float32, (n, x.shape[1]))
        for at in np.array_split(np.arange(n), -(-n // 50_000)):
            block, new = x[row[at]], (at >= len(order)) & (rng.random(len(at)) >= stays.mean())
            if new.any(): block[new] = moved(block[new], *how, rng)
            out[at] = block
        out.flush()


def make(row: dict, data: Path, work: Path, folder: Path):
    "The embeddings of a row's set, before captions go wrong: v, t and y."
    folder.mkdir(parents=True)
    if row["data"] == "cifar": return _repeated(_cifar(data, work), row["n"], row["d"], row["seed"], folder)
    if row["data"] == "fashion":
        from sac_seic.data.images import fashion_mnist_sample
        images = fashion_mnist_sample()
        pairs = _pairs(images, work, "classic")
        v, t, y = pairs.v, pairs.t, images.labels
    else:
        from sac_seic.simulate import simulate_pairs
        v, t, y = simulate_pairs(row["n"], row["c"], row["image"], row["text"], dims=(row["d"],) * 2,
                                 seed=row["seed"], restarts=10 if row["c"] < 100 else 1)
    for name, x in zip("vty", (v, t, y)): np.save(folder / f"{name}.npy", x)


def _run(pipe, row: dict, folder: Path, limit: int | None):
    import resource
    from sac_seic.data.files import no_progress
    from sac_seic.evaluate import scores
    from sac_seic.simulate import swap_captions
    from sac_seic.tool.cluster import cluster_pairs
    v, t = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in "vt")
    if row["wrong"]: t = swap_captions(np.array(t), row["wrong"], np.random.default_rng([row["seed"], 1]))
    resource.setrlimit(resource.RLIMIT_DATA, (int(GIGABYTES * 2**30),) * 2)
    if limit: resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + limit, resource.RLIM_INFINITY))
    recipe = recipes()[row["recipe"]]
    pipe.send(_anonymous_gb(os.getpid()) or 0)
    start, wall = time.process_time(), time.perf_counter()
    try:
        found = cluster_pairs(v, t if recipe.texts else None, recipe, row["c"], row["seed"],
                              text_from_image=row["data"] == "cifar", device="cpu", progress=no_progress)
    except MemoryError: return pipe.send({"note": f"more than {GIGABYTES} GB"})
    except (ValueError, RuntimeError) as e: return pipe.send({"note": str(e)})
    took = dict(seconds=time.process_time() - start, wall=time.perf_counter() - wall)
    rounds = getattr(found.views or found.model, "rounds_", -1)
    pipe.send(scores(np.load(folder / "y.npy"), found.labels) | took | dict(rounds=rounds, steps=getattr(found.model, "n_steps_", -1)))


def _context():
    "Processes that begin with the libraries loaded."
    context = get_context("forkserver")
    context.set_forkserver_preload(["sac_seic.tool.cluster", "sac_seic.rivals", "sac_seic.baselines",
                                    "sac_seic.simulate", "faiss", "torch._dynamo", "sklearn.cluster"])
    return context


def run(row: dict, folder: Path) -> dict:
    "The row with what a process of its own found: accuracy, seconds, and gigabytes beside libraries and mapped files."
    here, there = _context().Pipe(duplex=False)
    process = _context().Process(target=_run, args=(there, row, folder, SECONDS if row["recipe"] in RIVALS else None))
    process.start(); there.close()
    try: begun, most = here.recv(), 0.0
    except EOFError: raise RuntimeError(f"No run could be started: {row}") from None
    while not here.poll(0.05): most = max(most, (_anonymous_gb(process.pid) or 0) - begun)
    try: found = here.recv()
    except EOFError:
        process.join()
        over = f"more than {SECONDS} s" if process.exitcode == -signal.SIGXCPU else f"more than {GIGABYTES} GB"
        found = {"note": over}
    process.join()
    return row | {"gb": most} | found


def rows_of(work: Path) -> pd.DataFrame:
    return pd.read_csv(work / "scale.csv", keep_default_na=False, na_values=[""]) if (work / "scale.csv").exists() else pd.DataFrame(columns=KEYS)


def named(row) -> tuple: return tuple(str(row[name]) for name in KEYS)


def keep(work: Path, row: dict):
    "The table with one row more, in a steady order; half a table is never seen."
    from sac_seic.data.files import write_atomic
    order = {named(one): i for i, one in enumerate(plan(AXES))}
    table = pd.concat([rows_of(work), pd.DataFrame([row])], ignore_index=True)
    table = table.iloc[np.argsort([order.get(named(one), len(order)) for _, one in table.iterrows()], kind="stable")]
    columns = KEYS + ["ACC", "NMI", "ARI", "rounds", "steps", "seconds", "wall", "gb", "note"]
    text = io.StringIO()
    digits = {"ACC": 5, "NMI": 5, "ARI": 5, "seconds": 2, "wall": 2, "gb": 3}
    table = table.reindex(columns=columns).astype({"rounds": "Int64", "steps": "Int64"})
    table.round(digits).to_csv(text, index=False)
    write_atomic(work / "scale.csv", text.getvalue().encode())


AXES = "wrong fashion quality c n".split()


def run_missing(todo: list[dict], data: Path, work: Path):
    "One run after the other; a set's embeddings are made once, in a process of their own, and go with its last run."
    there, folder, at_hand = {named(row) for _, row in rows_of(work).iterrows()}, work / "now", None
    for row in todo:
        if named(row) in there: continue
        wanted = {name: row[name] for name in ("data", "n", "d", "c", "image", "text", "seed")}
        if wanted != at_hand:
            shutil.rmtree(folder, ignore_errors=True)
            process = _context().Process(target=make, args=(row, data, work, folder))
            process.start(); process.join()
            if process.exitcode: raise SystemExit(f"No embeddings could be made: {row}")
            at_hand = wanted
        found = run(row, folder)
        keep(work, found)
        said = found.get("note") or f"ACC {100 * found['ACC']:.1f}, {found['seconds']:.1f} s, {found['gb']:.2f} GB"
        print(*(row[x] for x in KEYS if x != "key"), said, flush=True)
    shutil.rmtree(folder, ignore_errors=True)


def write_moves(data: Path, work: Path):
    "What a flip or a crop does to real embeddings, and what the fewer numbers keep: nbs/scale_moves.csv."
    of, half, found = _cifar(data, work), 500, []
    for part, rows in ("flip", slice(half)), ("crop", slice(half, None)):
        angle, _ = moves(of["v"][of["of"][rows]], of["near_v"][rows])
        same = of["same"][rows]
        text = moves(of["t"][of["of"][rows]][~same], of["near_t"][rows][~same])[0]
        found.append(dict(change=part, images=half, angle_v=np.degrees(np.median(angle)), captions_changed=1 - same.mean(),
                          angle_t=np.degrees(np.median(text))))
    kept = {name: ((of[name] @ _narrow(of[name], WIDTH))**2).sum(axis=1).mean() for name in "vt"}
    pd.DataFrame(found).assign(kept_v=kept["v"], kept_t=kept["t"]).to_csv(NBS / "scale_moves.csv", index=False, float_format="%.4f")


def main():
    ask = argparse.ArgumentParser(usage=__doc__)
    ask.add_argument("data", type=Path)
    ask.add_argument("work", type=Path)
    ask.add_argument("--axes", nargs="*", default=AXES, choices=AXES)
    ask.add_argument("--recipes", nargs="*", help="these only")
    ask.add_argument("--seeds", type=int)
    ask.add_argument("--most", type=int, default=max(SIZES), help="sets of at most so many images")
    ask.add_argument("--write", action="store_true", help="run nothing, write the tables")
    asked = ask.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    os.environ.update(SAC_SEIC_CACHE=str(asked.work), OMP_NUM_THREADS="1")  # one core: seconds of it can be compared
    if not asked.write: return run_missing(plan(asked.axes, asked.seeds, asked.recipes, asked.most), asked.data, asked.work)
    rows, now = rows_of(asked.work), set(map(named, plan(AXES)))  # of the plan and of recipes as they are now
    rows[[named(row) in now for _, row in rows.iterrows()]].to_csv(NBS / "scale.csv", index=False)
    write_moves(asked.data, asked.work)


if __name__ == "__main__": main()
