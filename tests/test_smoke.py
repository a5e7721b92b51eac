"""Every module, command, family of models and method once, on little.

The first look at a change, and what the lowest versions allowed must pass (.ci/lowest.py)."""

import importlib
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from tiny import tiny_models
from typer.testing import CliRunner

import sac_seic
from sac_seic.data.benchmarks import hub_dataset
from sac_seic.data.images import fashion_mnist_sample
from sac_seic.enhance import Enhancer
from sac_seic.evaluate import plot_confusion, plot_tsne, scores
from sac_seic.models.presets import load_preset
from sac_seic.nouns import retrieve_text
from sac_seic.recipes import RECIPES
from sac_seic.sac import SAC, ClusterHead
from sac_seic.seic import SEIC
from sac_seic.tool.cluster import cluster_pairs
from sac_seic.tool.command import app

MODULES = [module.name for module in pkgutil.walk_packages(sac_seic.__path__, "sac_seic.")]
CLIP = ["timm/vit_base_patch32_clip_224.openai", "openai/clip-vit-base-patch32"]  # two layouts
DINOV2, SBERT = "facebook/dinov2-base", "sentence-transformers/all-mpnet-base-v2"
CAPTIONERS = ["Salesforce/blip2-opt-2.7b", "Salesforce/blip-image-captioning-base",
              "HuggingFaceTB/SmolVLM-256M-Instruct"]
SENTENCES = ["a photo of a dog", "two red shoes on the grass"]


@pytest.fixture(scope="module")
def images(): return fashion_mnist_sample().subset(range(24))


@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    "The preset of the papers' models, tiny ones in their place."
    folder = tmp_path_factory.mktemp("models")
    tiny_models(folder, names=[*CLIP, DINOV2, SBERT, *CAPTIONERS])
    return lambda *needs, **names: load_preset("paper", needs=needs, models_dir=folder, device="cpu", **names)


@pytest.fixture(scope="module")
def work(tmp_path_factory, images):
    "A folder to work in, with 24 images of three formats in photos/."
    work = tmp_path_factory.mktemp("work")
    (work / "photos").mkdir()
    for i in range(24): images[i].save(work / "photos" / f"{i:02d}.{('png', 'jpg', 'webp')[i % 3]}")
    return work


@pytest.fixture(scope="module")
def rows():
    "24 image and text embeddings in three groups, and the groups."
    r = np.random.default_rng(0)
    groups = np.arange(24) % 3
    v, t = (r.normal(size=(3, d))[groups] + 0.1 * r.normal(size=(24, d)) for d in (16, 12))
    return v.astype(np.float32), t.astype(np.float32), groups


def features(encoder, images):
    v = encoder.encode(np.stack([encoder.preprocess(images[i]) for i in range(2)]))
    assert v.shape == (2, encoder.dim) and np.isfinite(v).all() and not np.allclose(v[0], v[1])
    return v


def embeddings(encoder):
    t = encoder.encode(SENTENCES)
    np.testing.assert_allclose(np.linalg.norm(t, axis=1), 1, rtol=1e-5)
    assert not np.allclose(t[0], t[1])
    return t


def sac_seic_says(work, *args):
    "What the installed command prints, in a process of its own; its stderr has no library's remarks."
    command = Path(sys.executable).with_name("sac-seic")
    env = {**os.environ, "SAC_SEIC_CACHE": str(work / "cache"), "COLUMNS": "200"}
    done = subprocess.run([command, *args], cwd=work, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and not re.search(r"\x1b|Warning|LOAD REPORT", done.stderr), done.stderr
    return done.stdout


@pytest.mark.parametrize("name", MODULES)
def test_module(name): importlib.import_module(name)


@pytest.mark.parametrize("name", ["", *(c.name or c.callback.__name__ for c in app.registered_commands)])
def test_help(name):
    said = CliRunner().invoke(app, [*name.split(), "--help"])
    assert said.exit_code == 0 and "Usage:" in said.output


def test_missing_argument():
    said = CliRunner().invoke(app, ["embed"], prog_name="sac-seic")
    assert said.exit_code == 2 and said.stderr.startswith("Error: Missing")
    assert "sac-seic cluster ~/Pictures -k 12" in CliRunner().invoke(app, ["cluster"], prog_name="sac-seic").stderr


def test_command(work): assert "demo" in sac_seic_says(work, "--help")


def test_doctor(): assert "torchvision" in CliRunner().invoke(app, ["doctor"]).output


@pytest.mark.parametrize("name", [*CLIP, DINOV2])
def test_image_encoder(paper, images, name):
    features(paper("image", image_encoder=name).image_encoder, images)


def test_clip_in_two_layouts(paper, images):
    "OpenAI's CLIP through two libraries, each with its own pixels and tokens, gives the same."
    one, other = (paper("image", "nouns", image_encoder=name) for name in CLIP)
    v, w = features(one.image_encoder, images), features(other.image_encoder, images)
    np.testing.assert_allclose(v, w, atol=1e-4 * np.abs(v).max())
    np.testing.assert_allclose(embeddings(one.noun_encoder), embeddings(other.noun_encoder), atol=1e-4)


@pytest.mark.parametrize("name", CAPTIONERS)
def test_captioner_and_sentences(paper, images, name):
    models = paper("captions", captioner=name)
    captions = models.captioner.caption(images.subset(range(2)))
    assert len(captions) == 2 and any(captions)
    embeddings(models.text_encoder)


def test_mini(images):
    models = load_preset()
    features(models.image_encoder, images)
    embeddings(models.text_encoder)
    assert models.captioner.caption(images.subset([0]))[0].startswith("a photo of")


@pytest.mark.parametrize("method", [SAC, SEIC])
def test_heads(rows, method):
    v, t, groups = rows
    model = method(3, max_steps=4, batch_size=8, device="cpu").fit(v, t)
    assert scores(groups, model.labels_)["ACC"] == 1


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if not recipe.second])
def test_recipes(rows, name):
    recipe, (v, t, groups) = RECIPES[name], rows
    short = {setting: 2 for setting in ("epochs", "steps", "max_steps") if recipe.settings.get(setting)}
    found = cluster_pairs(v, t, recipe.changed(**short), 3, device="cpu")
    assert found.labels.shape == groups.shape and np.isfinite(found.confidence).all()


def test_classic(images):
    models = load_preset(image_encoder="classic")
    features(models.image_encoder, images)


def test_nouns(rows):
    v = rows[0] / np.linalg.norm(rows[0], axis=1, keepdims=True)
    assert retrieve_text(v, v[::-1], n_clusters=3).t.shape == v.shape


@pytest.mark.parametrize("name", [None, *CLIP[:1], DINOV2])
def test_lora(paper, images, name):
    encoder = (paper("image", image_encoder=name) if name else load_preset()).image_encoder
    torch.manual_seed(0)
    p = torch.randn(8, 3).mul(3).softmax(1).numpy()
    model, head = Enhancer(steps=2, batch_size=4, device="cpu"), ClusterHead(encoder.dim, 3)
    model.fit(images.subset(range(8)), encoder, head, p)
    assert [h["step"] for h in model.history_] == [1, 2] and np.isfinite(model.p_).all()


def test_plots(rows):
    matplotlib.use("agg")
    v, t, groups = rows
    assert plot_confusion(groups, groups).axes and len(plot_tsne({"v": v, "t": t}, groups).axes) == 2


def test_wordnet_through_nltk():
    "NLTK 3.9.0 can't be imported where its data is not."
    assert importlib.import_module("nltk.corpus.reader").WordNetCorpusReader


def test_hub_dataset(tmp_path, images):
    datasets = pytest.importorskip("datasets")
    rows = {"image": [images[i] for i in range(4)], "label": [0, 1, 0, 1]}
    kinds = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["shirt", "shoe"]))
    datasets.Dataset.from_dict(rows, features=kinds).to_parquet(tmp_path / "four.parquet")
    found = hub_dataset(str(tmp_path / "four.parquet"))
    assert found.classes == ["shirt", "shoe"] and found.labels.tolist() == [0, 1, 0, 1]
    assert found[3].size == images[3].size


def test_cluster(work):
    assert "24 of 24 images clustered" in sac_seic_says(work, "cluster", "photos", "-k", "3")


def test_ray(work):
    pytest.importorskip("ray")
    said = sac_seic_says(work, "embed", "photos", "shards", "--workers", "1", "--no-captions")
    assert "24 images embedded" in said
