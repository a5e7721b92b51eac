"""Is `choose_k` right? It is asked about sets whose classes are known, and its answers are kept: nbs/choose_k.csv.

    python tests/score_k.py DATA [WORK] [--out CSV]

DATA holds fashion-mnist (the publisher's files), cifar10_test and caltech50 (a folder a class), as for
tests/table.py. Embeddings, by `mini` and by `classic`, are kept in WORK (the embedding cache). Sets: all classes, and
random ones of them. On the rows with stage "chosen" the rules were chosen, on those with "reported" they were not.
"Caltech-50" itself is "half": every second of its classes was among those chosen on. Two controls have no right k:
sets of "one class", and "noise", normal numbers with the mean and the covariance of a set's embeddings."""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from table import NBS, SETS, open_set

from sac_seic.tool.choose_k import choose_k

ROWS = 2_000  # images of a set; random ones where there are more
PLAN = [  # set, encoder, stage, numbers of classes, how many sets of so many random classes
    ("sample", "mini", "chosen", (2, 3, 5, 10), 2), ("caltech-a", "mini", "chosen", (2, 3, 5, 8, 12, 20, 25), 2),
    ("sample", "classic", "chosen", (2, 3, 5, 10), 1), ("caltech-a", "classic", "chosen", (2, 5, 12, 25), 1),
    ("test", "mini", "reported", (2, 3, 5, 10), 2), ("cifar", "mini", "reported", (2, 5, 10), 2),
    ("caltech-b", "mini", "reported", (2, 3, 5, 8, 12, 20, 25), 3),
    ("caltech-b", "classic", "reported", (2, 5, 12, 25), 1), ("caltech", "mini", "half", (30, 40, 50), 2),
    ("test", "mini", "one class", (1,), 10), ("cifar", "mini", "one class", (1,), 10),
    ("caltech-b", "mini", "one class", (1,), 25),
    ("test", "mini", "noise", (10,), 2), ("cifar", "mini", "noise", (10,), 2), ("caltech-b", "mini", "noise", (25,), 2)]


def some_classes(truth: np.ndarray, k: int, seed: int) -> np.ndarray:
    "Rows of k random classes, at most `ROWS` of them."
    rng = np.random.default_rng([k, seed])
    chosen = rng.permutation(truth.max() + 1)[:k] if k > 1 else seed  # one class: each in its turn
    rows = np.flatnonzero(np.isin(truth, chosen))
    return np.sort(rng.permutation(rows)[:ROWS])


def same_spread(v: np.ndarray, seed: int) -> np.ndarray:
    "Normal numbers with the mean and the covariance of these rows."
    middle, rng = v.mean(axis=0), np.random.default_rng(seed)
    axes = np.linalg.svd(v - middle, full_matrices=False)
    return middle + rng.normal(size=(len(v), len(axes[1]))) * axes[1] / np.sqrt(len(v)) @ axes[2]


def plain_silhouette(v: np.ndarray) -> int:
    "The k that everybody's first try gives: the highest silhouette of k-means on the embeddings themselves."
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.metrics import silhouette_score
    from sac_seic.tool.choose_k import _grid
    ks = _grid(2, min(100, len(v) // 5))
    x = PCA(min(64, len(v) - 1), random_state=0).fit_transform(v / np.linalg.norm(v, axis=1, keepdims=True))
    heights = [silhouette_score(x, KMeans(k, n_init=3, random_state=0).fit_predict(x)) for k in ks]
    return int(ks[np.argmax(heights)])


def answers(v: np.ndarray) -> dict:
    "What each voice says, and what comes of it."
    found = choose_k(v)
    curve = {name: np.array(values) for name, values in found.curve.items()}
    voices = {name: int(curve["k"][curve[name].argmax()]) for name in ("silhouette", "eigengap")}
    return dict(k=found.k, unsure=found.unsure, plain=plain_silhouette(v), **voices,
                runner_up=found.runner_up, height=round(curve["silhouette"].max(), 3))


def embed(data: Path, work: Path, name: str, encoder: str) -> tuple: # embeddings, class numbers from 0
    "A set's images through an encoder."
    from sac_seic.models.presets import load_preset
    from sac_seic.pairs import make_pairs
    images = open_set(data, name)
    own = None if encoder == "mini" else encoder
    pairs = make_pairs(images, load_preset("mini", work, needs=("image",), image_encoder=own), work)
    return pairs.v, np.unique(images.labels[pairs.index], return_inverse=True)[1]


def score(data: Path, work: Path):
    for name, encoder, stage, numbers, repeats in PLAN:
        v, truth = embed(data, work, name, encoder)
        for k in numbers:
            for seed in range(1 if k == truth.max() + 1 and stage != "noise" else repeats):
                rows = some_classes(truth, k, seed)
                row = dict(set=SETS[name], encoder=encoder, stage=stage, classes=k, seed=seed, images=len(rows))
                row |= answers(same_spread(v[rows], seed) if stage == "noise" else v[rows])
                print(*row.values(), flush=True)
                yield row


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path, nargs="?", default=Path("work"))
    parser.add_argument("--out", type=Path, default=NBS / "choose_k.csv")
    given = parser.parse_args()
    pd.DataFrame(score(given.data, given.work)).to_csv(given.out, index=False)
