"""How long does it take, next to the obvious alternative, in the same run:  python tests/benchmarks.py [NAME]

embed, vit, neighbors, train, align, and only when named scale (a million embeddings, several minutes) and folder FOLDER K [GB] (all of a result)."""


import os
import re
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd


def _in_turn(
    candidates: dict, # name to a function of no arguments
    rounds: int,
) -> dict[str, float]: # name to the median of its seconds
    seconds = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(s)) for name, s in seconds.items()}


def _cores() -> int: return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def embed(
    batches: int = 4, # batches in a round
    rounds: int = 5,
) -> pd.DataFrame: # backend, images_per_second, ratio to PyTorch eager
    "Images a second of the `mini` image encoder, ONNX Runtime against PyTorch eager, on the CPU."
    from sac_seic.models.mini import MiniImageEncoder

    pixels = np.random.default_rng(0).uniform(-1, 1, size=(32, 3, 224, 224)).astype(np.float32)
    encoders = {"PyTorch eager": MiniImageEncoder("torch", "cpu"), "ONNX Runtime": MiniImageEncoder("onnx")}
    for encoder in encoders.values(): encoder.encode(pixels) # warm up
    took = _in_turn({name: lambda e=e: [e.encode(pixels) for _ in range(batches)] for name, e in encoders.items()}, rounds)
    speed = {name: 32 * batches / s for name, s in took.items()}
    return pd.DataFrame([{"backend": name, "images_per_second": s, "ratio": s / speed["PyTorch eager"]} for name, s in speed.items()])


def vit(
    batches: int = 2, # batches in a round
    rounds: int = 5,
) -> pd.DataFrame: # backend, images_per_second, ratio to PyTorch eager, first_call_seconds, largest difference from eager
    "Images a second of CLIP ViT-B/32's architecture with random weights, on the CPU: PyTorch eager, ONNX Runtime and torch.compile."
    pixels, kept = np.random.default_rng(0).normal(size=(32, 3, 224, 224)).astype(np.float32), os.environ.get("SAC_SEIC_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SAC_SEIC_CACHE"] = folder # the exported network is of no further use
        try:
            towers, first, v = _vit_towers(Path(folder)), {}, {}
            for name, tower in towers.items():
                start = time.perf_counter()
                v[name] = tower.encode(pixels)
                first[name] = time.perf_counter() - start
            took = _in_turn({name: lambda t=t: [t.encode(pixels) for _ in range(batches)] for name, t in towers.items()}, rounds)
        finally:
            os.environ.pop("SAC_SEIC_CACHE") if kept is None else os.environ.update(SAC_SEIC_CACHE=kept)
    speed = {name: 32 * batches / s for name, s in took.items()}
    return pd.DataFrame([{"backend": name, "images_per_second": s, "ratio": s / speed["PyTorch eager"], "first_call_seconds": first[name],
                          "difference": float(abs(v[name] - v["PyTorch eager"]).max())} for name, s in speed.items()])


def _vit_towers(folder) -> dict:
    "The same random ViT-B/32 under three backends; without a C++ compiler, two."
    import json
    import logging
    import shutil
    import open_clip
    from safetensors.torch import save_file
    from sac_seic.models.clip import ImageTower

    config = open_clip.get_model_config("ViT-B-32-quickgelu")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    save_file(open_clip.CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
    backends = {"PyTorch eager": "torch", "ONNX Runtime": "onnx", "torch.compile": "compile"}
    if not (shutil.which("g++") or shutil.which("clang++")): del backends["torch.compile"]
    logging.getLogger("torch").setLevel(logging.ERROR)
    return {name: ImageTower(str(folder), device="cpu", backend=backend) for name, backend in backends.items()}


def _blocked_neighbors(x: np.ndarray, k: int, block: int = 1000) -> np.ndarray: # n×k
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    found = []
    for start in range(0, len(x), block):
        similarity = x[start:start + block] @ x.T
        similarity[np.arange(len(similarity)), np.arange(start, start + len(similarity))] = -2
        best = np.argpartition(-similarity, k, axis=1)[:, :k]
        found.append(np.take_along_axis(best, np.argsort(-np.take_along_axis(similarity, best, 1), axis=1), 1))
    return np.concatenate(found)


def _peak_gb() -> float: # the process's peak memory so far
    import resource # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 30 if sys.platform == "darwin" else 1 << 20)


def _timed_neighbors(name: str, n: int, d: int, k: int) -> dict:
    from sac_seic.pairs import nearest_neighbors

    x = np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)
    nearest_neighbors(x[:500], k) # warm up
    before, start = _peak_gb(), time.perf_counter()
    found = (nearest_neighbors if name == "faiss" else _blocked_neighbors)(x, k)
    return {"search": name, "seconds": time.perf_counter() - start, "gb_above_data": _peak_gb() - before, "found": found}


def neighbors(n: int = 60_000, d: int = 512, k: int = 20) -> pd.DataFrame: # search, seconds, gb_above_data, ratio
    "Exact k nearest neighbours of n×d embeddings: seconds and peak memory, faiss against a blocked matrix product."
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool: # a fresh process for each
        rows = [pool.apply(_timed_neighbors, (name, n, d, k)) for name in ("blocked product", "faiss")]
    agree = np.mean(rows[0].pop("found") == rows[1].pop("found"))
    if agree < 0.999: raise RuntimeError(f"The two searches agree on only {agree:.1%} of the neighbours.")
    return pd.DataFrame(rows).assign(ratio=lambda table: table.seconds[0] / table.seconds)


def train(n: int = 60_000, d_v: int = 512, d_t: int = 768, n_clusters: int = 10, k: int = 20) -> pd.DataFrame: # neighbours, seconds_per_epoch, ratio
    "Seconds of one SAC epoch, by how neighbours are averaged; the embeddings are random, which costs the same."
    from sac_seic.sac import SAC

    rng = np.random.default_rng(0)
    v, t = (rng.normal(size=(n, d)).astype(np.float32) for d in (d_v, d_t))
    many, steps = rng.integers(n, size=(2, n, k)), round(n / 512)
    def seconds(neighbors, columns, steps):
        model = SAC(n_clusters, neighbors=neighbors, init="random", max_steps=steps)
        return lambda: model.fit(v, t, *many[:, :, :columns], progress=_timer)
    took = {}
    for name, arguments in {"one sampled": ("exact", 1, steps), "bank, all": ("bank", k, steps), "exact, all": ("exact", k, -(-steps // 10))}.items():
        seconds(*arguments)()
        took[name] = _timer.seconds * steps / arguments[2]
    return pd.DataFrame([{"neighbours": name, "seconds_per_epoch": s, "ratio": s / took["one sampled"]} for name, s in took.items()])


class _timer:
    "A progress bar that only notes how long the training loop inside it took."
    seconds = 0.0
    def __init__(self, total, desc): pass
    def __enter__(self): self.start = time.perf_counter(); return self
    def __exit__(self, *error): _timer.seconds = time.perf_counter() - self.start
    def update(self, n): pass


def align(n: int = 60_000, d: int = 512, n_clusters: int = 10, rounds: int = 20) -> pd.DataFrame: # part, seconds_per_epoch, share
    "Seconds of one epoch of SEIC's stage 1 and the share of each loss in it; the embeddings are random, which costs the same."
    import torch
    from sac_seic import seic_losses as losses
    from sac_seic.seic import SEIC

    v, t = (np.random.default_rng(0).normal(size=(n, d)).astype(np.float32) for _ in range(2))
    steps = max(1, round(n / 512))
    model = SEIC(n_clusters, init="random", max_steps=steps, patience=steps + 1)
    for _ in range(2): model.fit(v, t, progress=_timer) # the first time warms up
    batch = [torch.from_numpy(x[:512]) for x in (v, t)]
    heads, balance = model.heads_.cpu(), losses.DynamicBalance(n_clusters)
    adam = torch.optim.Adam(heads.parameters())
    given = [x.detach().requires_grad_() for head, x in zip(heads, batch) for x in head(x)]
    zv, pv, zt, pt = given
    def step():
        sum(x.sum() for head, x in zip(heads, batch) for x in head(x)).backward()
        adam.step()
    parts = {"heads and Adam": step, "instance (Eqs. 2, 3)": lambda: losses.instance_contrastive(zv, zt).backward(),
             "assignment (Eqs. 4, 5)": lambda: losses.assignment_contrastive(pv, pt).backward(),
             "centre (Eqs. 6–9)": lambda: losses.center_contrastive(losses.weighted_centers(zv, pv), losses.weighted_centers(zt, pt)).backward(),
             "balance (Eq. 10)": lambda: balance(pv, pt).backward()}
    took = {"whole epoch": _timer.seconds} | {name: s * steps for name, s in _in_turn(parts, rounds).items()}
    return pd.DataFrame([{"part": name, "seconds_per_epoch": s, "share": s / took["whole epoch"]} for name, s in took.items()])


def _random_map(path: Path, n: int, d: int, seed: int) -> Path:
    "Write n×d float32 embeddings that lie in groups, to be memory-mapped; row i is in the same group for every seed."
    rng, of = np.random.default_rng(seed), np.random.default_rng(0).integers(4000, size=n)
    unit = lambda size: (rng.normal(size=(size, d)) / d**0.5).astype(np.float32) # rows of length about 1
    centre, width = unit(100)[rng.integers(100, size=4000)] + unit(4000), np.arange(1, 33, dtype=np.float32) ** -0.5
    inside = 1.5 * unit(32) * (width / np.linalg.norm(width))[:, None]
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (n, d))
    for part in np.array_split(np.arange(n), -(-n // 65_536)):
        rows[part] = centre[of[part]] + rng.normal(size=(len(part), 32)).astype(np.float32) @ inside + 0.1 * unit(len(part))
    return path


class _Stages:
    "Called like tqdm; notes when each stage began and ended."
    def __init__(self): self.rows = []
    def __call__(self, total, desc): self.rows.append([desc, time.time(), None]); return self
    def __enter__(self): return self
    def __exit__(self, *error): self.rows[-1][2] = time.time()
    def update(self, n): pass


def _anonymous_gb(pid: int) -> float | None: # None: the system doesn't tell
    try: found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError: return None
    return found and int(found[1]) * 1024 / 1e9


def _report(connection, run, arguments):
    import sac_seic.sac # before the clock starts

    stages = _Stages()
    with stages(None, None): name = run(*arguments, stages)
    stages.rows[0][0], stages.rows[0][2] = name, time.time()
    connection.send(stages.rows)


def _watched(run, *arguments) -> list[dict]: # stage, seconds, gb_above_map
    "What `run` reports from a process of its own, with the most memory it was seen to hold in each stage."
    here, there = get_context("spawn").Pipe(duplex=False)
    process, seen = get_context("spawn").Process(target=_report, args=(there, run, arguments)), []
    process.start(); there.close()
    while not here.poll(0.05): seen.append((time.time(), _anonymous_gb(process.pid)))
    try: stages = here.recv()
    except EOFError: raise RuntimeError("The process that was timed ended before its time.") from None
    process.join()
    within = lambda start, stop: [gb for at, gb in seen if gb is not None and start <= at <= stop]
    return [{"stage": name, "seconds": stop - start, "gb_above_map": max(within(start, stop), default=None)} for name, start, stop in stages]


def _map_neighbors(path: Path, k: int, progress) -> str:
    from sac_seic.pairs import approximate_neighbors

    found, recall = approximate_neighbors(np.load(path, mmap_mode="r"), k, progress=progress)
    np.save(path.with_name("neighbors.npy"), found)
    return f"Neighbours in all, recall {recall:.3f}"


def _map_epoch(folder: Path, n_clusters: int, progress) -> str:
    from sac_seic.sac import SAC

    v, t, near = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("v", "t", "neighbors"))
    steps = max(1, round(len(v) / 512))
    SAC(n_clusters, max_steps=steps, patience=steps + 1, device="cpu").fit(v, t, near, near, progress=progress)
    return "SAC.fit in all, one epoch"


def _map_recipe(folder: Path, n_clusters: int, progress) -> str:
    from sac_seic.recipes import RECIPES, make_estimator
    from sac_seic.smoothing import SmoothViews

    v, t, near = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("v", "t", "neighbors"))
    recipe = RECIPES["sac"]
    views = SmoothViews(n_clusters, **recipe.smooth | {"view": "image"}).fit(v, t, near, near, progress=progress)
    make_estimator(recipe, n_clusters, device="cpu").fit(views.v_, views.t_, near, near, views.labels_, progress=progress)
    return f"The recipe sac in all, {views.rounds_} rounds"


def scale(n: int = 1_000_000, d: int = 512, k: int = 20, n_clusters: int = 10) -> pd.DataFrame: # stage, seconds, gb_above_map
    "Neighbours, one SAC epoch, and the recipe `sac`, from memory maps of n×d embeddings: seconds, and memory beside the mapped files. Needs 3·n·d·4 bytes of disk."
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for seed, name in enumerate(("v", "t")): _random_map(folder / f"{name}.npy", n, d, seed)
        return pd.DataFrame(_watched(_map_neighbors, folder / "v.npy", k) + _watched(_map_epoch, folder, n_clusters)
                            + _watched(_map_recipe, folder, n_clusters))


def recipe(n: int = 60_000, d_v: int = 512, d_t: int = 384, n_clusters: int = 10) -> pd.DataFrame: # stage, seconds
    "The recipe `sac` from embeddings in memory, neighbours of both views included."
    from sac_seic.tool.cluster import cluster_pairs

    with tempfile.TemporaryDirectory() as folder:
        v, t = (np.load(_random_map(Path(folder) / f"{i}.npy", n, d, i)) for i, d in enumerate((d_v, d_t)))
    stages, start = _Stages(), time.time()
    cluster_pairs(v, t, "sac", n_clusters, device="cpu", progress=stages)
    rows = [{"stage": name, "seconds": stop - begun} for name, begun, stop in stages.rows]
    return pd.DataFrame([*rows, {"stage": "in all", "seconds": time.time() - start}])


def folder(photos: str, n_clusters: int = 10, gigabytes: float = 8) -> pd.DataFrame: # stage, seconds; the last row: the peak
    """A folder of images, end to end, into a temporary result, with so much memory for data and no more (Linux).

    What is in the embedding cache is not embedded again."""
    import resource

    from sac_seic.tool.cluster import cluster
    resource.setrlimit(resource.RLIMIT_DATA, (int(gigabytes * 2**30),) * 2)
    stages, start = _Stages(), time.time()
    with tempfile.TemporaryDirectory() as out:
        cluster(photos, int(n_clusters), progress=stages).report(out, stages)
    rows = [{"stage": name, "seconds": stop - begun} for name, begun, stop in stages.rows]
    return pd.DataFrame([*rows, {"stage": f"in all, peak {_peak_gb():.1f} GB", "seconds": time.time() - start}])


def main(names=()):
    if names[:1] == ["folder"]: return print(folder(*names[1:]).round(1).to_string(index=False))
    for name in names or ("embed", "vit", "neighbors", "train", "align", "recipe"):
        print(name, globals()[name]().round(2).to_string(index=False), sep="\n", end="\n\n")


if __name__ == "__main__": main(sys.argv[1:])
