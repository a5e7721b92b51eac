"""How often clusters get the right name: the table of nbs/tool/08_names.ipynb.

    python tests/score_names.py DATA WORK [--sets NAME ...] [--show]

DATA holds caltech50 and cifar10_test (a folder a class). WORK is the embedding cache; clusters and captions are kept
there, too (names-SET.json), so a second run takes seconds. Writes nbs/names.csv.

Right is a name or keyword that is the class word, a WordNet synonym, or at most two hypernym steps above or below,
of the class that most images of the cluster have. A phrase counts by the longest end that WordNet has ("racing bike"
by "bike"), a word by any of its meanings. Intervals are bootstraps over classes."""

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from sac_seic.tool.names import _singular, _things, _wordnet, cluster_words, name_clusters

CSV = Path(__file__).resolve().parent.parent / "nbs" / "names.csv"
SETS = {"sample": "Fashion-MNIST sample", "caltech-a": "Caltech-50, 25 classes chosen on",
        "caltech-b": "Caltech-50, the other 25", "caltech": "Caltech-50", "cifar": "CIFAR-10 test, JPEG"}
SEEDS = range(3)

# Class names that are no word of WordNet's, or mean first something else: the word, and a word of the synset above it.
MEANT = {"ceiling_fan": ("electric fan", "fan"), "cougar_body": ("cougar", "wildcat"), "dollar_bill": ("dollar", None),
         "flamingo_head": ("flamingo", None), "inline_skate": ("roller skate", None), "stop_sign": ("sign", None),
         "pyramid": ("monument", None), "lamp": ("lamp", "furniture"), "cup": ("cup", "crockery"),
         "nautilus": ("nautilus", "cephalopod"), "sea_horse": ("sea horse", "pipefish"), "yin_yang": None,
         "T-shirt/top": ("T-shirt", None), "Bag": ("bag", "container"), "Ankle boot": ("boot", None)}


def meaning(label: str) -> int | None: # its synset; None: WordNet has none
    word, above = MEANT.get(label, (label.replace("_", " "), None)) or (None, None)
    if word is None: return None
    net = _wordnet()
    senses = net.senses[_singular(word.lower())]
    return next(s for s in senses if above is None or
                any(w == above for over in net.above[s] for w, _ in net.words[over]))


def near(synset: int) -> set[int]: # itself and what is one or two steps above
    above = _wordnet().above
    first = set(above[synset])
    return {synset} | first | {over for s in first for over in above[s]}


def is_right(name: str, label: str) -> bool:
    name, word, synset = name.lower(), label.lower().replace("_", " "), meaning(label)
    if name == word: return True
    if synset is None: return not set(name.split()).isdisjoint(word.split())
    words = name.split()
    ends = (_singular(" ".join(words[i:])) for i in range(len(words)))
    end = next(filter(None, ends), None)
    return end is not None and any(s in near(synset) or synset in near(s) for s in _wordnet().senses[end])


def stored(data: Path, work: Path, name: str) -> dict: # classes, truth, captions; labels and confidence per seed
    path = work / f"names-{name}.json"
    if not path.is_file():
        from sac_seic.data.images import ImageFolder, fashion_mnist_sample
        from sac_seic.tool.cluster import cluster
        folder = data / {"caltech": "caltech50", "cifar": "cifar10_test"}.get(name, "")
        images = fashion_mnist_sample() if name == "sample" else ImageFolder(folder, labels=True)
        runs = [cluster(images, len(images.classes), seed=seed, cache=work) for seed in SEEDS]
        kept = {"classes": list(runs[0].classes), "truth": runs[0].truth.tolist(),
                "captions": list(runs[0].pairs.captions), "labels": [run.labels.tolist() for run in runs],
                "confidence": [np.round(run.confidence, 5).tolist() for run in runs]}
        path.write_text(json.dumps(kept))
    return json.loads(path.read_text())


def first_word(captions) -> str:
    heard = Counter(things[0] for things in map(_things, captions) if things)
    return heard.most_common(1)[0][0] if heard else ""


def judge(found: dict, show: bool) -> pd.DataFrame: # a row for every cluster of every seed
    rows, truth, captions = [], np.array(found["truth"]), found["captions"]
    k = len(found["classes"])
    for labels, confidence in zip(map(np.array, found["labels"]), found["confidence"]):
        names = name_clusters(labels, captions, k, confidence=np.array(confidence))
        words = cluster_words(captions, labels, k)
        for c in np.unique(labels):
            inside = np.flatnonzero(labels == c)
            number = int(np.bincount(truth[inside]).argmax())
            label, x = found["classes"][number], names[c]
            right, guess = lambda said: is_right(said, label), x.name.removeprefix("unnamed, looks like ")
            keywords, named = any(map(right, x.keywords)), x.sure and right(x.name)
            ctfidf = [right(word) for word in words[c]] or [False]
            rows.append({"class": number, "score": x.score, "sure": x.sure, "name": named,
                         "name or keywords": named or keywords, "best guess, sure or not": right(guess),
                         "most frequent first noun of the captions": right(first_word([captions[i] for i in inside])),
                         "first c-TF-IDF word": ctfidf[0], "three c-TF-IDF words": any(ctfidf)})
            if show: print(f"{label:16}{'ok ' if right(guess) else '-- '}{x.score:.2f} {x.name}: {', '.join(x.keywords)}")
    return pd.DataFrame(rows)


def shares(rows: pd.DataFrame) -> pd.DataFrame: # measure, share, low, high
    picks, classes = np.random.default_rng(0), rows["class"].unique()
    parts = {c: part.astype(float) for c, part in rows.groupby("class")}
    again = [pd.concat([parts[c] for c in picks.choice(classes, len(classes))]) for _ in range(500)]
    means = lambda r: {
        **r.drop(columns=["class", "score", "sure"]).mean(), "clusters named": r["sure"].mean(),
        "right names of those given": r["name"].sum() / r["sure"].sum() if r["sure"].any() else np.nan,
        "name, less first c-TF-IDF word": r["name"].mean() - r["first c-TF-IDF word"].mean(),
        "best guess, less first c-TF-IDF word": (r["best guess, sure or not"] - r["first c-TF-IDF word"]).mean(),
        "name or keywords, less three c-TF-IDF words": (r["name or keywords"] - r["three c-TF-IDF words"]).mean()}
    low, high = pd.DataFrame(list(map(means, again))).quantile([0.025, 0.975]).to_numpy()
    table = pd.Series(means(rows.astype(float))).rename("share").rename_axis("measure").reset_index()
    return table.assign(low=low, high=high).round(3)


def main():
    asked = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    asked.add_argument("data", type=Path)
    asked.add_argument("work", type=Path)
    asked.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    asked.add_argument("--show", action="store_true", help="print every cluster's name")
    given, tables = asked.parse_args(), []
    for name in given.sets:
        base, _, half = name.partition("-")
        rows = judge(stored(given.data, given.work, base), given.show)
        if half: rows = rows[rows["class"] % 2 == "ab".index(half)]
        tables.append(shares(rows).assign(set=SETS[name], clusters=len(rows)))
        order = rows.sort_values("score", ascending=False)
        above = order["best guess, sure or not"].cumsum() / np.arange(1, len(rows) + 1)
        if (above >= 0.9).any():
            print(f"{SETS[name]}: 90 % right down to a score of {order['score'][above[above >= 0.9].index[-1]]:.3f}")
    table = pd.concat(tables)[["set", "clusters", "measure", "share", "low", "high"]]
    print(table.pivot(index="measure", columns="set", values="share").to_string())
    if set(given.sets) == set(SETS): table.to_csv(CSV, index=False)


if __name__ == "__main__": main()
