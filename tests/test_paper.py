"""The paper preset through the command, offline, on small random weights, and from a hub that runs here."""

import functools
import json
import os
import shutil
import subprocess
import sys
import time

import pytest
from hub import serve
from tiny import tiny_models
from typer.testing import CliRunner

from sac_seic import enhance, nouns
from sac_seic.data.images import fashion_mnist_sample, file_stamp
from sac_seic.tool.command import app


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    "A folder to work in: tiny weights in models/, 24 images of three kinds in photos/, one cache for all."
    work, sample = tmp_path_factory.mktemp("paper"), fashion_mnist_sample()
    for kind in (1, 7, 8):
        (work / "photos" / sample.classes[kind]).mkdir(parents=True)
        for i in [i for i in range(len(sample)) if sample.labels[i] == kind][:8]:
            sample[i].resize((64, 48)).save(work / "photos" / sample.classes[kind] / f"{i}.png")
    tiny_models(work / "models")
    while not all(file_stamp(path).settled for path in (work / "photos").rglob("*.png")): time.sleep(0.1)  # else they are read again
    return work


def surroundings(work): return {"SAC_SEIC_CACHE": str(work / "cache"), "HF_HOME": str(work / "hub"), "COLUMNS": "200"}


def sac_seic(work, *args):
    "The command in this process, since a new one imports for longer than it works; with fewer nouns and steps of stage 2."
    every = nouns.wordnet_nouns()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(work)
        patch.setattr(nouns, "wordnet_nouns", lambda vocabulary: every[::300])
        patch.setattr(enhance, "Enhancer", functools.partial(enhance.Enhancer, steps=4))
        done = CliRunner().invoke(app, args, prog_name="sac-seic", env=surroundings(work))
    if not isinstance(done.exception, (SystemExit, type(None))): raise done.exception
    return done


def new_process(work, *args, **more):
    done = subprocess.run([sys.executable, "-c", "from sac_seic.tool.command import main; main()", *args], cwd=work,
                          env=os.environ | surroundings(work) | more, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done


CLUSTER = ["cluster", "photos", "-k", "3"]
PAPER = [*CLUSTER, "--labels", "--preset", "paper", "--models-dir", "models"]


def record(work, out): return json.loads((work / out / "run.json").read_text(encoding="utf-8"))


def test_sac_with_captions(work):
    done = sac_seic(work, *PAPER, "--out", "sac")
    assert done.exit_code == 0, done.stderr
    assert "24 of 24 images clustered" in done.stdout and "Captioning images: 24" in done.stderr
    run = record(work, "sac")
    assert set(run["models"]) == {"image", "captioner", "text"} and run["settings"]["preset"]["name"] == "paper"
    again = sac_seic(work, *PAPER, "--out", "again")
    assert "Captioning images" not in again.stderr and "Embedding" not in again.stderr  # everything was kept
    assert (work / "again/assignments.csv").read_bytes() == (work / "sac/assignments.csv").read_bytes()


def test_seic_with_nouns_and_lora(work):
    done = sac_seic(work, *PAPER, "--method", "seic", "--out", "seic")
    assert done.exit_code == 0, done.stderr
    run = record(work, "seic")
    assert set(run["models"]) == {"image", "nouns"} and "Enhancing encoder" in run["seconds"]
    assert run["settings"]["text"] == "nouns"


VARIANTS = [["--captioner", "Salesforce/blip-image-captioning-base"],
            ["--image-encoder", "facebook/dinov2-base"], ["--image-encoder", "ViT-L/14", "--text", "nouns"]]


@pytest.mark.parametrize("options", VARIANTS, ids=lambda options: options[1])
def test_variants(work, options):
    done = sac_seic(work, *PAPER, "--method", "kmeans-both", *options, "--out", "variant")
    assert done.exit_code == 0, done.stderr


def test_human_captions(work):
    files = [path.relative_to(work / "photos") for path in (work / "photos").rglob("*.png")]
    rows = [f"{file.as_posix()},a {file.parent.name.lower()}" for file in files]
    (work / "captions.csv").write_text("\n".join(["file,caption", *rows]))
    human = ["--labels", "--captions", "captions.csv", "--method", "kmeans-text", "--out", "human"]
    done = sac_seic(work, *CLUSTER, *human)
    assert done.exit_code == 0, done.stderr
    assert record(work, "human")["metrics"]["ACC"] == 1  # three different sentences, a class each
    (work / "short.csv").write_text("\n".join(["file,caption", *rows[1:]]))
    done = sac_seic(work, *CLUSTER, "--captions", "short.csv", "--out", "human")
    assert done.exit_code == 2 and done.stderr.count("Error:") == 1 and "short.csv" in done.stderr


def test_missing_weights_are_named_at_once(work):
    (work / "none").mkdir(exist_ok=True)
    done = sac_seic(work, *CLUSTER, "--preset", "paper", "--models-dir", "none", "--out", "missing")
    assert done.exit_code == 2 and "15 GB" in done.stderr and "Embedding" not in done.stderr
    assert done.stderr.count("hf download") == 3
    done = sac_seic(work, *CLUSTER, "--preset", "paper", "--out", "missing")
    assert done.exit_code == 2 and "HF_HUB_OFFLINE" in done.stderr


def test_embedding_without_captions_needs_one_model(work):
    shutil.copytree(work / "models/facebook", work / "vision/facebook")
    done = sac_seic(work, "embed", "photos", "shards", "--no-captions", "--preset", "paper",
                    "--models-dir", "vision", "--image-encoder", "facebook/dinov2-base")
    assert done.exit_code == 0 and "24 images embedded" in done.stdout, done.stderr


def test_weights_come_from_the_hub_once(work, tmp_path):
    openai = "openai/clip-vit-base-patch32"  # a pickle
    command = [*CLUSTER, "--preset", "paper", "--image-encoder", openai, "--method", "kmeans-image"]
    own = {"SAC_SEIC_CACHE": str(tmp_path / "cache"), "HF_HOME": str(tmp_path / "home")}
    with serve(work / "models") as (hub, served): done = new_process(work, *command, **hub, **own)
    assert done.returncode == 0 and done.stderr.count("has its weights in a pickle") == 1, done.stderr
    weights = [file for file in served if not file.endswith((".json", ".txt"))]
    assert weights == [f"{openai}/pytorch_model.bin"]  # of one model: nobody writes captions
    again = new_process(work, *command, **hub, **own)  # the hub is gone, the weights are here
    assert again.returncode == 0 and "pickle" not in again.stderr, again.stderr
