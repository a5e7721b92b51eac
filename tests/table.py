"""Runs every recipe on every set, and keeps a row of scores for each run: the tables of nbs/13_evaluate.ipynb.

    python tests/table.py DATA WORK [--sets NAME ...] [--encoders NAME ...] [--recipes NAME ...] [--seeds 5]

DATA holds fashion-mnist (the publisher's files), cifar10_test and caltech50 (a folder a class). In WORK are the
embeddings, the labels of every run, and the rows. A run that is there already, by its set, encoder, text, seed and
all settings of its recipe, is not made again: stop it whenever you like. Two may run side by side. In the end
nbs/runs.csv and nbs/differences.csv are written from all rows there are."""

import argparse
import hashlib
import json
import os
import time
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

NBS = Path(__file__).resolve().parent.parent / "nbs"
SETS = {"sample": "Fashion-MNIST sample", "test": "Fashion-MNIST test", "cifar": "CIFAR-10 test, JPEG",
        "caltech": "Caltech-50", "caltech-a": "Caltech-50, 25 classes chosen on",
        "caltech-b": "Caltech-50, the other 25"}
IMAGE = "kmeans-image kmeans-smooth spectral umap-ward scan temi turtle".split()
CAPTIONS = "kmeans-text kmeans-both sac sac-paper sac-paper-sum tac".split()
NOUNS = "kmeans-text kmeans-both sac seic-align seic-paper-align tac".split()
TRAINED = {"sac", "sac-paper", "seic-align", "seic-paper-align", "sac+enhance", "seic"}  # also at step 0


def open_set(data: Path, name: str):
    from sac_seic.data.benchmarks import open_benchmark
    from sac_seic.data.images import ImageFolder, fashion_mnist_sample
    if name == "sample": return fashion_mnist_sample()
    if name == "test": return open_benchmark("fashion-mnist", data / "fashion-mnist", "test")
    images = ImageFolder(data / {"cifar": "cifar10_test"}.get(name, "caltech50"), labels=True)
    half = {"caltech-a": 0, "caltech-b": 1}.get(name)
    return images if half is None else images.subset(np.flatnonzero(images.labels % 2 == half))


class Bench:
    "One set through one image encoder: pairs with captions, or with nouns as a recipe and a seed want them."
    def __init__(self, data: Path, work: Path, name: str, encoder: str):
        from sac_seic.models.presets import load_preset
        self.images, self.work, self.name, self.encoder = open_set(data, name), work, name, encoder
        own = None if encoder == "mini" else encoder
        self.preset = load_preset("mini", work, needs=("image", "captions", "nouns"), image_encoder=own)
        self.truth = np.unique(self.images.labels, return_inverse=True)[1]
        self.k = int(self.truth.max()) + 1
        self.captions = lru_cache(None)(self._captions)
        self.nouns = lru_cache(2)(self._nouns)

    def _captions(self):
        from sac_seic.pairs import make_pairs
        return make_pairs(self.images, self.preset, self.work)

    def _nouns(self, settings: str, seed: int):
        from sac_seic.nouns import make_noun_pairs
        return make_noun_pairs(self.images, self.preset, self.k, cache=self.work, seed=seed, **json.loads(settings))

    def run(self, recipe, text: str | None, seed: int):
        from sac_seic.tool.cluster import cluster, cluster_pairs
        if recipe.second:
            return cluster(self.images, self.k, recipe, models=self.preset, text=text, seed=seed, cache=self.work)
        nouns = {name: x for name, x in recipe.nouns.items() if name != "templates"} # `mini` has none
        pairs = self.captions() if text != "nouns" else self.nouns(json.dumps(nouns), seed)
        return cluster_pairs(pairs.v, pairs.t if text else None, recipe, self.k, seed,
                             text_from_image=self.encoder == "mini")


def key(recipe) -> str: return hashlib.sha256(json.dumps(recipe.lines(), sort_keys=True).encode()).hexdigest()[:8]


def rows_of(bench: Bench, recipe, text: str | None, seed: int):
    "One run as its row; of a trained recipe also the row of its start."
    from sac_seic.evaluate import scores
    row = {"set": bench.name, "n": len(bench.truth), "encoder": bench.encoder, "text": text or "", "seed": seed}
    started = time.perf_counter()
    found = bench.run(recipe, text, seed)
    seconds = time.perf_counter() - started
    rounds = found.views.rounds_ if found.views is not None else getattr(found.model, "rounds_", -1)
    start = None
    if recipe.name in TRAINED:
        if recipe.second or found.settings["recipe"]["answer"] == "image": start = found.model.start_labels_
        else: start = bench.run(recipe.untrained(), text, seed).labels
    rows = [(recipe.name, found.labels, seconds)]
    if start is not None: rows.append((f"{recipe.name} at step 0", start, 0.0))
    if recipe.second: rows.append((f"{recipe.name}, student alone", found.model.labels_, 0.0))
    for name, labels, took in rows:
        moved = np.mean(labels != start) if start is not None else np.nan
        yield labels, row | {"recipe": name, "key": key(recipe), **scores(bench.truth, labels), "moved": moved,
                             "rounds": rounds, "seconds": took, "cores": os.cpu_count()}


def run_file(work: Path, row, suffix: str) -> Path:
    "Where a run's row (.json) or labels (.npy) are kept."
    name = "_".join(str(row[x]) for x in ("set", "encoder", "text", "recipe", "key", "seed"))
    return work / "runs" / (name.replace(" ", "-") + suffix)


def keep(work: Path, row: dict, labels: np.ndarray):
    "The labels, then the row, each in a file of its own."
    np.save(run_file(work, row, ".npy"), labels.astype(np.uint8))
    run_file(work, row, ".json").write_text(json.dumps(row))


def table(work: Path) -> pd.DataFrame:
    "All rows there are, of recipes as they are now, in a steady order."
    from sac_seic.recipes import RECIPES
    rows = [json.loads(path.read_text()) for path in sorted((work / "runs").glob("*.json"))]
    keys = {name: key(recipe) for name, recipe in RECIPES.items()}
    named = lambda row: row["recipe"].removesuffix(" at step 0").removesuffix(", student alone")
    now = [row for row in rows if keys.get(named(row)) == row["key"]]
    return pd.DataFrame(now).sort_values(["set", "encoder", "text", "recipe", "seed"], kind="stable")


def differences(data: Path, work: Path, runs: pd.DataFrame) -> pd.DataFrame:
    "Every recipe against k-means, smoothed k-means and its own start, on the same seeds and images."
    from sac_seic.evaluate import paired_difference
    labels = lambda part: np.stack([np.load(run_file(work, row, ".npy")) for _, row in part.iterrows()])
    found = []
    for (name, encoder), group in runs.groupby(["set", "encoder"], sort=False):
        truth = np.unique(open_set(data, name).labels, return_inverse=True)[1]
        for (text, recipe), part in group.groupby(["text", "recipe"], sort=False):
            own = recipe.removesuffix(", student alone")
            others = [("kmeans-image", ""), ("kmeans-smooth", ""), (f"{own} at step 0", text)]
            if own == "sac+enhance": others.append(("sac", text))
            for other, other_text in others:
                rival = group[(group.recipe == other) & (group.text == other_text)]
                seeds = sorted(set(part.seed) & set(rival.seed))
                if len(seeds) < 2 or recipe == other: continue
                a, b = (labels(x[x.seed.isin(seeds)].sort_values("seed")) for x in (part, rival))
                d = paired_difference(a, b, truth)
                found.append({"set": name, "encoder": encoder, "text": text, "recipe": recipe, "against": other,
                              "seeds": len(seeds), "points": d.points, "low": d.low, "high": d.high,
                              "verdict": d.verdict})
    return pd.DataFrame(found)


def main():
    ask = argparse.ArgumentParser(usage=__doc__)
    ask.add_argument("data", type=Path)
    ask.add_argument("work", type=Path)
    ask.add_argument("--sets", nargs="*", default=list(SETS)[:4])
    ask.add_argument("--encoders", nargs="*", default=["mini", "classic"])
    ask.add_argument("--recipes", nargs="*", help="these only; with :captions or :nouns, with that text only")
    ask.add_argument("--seeds", type=int, default=5)
    ask.add_argument("--write", action="store_true", help="run nothing, write the tables")
    asked = ask.parse_args()
    (asked.work / "runs").mkdir(parents=True, exist_ok=True)
    os.environ["SAC_SEIC_CACHE"] = str(asked.work)
    from sac_seic.recipes import RECIPES
    todo = [(r, None) for r in IMAGE] + [(r, "captions") for r in CAPTIONS] + [(r, "nouns") for r in NOUNS]
    if asked.recipes:
        more = [(r, RECIPES[r].texts[0]) for r in RECIPES if RECIPES[r].second]
        todo = [(r, text) for r, text in todo + more if {r, f"{r}:{text}"} & set(asked.recipes)]
    for seed in range(asked.seeds) if not asked.write else ():
        for name in asked.sets:
            for encoder in asked.encoders:
                bench = None
                for recipe, text in ((RECIPES[r], text) for r, text in todo):
                    row = dict(set=name, encoder=encoder, text=text or "", recipe=recipe.name, key=key(recipe), seed=seed)
                    there = run_file(asked.work, row, ".json").exists()
                    if there or (recipe.second and encoder == "classic"): continue
                    bench = bench or Bench(asked.data, asked.work, name, encoder)
                    for labels, row in rows_of(bench, recipe, text, seed):
                        keep(asked.work, row, labels)
                        print(f"{name} {encoder} {row['text'] or 'image'} {row['recipe']} seed {seed}: "
                              f"ACC {100 * row['ACC']:.1f}, {row['seconds']:.0f} s", flush=True)
    if asked.write:
        runs = table(asked.work)
        runs.to_csv(NBS / "runs.csv", index=False, float_format="%.5f")
        differences(asked.data, asked.work, runs).to_csv(NBS / "differences.csv", index=False, float_format="%.2f")


if __name__ == "__main__": main()
