"""`sac-seic reproduce`: interrupted anywhere, its tables are the same; no run sees a class; its plans cover both papers."""

import json
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest
from PIL import Image
from test_peeking import differing, written

from sac_seic.data.files import no_progress
from sac_seic.data.images import fashion_mnist_sample
from sac_seic.recipes import find_recipe
from sac_seic.tool import runs
from sac_seic.tool.experiments import CONTROLS, Run, experiment_names, load_experiment, plan
from sac_seic.tool.reproduce import choose_experiments, plan_all, run_all
from sac_seic.tool.runs import DataSet, Source, keep, run_one

EXPERIMENT = '''
title = "A small table"
paper = "SAC"
where = "ours"
question = "Does it go on?"
whole = "smoothed"
seeds = 2
rows = [{ name = "smoothed", recipe = "kmeans-smooth" }, { name = "plain", recipe = "kmeans-image" }, { name = "graph", recipe = "spectral" }]
[preset.mini]
data = ["shapes"]
image_encoders = ["classic"]
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    "Sixty images of three kinds, and an experiment on them, run in one go."
    place, rng = tmp_path_factory.mktemp("reproduce"), np.random.default_rng(0)
    for kind, base in {"dark": 60, "grey": 120, "light": 200}.items():
        (place / "shapes" / kind).mkdir(parents=True)
        for i in range(20):
            pixels = np.clip(base + rng.normal(0, 25, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / "shapes" / kind / f"{i}.png")
    (place / "small.toml").write_text(EXPERIMENT)
    go_on(place, "whole")
    return place


def go_on(place, out, progress=no_progress, jobs=1, report=False):
    experiments = choose_experiments(place / "small.toml")
    plans, _ = plan_all(experiments, Source(str(place)))
    return run_all(experiments, plans, place / out, Source(str(place)), jobs, report, progress)


def tables(folder): return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".md", ".csv", ".png")}


def finished(folder): return sorted((folder / "runs").glob("*.json"))


class Impatient(no_progress):
    "Presses Ctrl-C after the second run."
    def __init__(self, total, desc): self.runs, self.done = desc == "Runs", 0
    def update(self, n):
        self.done += n
        if self.runs and self.done == 2: raise KeyboardInterrupt


def test_interrupted_the_tables_are_the_same(place):
    "Ctrl-C after two runs, then a run whose second file is missing; one process, then two."
    with pytest.raises(KeyboardInterrupt): go_on(place, "broken", Impatient)
    done = finished(place / "broken")
    assert 2 <= len(done) < len(finished(place / "whole"))
    done[0].unlink()
    go_on(place, "broken", jobs=2, report=True)
    assert tables(place / "whole") == tables(place / "broken")
    whole, broken = ({path.name: runs.json.loads(path.read_text("utf-8")) for path in finished(place / out)} for out in ("whole", "broken"))
    timeless = lambda rows: {name: {x: y for x, y in row.items() if x not in ("seconds", "wall")} for name, row in rows.items()}
    assert timeless(whole) == timeless(broken)
    report = json.loads((place / "broken" / "report.json").read_text("utf-8"))
    assert report["missing"] == 0 and len(report["runs"]) == len(whole)


def test_killed_the_tables_are_the_same_and_no_worker_is_left(place):
    words = ["reproduce", "small.toml", "--data-dir", ".", "--out", "killed", "--jobs", "1"]
    command = [sys.executable, "-c", "from sac_seic.tool.command import main; main()", *words]
    killed = subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not finished(place / "killed") and killed.poll() is None and time.monotonic() < until: time.sleep(0.01)
    workers = psutil.Process(killed.pid).children(recursive=True)
    killed.kill()
    killed.wait()
    assert workers and not psutil.wait_procs(workers, timeout=60)[1]
    go_on(place, "killed")
    assert tables(place / "whole") == tables(place / "killed")


# No peeking

RUNS = {"sac": "captions", "sac-paper": "captions", "seic-align": "nouns", "kmeans-smooth": None, "kmeans-averaged": "captions", "seic": "nouns"}


@pytest.fixture(scope="module")
def sample():
    images = fashion_mnist_sample()
    return images.subset(np.concatenate([np.flatnonzero(images.labels == c)[:16] for c in (1, 5, 8)]))


def run_of(name: str) -> Run:
    recipe = find_recipe(name)
    if recipe.settings.get("epochs"): recipe = recipe.changed(epochs=3)
    if recipe.nouns: recipe = replace(recipe, nouns={**recipe.nouns, "vocabulary": ["shirt", "bag", "boot", "shoe", "trouser", "coat"], "k1": 3, "k2": 2})
    if recipe.second: recipe = replace(recipe, second={**recipe.second, "size": 32, "steps": 1, "batch_size": 12})
    return Run(recipe, RUNS[name], "some", "mini", "mini", 0, noise=0.5 * (name == "sac"))


@pytest.mark.parametrize("name", RUNS)
def test_no_run_sees_a_class(name, sample, tmp_path, monkeypatch):
    "Classes are replaced by noise: clusters, start, steps and spread stay; scores and classes change."
    rng, truth, kept = np.random.default_rng(1), sample.labels, {}
    for kind, labels in {"true": truth, "noise": rng.permutation(truth)}.items():
        some = sample.subset(np.arange(len(sample)))
        some.labels = labels
        monkeypatch.setattr(runs, "_data", lambda source, data: DataSet("some", some))
        (tmp_path / kind).mkdir()
        row, clusters = run_one(run_of(name), Source(device="cpu"))
        keep(tmp_path / kind, row, clusters)
        kept[kind] = row, clusters
        for cache in (runs._pairs, runs._noun_pairs, runs._noisy): cache.cache_clear()
    assert not differing(*(written(tmp_path / kind, {"start", "wall", "row 2"}) for kind in kept))
    assert (kept["true"][1][2] != kept["noise"][1][2]).any()
    assert kept["true"][0]["largest"] == 1 or kept["true"][0]["ACC"] != kept["noise"][0]["ACC"]


# Plans

def test_there_is_a_file_for_every_table_and_figure():
    wanted = {f"sac-table-{n}" for n in range(2, 8)} | {f"sac-figure-{n}" for n in range(2, 6)}
    wanted |= {f"seic-table-{n}" for n in range(1, 7)} | {"seic-figure-3", "seic-figure-4"}
    assert set(experiment_names()) == wanted


@pytest.mark.parametrize("name", experiment_names())
@pytest.mark.parametrize("preset", ["mini", "paper"])
def test_every_plan_has_its_controls_and_its_whole(name, preset):
    e = load_experiment(name)
    planned = plan(e, preset)
    assert {e.whole} <= {row for row, _, _ in planned}
    recipes = {run.recipe.name for _, _, run in planned}
    text = any(run.text for _, _, run in planned)
    assert recipes >= (set(CONTROLS) if text else {"kmeans-image", "kmeans-smooth"})
    assert all(run.preset == preset for _, _, run in planned)
    if name.startswith(("sac-table", "seic-table")) and name not in ("sac-table-2", "seic-table-1", "seic-table-2"):
        assert {group for _, group, _ in planned} - {"control"} == set(e.recipes) and len(e.recipes) == 2
