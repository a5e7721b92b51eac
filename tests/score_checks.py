"""What the checks are worth, on data sets whose labels are known: writes nbs/checks.csv.

    python tests/score_checks.py EMBEDDINGS CALTECH [SET …]

EMBEDDINGS: a folder of emb_SET.npz with v (image embeddings), t (captions' embeddings) and y (classes).
CALTECH: the folder of images of the set "caltech", for the planted copies. Labels are used to plant mistakes
and to score. Takes five minutes on one core."""
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.metrics import roc_auc_score

from sac_seic.data.files import no_progress
from sac_seic.data.images import ImageFolder, fashion_mnist_sample
from sac_seic.evaluate import match_clusters
from sac_seic.pairs import nearest_neighbors
from sac_seic.tool import checks
from sac_seic.tool.cluster import cluster_pairs

RECIPES = "sac", "kmeans-smooth"
SEEDS = range(3)


def named(truth, clusters) -> np.ndarray: # n classes, -1 where the cluster has none
    "The class that every image's cluster stands for."
    match = match_clusters(truth, clusters)
    return np.array([match.get(c, -1) for c in clusters])


def calibration_error(p, right, bins: int = 10) -> float:
    "Expected calibration error: mean distance of probability and share of right ones, bin by bin."
    own = np.minimum((p * bins).astype(int), bins - 1)
    total = [np.bincount(own, x, minlength=bins) for x in (p, right)]
    return float(np.abs(total[0] - total[1]).sum() / len(p))


def reliability(p, right, bins: int = 5) -> str:
    "Mean probability: share right, of fifths of the bins that hold at least 1 %."
    own, said = np.minimum((p * bins).astype(int), bins - 1), []
    for b in range(bins):
        if (own == b).mean() >= 0.01: said.append(f"{p[own == b].mean():.2f}:{right[own == b].mean():.2f}")
    return " ".join(said)


def score_probability(v, t, y, nbr, k):
    "Calibration of the confidence, of the agreement alone, and of the probability."
    for recipe in RECIPES:
        given = {}
        for seed in SEEDS:
            found = cluster_pairs(v, t, recipe, k, seed, progress=no_progress)
            stands = named(y, found.labels)
            yield recipe, "right", (stands == y).mean()
            given.setdefault(f"{recipe}, confidence", []).append((found.confidence, stands == y))
            for text, words in ((None, ""), (t, ", with text")):
                same = checks.agreement(v, found.labels, k, text, seed)
                sure = checks.calibrate(found.confidence, same)
                given.setdefault(f"{recipe}, agreement{words}", []).append((same, stands == y))
                given.setdefault(f"{recipe}, probability{words}", []).append((sure, stands == y))
            yield from score_second(recipe, v, y, nbr, k, found.labels, stands)
        for what, runs in given.items():
            for p, right in runs:
                yield what, "calibration error", calibration_error(p, right)
                yield what, "AUC", roc_auc_score(right, p)
            yield what, "reliability", reliability(*map(np.concatenate, zip(*runs)))


def score_second(recipe, v, y, nbr, k, labels, stands):
    "Images between two clusters: how often is their own right, and how often the second?"
    second, between = checks._second(v, labels, nbr, k)
    class_of = dict(zip(labels, stands))
    right, next_right = stands == y, np.array([class_of.get(c, -1) for c in second]) == y
    yield recipe, "between", between.mean()
    yield recipe, "between: own right", right[between].mean()
    yield recipe, "between: second right", next_right[between].mean()
    yield recipe, "wrong: second right", next_right[~right].mean()


def wrong_rows(n, share, rng) -> np.ndarray:
    wrong = np.zeros(n, dtype=bool)
    wrong[rng.permutation(n)[:round(share * n)]] = True
    return wrong


def score_captions(v, t, y, nbr, k):
    "Captions exchanged with those of other classes."
    labels = cluster_pairs(v, t, "kmeans-smooth", k, progress=no_progress).labels
    for share in (0.1, 0.3):
        for seed in SEEDS:
            rng = np.random.default_rng(seed)
            wrong, source = wrong_rows(len(y), share, rng), np.arange(len(y))
            for i in np.flatnonzero(wrong): source[i] = rng.choice(np.flatnonzero(y != y[i]))
            near_t = nearest_neighbors(t[source], 20)
            doubt = checks.doubt_captions(labels, nbr, near_t, k)
            common = np.array([np.isin(a, b).sum() for a, b in zip(nbr, near_t)])
            yield f"captions, {share:.0%}", "AUC", roc_auc_score(wrong, doubt)
            yield f"captions, {share:.0%}, neighbours in common", "AUC", roc_auc_score(~wrong, common)
            flagged, what = doubt > 0.8, f"captions, {share:.0%}, doubt over 0.8"
            yield what, "precision", wrong[flagged].mean()
            yield what, "recall", flagged[wrong].mean()
            yield what, "share of the others", flagged[~wrong].mean()


def score_labels(v, t, y, nbr, k):
    "Labels changed to any other class."
    found = cluster_pairs(v, t, "kmeans-smooth", k, progress=no_progress)
    for share in (0.05, 0.1):
        for seed in SEEDS:
            rng = np.random.default_rng(seed)
            wrong = wrong_rows(len(y), share, rng)
            given = np.where(wrong, (y + rng.integers(1, k, len(y))) % k, y)
            doubt, suggested = checks.doubt_labels(given, nbr)
            groups = (named(given, found.labels) != given) * (1 + found.confidence)
            ranks = {"doubt": doubt, "neighbours' vote": -(given[nbr] == given[:, None]).mean(axis=1),
                     "groups": groups}
            for name, rank in ranks.items():
                first = np.argsort(-rank, kind="stable")[:wrong.sum()]
                yield f"labels, {share:.0%}, {name}", "precision", wrong[first].mean()
            flagged = doubt > 0.9
            yield f"labels, {share:.0%}, doubt over 0.9", "precision", wrong[flagged].mean()
            yield f"labels, {share:.0%}, doubt over 0.9", "recall", flagged[wrong].mean()
            yield f"labels, {share:.0%}, suggested", "right", (suggested == y)[wrong & flagged].mean()


def _jpeg(image):
    file = BytesIO()
    image.save(file, "JPEG", quality=60)
    return Image.open(file).convert("RGB")


def _resized(share):
    return lambda image: image.resize([round(share * side) for side in image.size], Image.BICUBIC)


def _cropped(pixels):
    return lambda image: image.crop((pixels, pixels, image.width - pixels, image.height - pixels))


COPIES = {"JPEG, quality 60": _jpeg, "resized to 3/4": _resized(0.75), "resized to 1/2": _resized(0.5),
          "cropped by 1 pixel": _cropped(1), "cropped by 2 pixels": _cropped(2)}


def score_copies(name, v, images, planted=150):
    "Changed copies of some images beside all of them; and what is found among these without any."
    from sac_seic.models.presets import load_preset
    encoder = load_preset("mini", needs=("image",)).image_encoder
    rows = np.sort(np.random.default_rng(0).permutation(len(v))[:planted])
    pictures = [images[int(i)].convert("RGB") for i in rows]
    _, alone = _found(v)
    yield "copies, none planted", "images in groups", (np.bincount(alone, minlength=len(v))[alone] > 1).mean()
    for kind, change in COPIES.items():
        ready = [encoder.preprocess(change(picture)) for picture in pictures]
        copies = [encoder.encode(np.stack(ready[i:i + 32])) for i in range(0, planted, 32)]
        _, group = _found(np.concatenate([v, *copies]))
        yield f"copies, {kind}", "recall", (group[len(v):] == group[rows]).mean()
        drawn_in = (group[:len(v)] != alone).mean()
        yield f"copies, {kind}", "other images drawn in", drawn_in


def _found(v):
    near = nearest_neighbors(v, 15)
    distance = checks._distances(v, near)
    return distance, checks.near_duplicates(distance, near)


def score_outliers(name, sets, y):
    "Three images of each of the other two sets among at most 3,000 of this one; four draws."
    others = [sets[other][0] for other in ("sample", "caltech", "cifar") if other != name and other in sets]
    if len(others) < 2: return
    for seed in range(4):
        rng, (v, t, y, k) = np.random.default_rng(seed), sets[name]
        host = rng.permutation(len(v))[:3000]
        x = np.concatenate([v[host], *(o[rng.permutation(len(o))[:3]] for o in others[:2])])
        near = nearest_neighbors(x, 15)
        labels = cluster_pairs(x, None, "kmeans-smooth", k, progress=no_progress).labels
        mean = checks._distances(x, near).mean(axis=1)
        odd, planted = checks._outliers(mean, labels), np.arange(len(x)) >= len(host)
        yield "outliers", "AUC of the distance", roc_auc_score(planted, mean)
        yield "outliers", "recall", odd[planted].mean()
        yield "outliers", "share of the others", odd[~planted].mean()


def main(folder: str, caltech: str, *names: str):
    names = names or ("sample", "caltech", "cifar", "cifar_train", "clssam", "clscal")
    sets = {}
    for name in names:
        with np.load(Path(folder, f"emb_{name}.npz")) as z:
            sets[name] = z["v"], z["t"], z["y"], len(np.unique(z["y"]))
    pictures = {"sample": fashion_mnist_sample, "caltech": lambda: ImageFolder(Path(caltech), labels=True)}
    rows = []
    for name, (v, t, y, k) in sets.items():
        nbr = nearest_neighbors(v, 20)
        parts = [score(v, t, y, nbr, k) for score in (score_probability, score_captions, score_labels)]
        if name in pictures: parts.append(score_copies(name, v, pictures[name]()))
        if name in ("sample", "caltech", "cifar"): parts.append(score_outliers(name, sets, y))
        for part in parts: rows += [(name, *row) for row in part]
        print(name, flush=True)
    table = pd.DataFrame(rows, columns=["set", "what", "score", "value"])
    numbers = table[table.score != "reliability"].astype({"value": float})
    curves = table[table.score == "reliability"]
    groups = numbers.groupby(["set", "what", "score"], sort=False).value
    mean = groups.agg(value="mean", sd="std").round(4).reset_index()
    pd.concat([mean, curves]).to_csv(Path(__file__).parents[1] / "nbs" / "checks.csv", index=False)


if __name__ == "__main__": main(*sys.argv[1:])
