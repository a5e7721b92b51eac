"""No fit, start, stop or choice of epoch sees labels: with noise in their place, all but the scores stays the same.

`outputs` and `written` turn a result, in memory or in a folder, into plain parts; `differing` names the parts
that are not equal to the bit. Whatever runs with labels at hand can be tested with these three."""

import functools
import inspect
import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from sklearn.base import clone

import sac_seic
from sac_seic import nouns
from sac_seic import sac as sac_module
from sac_seic.data.files import no_progress
from sac_seic.data.images import fashion_mnist_sample
from sac_seic.evaluate import accuracy
from sac_seic.models.presets import load_preset
from sac_seic.recipes import ESTIMATORS, RECIPES
from sac_seic.tool import checks, choose_k, cluster, names, report

pytestmark = pytest.mark.usefixtures("one_thread")

N, K = 48, 5
WORDS = ["shoe", "sandal", "boot", "shirt", "coat", "dress", "trousers", "bag", "dog", "cat", "bottle", "car", "tree"]

# Comparing -------------------------------------------------------------------------------------------------

SEE_LABELS = {"truth", "classes", "images", "label_doubt", "suggested"} # fields that hold labels, or are about them
NOT_COMPARED = SEE_LABELS | {"preset", "cache", "groups", "nbr"} # the last two: as `names`, `keywords` and `near`
SCORES = {"ACC", "NMI", "ARI"}
CLOCK = {"seconds", "finished", "date"}
WRONG_LABELS = "label looks wrong"


def plain(x, path: str = "", left_out=frozenset()) -> dict:
    "Every number, name and array in an object, by the path that leads there."
    def inner(named):
        return {p: y for name, value in named if name not in left_out
                for p, y in plain(value, f"{path}.{name}" if path else str(name), left_out).items()}
    if isinstance(x, torch.nn.Module): return inner(x.state_dict().items())
    if isinstance(x, torch.Tensor): x = x.detach().cpu().numpy()
    if isinstance(x, np.ndarray) and x.dtype != object: return {path: (x.dtype.str, x.shape, x.tobytes())}
    if isinstance(x, dict): return {f"{path}.keys": sorted(map(str, x.keys() - left_out))} | inner(x.items())
    if isinstance(x, np.ndarray | list | tuple): return {f"{path}.length": len(x)} | inner(enumerate(x))
    if x is None or isinstance(x, str | bytes | bool | int | float | np.generic): return {path: repr(x)}
    ours = type(x).__module__.startswith(("sac_seic", "sklearn", __name__))
    return inner((name, y) for name, y in vars(x).items() if not callable(y)) if ours else {}


def outputs(found, drawn: bool = True) -> dict:
    "All of a `Clustering` but what is about the labels that came with the images; drawn: with its map and page."
    seen = {name: getattr(found, name) for name in ("names", "keywords", "near", "typical", "confidence", "checks")}
    everything = {"found": found, "seen": seen, "attestation": found.attestation()}
    if drawn:
        page = vars(report.page_data(found)) | {"metrics": None, "thumbnails": None}
        page["odd"] = {kind: rows for kind, rows in page["odd"].items() if kind != WRONG_LABELS}
        everything |= {"xy": found.xy, "page": page}
    return plain(everything, left_out=NOT_COMPARED)


def written(folder: Path, left_out=frozenset()) -> dict:
    """What is in the files of a folder, but scores, times, what is about the labels, and names that are left out.

    Pages and Markdown are not read: what they show is compared as data."""
    found, left_out = {}, SEE_LABELS | SCORES | CLOCK | {"label", "metrics"} | set(left_out)
    for path in sorted(p for p in Path(folder).rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        read = {".csv": _table, ".parquet": _table, ".json": _notes, ".safetensors": _tensors, ".npy": _rows}.get(path.suffix)
        if path.suffix == ".safetensors": name = name.rpartition("-")[0] or name # after that comes a hash
        if read: found |= plain(read(path), name, left_out)
        elif path.suffix not in (".html", ".md"): found[name] = path.read_bytes()
    return found


def _table(path: Path) -> dict:
    rows = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype=str, keep_default_na=False)
    return {name: rows[name].tolist() for name in rows}


def _rows(path: Path) -> dict: return {f"row {i}": x for i, x in enumerate(np.load(path))}


def _notes(path: Path) -> dict:
    "Without the number of labels that look wrong, and without hashes of files in which labels are, too."
    record = json.loads(path.read_bytes())
    if "odd" in record: record["odd"].pop(WRONG_LABELS, None)
    for part in record.get("parts", {}).values(): part.update(file=None, sha256=None)
    return record


def _tensors(path: Path) -> dict:
    "Not the bytes: safetensors writes the notes at the head of a file in any order."
    with safe_open(path, "numpy") as file:
        return {"notes": file.metadata()} | {name: file.get_tensor(name) for name in file.keys()}


def differing(one: dict, other: dict) -> list[str]:
    "The parts in which two results are not equal to the bit."
    return [name for name in sorted(one.keys() | other.keys()) if one.get(name, "–") != other.get(name, "–")]


# The runs --------------------------------------------------------------------------------------------------

NOISE = "shuffled", "other sizes"


@pytest.fixture(scope="module")
def sample():
    "48 images of 5 classes."
    whole = fashion_mnist_sample()
    return whole.subset(np.flatnonzero(np.isin(whole.labels, [1, 3, 7, 8, 9]))[::3][:N])


def relabelled(images, kind: str):
    "The same images, with labels of another kind: their own, noise of the same sizes, noise of other sizes, or none."
    other, own, rng = images.subset(np.arange(len(images))), np.unique(images.labels), np.random.default_rng(7)
    if kind == "shuffled": other.labels = rng.permutation(images.labels)
    if kind == "other sizes":
        few = np.repeat(own[1:], 2)
        other.labels = rng.permutation(np.r_[few, [own[0]] * (len(images) - len(few))])
    if kind == "none": other.labels = other.classes = None
    return other


@pytest.fixture(scope="module")
def how(tmp_path_factory):
    "Models and a cache for the whole module; what is the same in every run is made once, and checks are short."
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "_RUNS", 2)
        patch.setattr(cluster, "_code_digest", functools.cache(cluster._code_digest))
        patch.setattr(nouns, "shared_space", functools.cache(nouns.shared_space))
        yield {"models": load_preset("mini", cache), "cache": cache, "device": "cpu", "progress": no_progress}


def quick(name: str):
    "The recipe with fewer steps and a short vocabulary. What makes it stop, and what it chooses by, is its own."
    recipe = RECIPES[name]
    short = {"max_steps": 120, "patience": 10, "epochs": 4, "steps": 6, "n_init": 2}
    settings = {x: short.get(x, y) if y else y for x, y in recipe.settings.items()}
    words = recipe.nouns and recipe.nouns | {"vocabulary": WORDS, "k1": 5, "k2": recipe.nouns["k2"] and 3}
    second = recipe.second and recipe.second | {"steps": 2, "epochs": None, "batch_size": 8, "size": 32}
    return replace(recipe, settings=settings, nouns=words, second=second)


def run(images, name, how, n_clusters=K): return sac_seic.cluster(images, n_clusters, quick(name), **how)


DRAWN = "seic", "spectral" # with a text and a second stage, and without either, nor a model to save


@pytest.mark.parametrize("name", RECIPES)
def test_no_recipe_sees_labels(name, sample, how, tmp_path):
    if name == "umap-ward": pytest.importorskip("umap")
    fitted = {kind: run(relabelled(sample, kind), name, how) for kind in ("true", *NOISE)}
    found = {kind: plain(result, "found", NOT_COMPARED) for kind, result in fitted.items()}
    for kind in NOISE: assert differing(found["true"], found[kind]) == [], kind
    assert len(found["true"]) > 60
    true, noise = (everything(fitted[kind], tmp_path / kind, name in DRAWN) for kind in ("true", "other sizes"))
    assert differing(true, noise) == []


def everything(found, folder: Path, drawn: bool) -> dict:
    "What can be read off a result, and what is written."
    if drawn: found.report(folder, no_progress)
    elif hasattr(found.model, "predict"): found.save(folder)
    return outputs(found, drawn) | written(folder)


def test_no_k_sees_labels(sample, how, tmp_path):
    "Nor does any file of a report; and without labels all is as with them."
    fitted = {kind: run(relabelled(sample, kind), "sac", how, "auto") for kind in ("true", "none")}
    found = {kind: everything(result, tmp_path / kind, True) for kind, result in fitted.items()}
    assert fitted["true"].scores() and fitted["none"].scores() is None
    assert {"found.k_choice.k", "clusters.png", "plan.json.groups.0.name", "run.json.attestation.labels", "run.json.k.k", "xy",
            "assignments.csv.cluster.0", "images.parquet.x.0", "page.xy"} <= found["true"].keys()
    assert differing(found["true"], found["none"]) == []


def test_what_may_differ_does(sample, how):
    "The scores, and which labels look wrong: else the test above would compare a run with itself."
    true, noise = (run(relabelled(sample, kind), "kmeans-image", how) for kind in ("true", "other sizes"))
    assert true.scores()["ACC"] > noise.scores()["ACC"] + 0.2
    assert (true.checks.label_doubt != noise.checks.label_doubt).any()
    rows = [list(result.table()["label"]) for result in (true, noise)]
    assert rows[0] != rows[1]


def test_compare_sees_how_many_classes_and_no_more(sample, how, monkeypatch):
    "It takes k from the labels, as papers do; everything else of its runs is the same."
    pairs, runs, fit = run(sample, "sac", how).pairs, [], cluster.cluster_pairs
    monkeypatch.setattr(cluster, "cluster_pairs", lambda *a, **more: runs.append(fit(*a, **more)) or runs[-1])
    tables = [cluster.compare(pairs.v, pairs.t, relabelled(sample, kind).labels, [quick("sac-paper"), quick("kmeans-both")],
                              range(2), progress=no_progress, device="cpu") for kind in ("true", *NOISE)]
    same = [table.drop(columns=[*SCORES, "seconds"]) for table in tables]
    for i in (1, 2):
        assert same[0].equals(same[i]) and not tables[0][[*SCORES]].equals(tables[i][[*SCORES]])
        assert differing(plain(runs[:4]), plain(runs[4 * i:4 * i + 4])) == []


# What is given to fit --------------------------------------------------------------------------------------

V, T = (np.random.default_rng(d).normal(size=(60, d)).astype(np.float32) for d in (12, 7))
LABELS = np.arange(60) % 4
GIVEN = {"v", "t", "nbr_v", "nbr_t", "start", "progress", # embeddings, their neighbours, clusters to begin at,
         "images", "encoder", "head", "p", "checkpoint"}  # and what stage 2 takes from stage 1


def estimator(name): return getattr(import_module(f"sac_seic.{name.split('.')[0]}"), name.split(".")[1])


@pytest.mark.parametrize("name", [*ESTIMATORS.values(), "enhance.Enhancer"])
def test_fit_takes_no_labels(name):
    assert inspect.signature(estimator(name).fit).parameters.keys() - {"self"} <= GIVEN
    if name == "enhance.Enhancer": return
    model = estimator(name)(4)
    for fit in (model.fit, model.fit_predict):
        for word in ("y", "labels", "sample_weight"):
            with pytest.raises(TypeError, match=word): fit(V, T, **{word: LABELS})


LOOK_AT_T = {"sac.SAC": {}, "seic.SEIC": {}, "rivals.TAC": {}, "rivals.TURTLE": {}, "smoothing.SmoothViews": {"view": "both"},
             "baselines.KMeansViews": {"views": "both"}}
DO_NOT = {"rivals.SCAN": {"epochs": 3}, "rivals.TEMI": {"epochs": 3}, "baselines.KMeansViews": {"views": "image"},
          "baselines.SpectralClusters": {}}


@pytest.mark.parametrize("name", LOOK_AT_T)
def test_labels_in_the_place_of_text_are_refused(name):
    "scikit-learn's pipelines give y as the second argument, and that is the text here."
    with pytest.raises(ValueError): estimator(name)(4, **LOOK_AT_T[name]).fit(V, LABELS)


@pytest.mark.parametrize("name", DO_NOT)
def test_labels_in_the_place_of_text_are_not_looked_at(name):
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    fitted = [make_pipeline(StandardScaler(), estimator(name)(4, **DO_NOT[name])).fit(V, y)[-1]
              for y in (None, LABELS, LABELS[::-1] ** 2)]
    for other in fitted[1:]: assert differing(plain(fitted[0]), plain(other)) == []


# Peeking is found ------------------------------------------------------------------------------------------
# Each of these looks at labels in a way that papers' code does; all else goes on as always.


def best_epoch(images, patch):
    "Keep the epoch with the best accuracy."
    fit = sac_module.SAC.fit

    def peek(model, *given, **more):
        tried = [fit(clone(model).set_params(epochs=n, tolerance=0), *given, **more) for n in (0, 16, 32)]
        vars(model).update(vars(max(tried, key=lambda one: accuracy(images.labels, one.labels_))))
        return model
    patch.setattr(sac_module.SAC, "fit", peek)


def early_stop(images, patch):
    "Stop once the accuracy falls."
    fit = sac_module.SAC.fit

    def peek(model, *given, **more):
        best, found = -1, None
        for n in (0, 16, 32):
            now = fit(clone(model).set_params(epochs=n, tolerance=0), *given, **more)
            if accuracy(images.labels, now.labels_) < best: break
            best, found = accuracy(images.labels, now.labels_), now
        vars(model).update(vars(found))
        return model
    patch.setattr(sac_module.SAC, "fit", peek)


def best_start(images, patch):
    "Begin at the best of some random clusterings."
    fit = sac_module.SAC.fit

    def peek(model, *given, **more):
        starts = np.random.default_rng(0).integers(0, model.n_clusters, (20, len(images)))
        start = max(starts, key=lambda one: accuracy(images.labels, one))
        return fit(model.set_params(init="kmeans"), *given, **(more | {"start": start}))
    patch.setattr(sac_module.SAC, "fit", peek)


def best_seed(images, patch):
    "Report the seed with the best accuracy."
    fit = sac_module.SAC.fit

    def peek(model, *given, **more):
        tried = [fit(clone(model).set_params(random_state=seed), *given, **more) for seed in range(3)]
        vars(model).update(vars(max(tried, key=lambda one: accuracy(images.labels, one.labels_))))
        return model
    patch.setattr(sac_module.SAC, "fit", peek)


def class_names(images, patch):
    "Name clusters by their commonest class."
    fit = names.name_clusters

    def peek(labels, captions, k, **more):
        common = [np.bincount(images.labels[labels == c], minlength=1).argmax() for c in range(k)]
        return [replace(group, name=images.classes[c]) for group, c in zip(fit(labels, captions, k, **more), common)]
    patch.setattr(names, "name_clusters", peek)


def their_order(images, patch):
    "Take the rows class by class: so is a folder with a folder a class read."
    pairs = cluster._pairs

    def peek(*given, **more):
        found = pairs(*given, **more)
        order = np.argsort(images.labels, kind="stable")
        return replace(found, v=found.v[order], t=found.t[order])
    patch.setattr(cluster, "_pairs", peek)


PEEKS = {best_epoch: "found.model.n_steps_", early_stop: "found.model.n_steps_", best_start: "found.model.start_labels_",
         best_seed: "found.model.seed_", class_names: "seen.names.", their_order: "found.pairs.v"}


@pytest.mark.parametrize("peek", PEEKS, ids=lambda peek: peek.__name__)
def test_peeking_is_found(peek, sample, how):
    found = []
    for kind in ("true", "other sizes"):
        images = relabelled(sample, kind)
        with pytest.MonkeyPatch.context() as patch:
            peek(images, patch)
            trained = quick("sac-paper").changed(lr=0.01, epochs=32, neighbors="bank")
            found.append(outputs(sac_seic.cluster(images, K, trained, **how), drawn=False))
    assert any(name.startswith(PEEKS[peek]) for name in differing(*found))


def test_a_k_that_peeks_is_found(sample, how, monkeypatch):
    "The number of classes as k. Noise of as many classes hides that, so this one is caught by noise of fewer."
    few = relabelled(sample, "true")
    few.labels = few.labels % 2
    found = []
    for images in (sample, few):
        k = len(np.unique(images.labels))
        monkeypatch.setattr(choose_k, "choose_k", lambda v, k=k, **more: choose_k.KChoice(k, {"k": [k]}, k, False, ""))
        found.append(outputs(run(images, "kmeans-image", how, "auto"), drawn=False))
    assert "found.k_choice.k" in differing(*found)


def test_written_scores_are_let_pass_and_nothing_else(tmp_path):
    "For tables, and for runs that are kept: of an array one row may be the labels."
    for kind, acc, steps in (("one", 0.9, 7), ("two", 0.1, 7), ("three", 0.9, 8)):
        (tmp_path / kind).mkdir()
        pd.DataFrame({"recipe": ["sac"], "steps": [steps], "ACC": [acc], "seconds": [acc]}).to_csv(tmp_path / kind / "a.csv")
        (tmp_path / kind / "b.json").write_text(json.dumps({"metrics": {"ACC": acc}, "start": acc, "k": steps}))
        np.save(tmp_path / kind / "c.npy", np.array([[steps] * 4, [int(10 * acc)] * 4]))
    one, two, three = (written(tmp_path / kind, {"start", "row 1"}) for kind in ("one", "two", "three"))
    assert differing(one, two) == [] and differing(one, three) == ["a.csv.steps.0", "b.json.k", "c.npy.row 0"]
    assert differing(*(written(tmp_path / kind) for kind in ("one", "two"))) == ["b.json.start", "c.npy.row 1"]
