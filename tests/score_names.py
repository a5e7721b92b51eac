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


def first_noun(captions) -> tuple[str, float]: # the most frequent one, and its share
    heard = Counter(things[0] for things in map(_things, captions) if things)
    return (heard.most_common(1)[0][0], max(heard.values()) / len(captions)) if heard else ("", 0.)


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
            noun, often = first_noun([captions[i] for i in inside])
            ctfidf = [right(word) for word in words[c]] or [False]
            rows.append({"class": number, "score": x.score, "sure": x.sure, "name": named,
                         "name or keywords": named or keywords, "name, or what it looks like": right(guess),
                         "that, or keywords": right(guess) or keywords,
                         "first noun of most captions": right(noun), "often": often,
                         "first c-TF-IDF word": ctfidf[0], "three c-TF-IDF words": any(ctfidf)})
            mark = "ok" if right(guess) else "--"
            if show: print(f"{label:16}{mark} {x.score:.2f} {x.name}: {', '.join(x.keywords)}")
    table = pd.DataFrame(rows)  # the control that names as many clusters: where most captions begin alike
    table["noun given"] = table.pop("often").rank(method="first", ascending=False) <= table["sure"].sum()
    return table.assign(**{"noun right": table["noun given"] & table["first noun of most captions"]})


def measures(sums: pd.DataFrame) -> pd.DataFrame: # rows: sums over the clusters of some classes
    n = sums["clusters"]
    share = sums.drop(columns=["clusters", "sure", "noun given", "noun right"]).div(n, axis=0)
    given, control = sums["name"] / sums["sure"], sums["noun right"] / sums["noun given"]
    return share.assign(**{
        "clusters named": sums["sure"] / n, "right names of those given": given,
        "right first nouns of as many": control, "right names, less right first nouns": given - control,
        "name, less first c-TF-IDF word": share["name"] - share["first c-TF-IDF word"],
        "name or keywords, less three c-TF-IDF words": share["name or keywords"] - share["three c-TF-IDF words"]})


def shares(rows: pd.DataFrame) -> pd.DataFrame: # measure, share, low, high
    sums = rows.drop(columns="score").assign(clusters=1).groupby("class").sum().astype(float)
    picks = np.random.default_rng(0).integers(len(sums), size=(2000, len(sums)))
    again = pd.DataFrame(sums.to_numpy()[picks].sum(axis=1), columns=sums.columns)
    low, high = measures(again).quantile([0.025, 0.975]).to_numpy()
    table = measures(sums.sum().to_frame().T).T.iloc[:, 0].rename("share").rename_axis("measure").reset_index()
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
    table = pd.concat(tables)[["set", "clusters", "measure", "share", "low", "high"]]
    print(table.pivot(index="measure", columns="set", values="share").to_string())
    if set(given.sets) == set(SETS): table.to_csv(CSV, index=False)


if __name__ == "__main__": main()
