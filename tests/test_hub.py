"""Weights as they come from a hub: a small one with the real repositories' files, and tiny weights."""

import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hub import serve
from tiny import tiny_models

from sac_seic.data.images import ImageArray
from sac_seic.models.captioners import HubCaptioner
from sac_seic.models.clip import ImageTower, SentenceEncoder, TextTower
from sac_seic.models.weights import MissingWeights, find_model, fingerprint, missing_models

TIMM, LAION = "timm/vit_base_patch32_clip_224.openai", "laion/CLIP-ViT-g-14-laion2B-s12B-b42K"
PICKLED, DINOV2 = "openai/clip-vit-base-patch32", "facebook/dinov2-base"
SBERT, BLIP2 = "sentence-transformers/all-mpnet-base-v2", "Salesforce/blip2-opt-2.7b"
BLIP, CHAT = "Salesforce/blip-image-captioning-base", "HuggingFaceTB/SmolVLM-256M-Instruct"
PIXELS = np.random.default_rng(0).normal(size=(2, 3, 224, 224)).astype(np.float32)
PHOTOS = ImageArray(np.random.default_rng(0).integers(0, 256, (2, 40, 60, 3), dtype=np.uint8))
KINDS = {PICKLED: "clip", TIMM: "clip", LAION: "clip", DINOV2: "vision", SBERT: "sentences",
         BLIP2: "captioner", BLIP: "captioner", CHAT: "captioner"}


def answers(name, where) -> list: # what a model says
    kind = KINDS[name]
    if kind == "captioner": return HubCaptioner(name, where, device="cpu", max_new_tokens=5).caption(PHOTOS)
    if kind == "sentences": return [SentenceEncoder(name, where, "cpu").encode(["a dog", "two red shoes"])]
    image = ImageTower(name, where, "cpu").encode(PIXELS)
    return [image, TextTower(name, where, "cpu").encode(["a dog"])] if kind == "clip" else [image]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    tiny_models(folder, names=list(KINDS))
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch): monkeypatch.setenv("SAC_SEIC_CACHE", str(tmp_path / "cache"))


def run(command, work, **more):
    "What a user types, with the programs of this environment."
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "HF_HOME": str(work / "home"), **more}
    done = subprocess.run(command, shell=isinstance(command, str), cwd=work, env=environment,
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def printed(name, where) -> str: # the command that a missing model's sentence ends with
    with pytest.raises(MissingWeights) as error: find_model(name, where)
    return str(error.value).split(" Fetch it with: ")[1]


@pytest.mark.parametrize("name", KINDS)
def test_the_printed_command_brings_the_model(models, tmp_path, name):
    where = tmp_path / "my models"
    with serve(models) as (hub, served): run(printed(name, where), tmp_path, **hub)
    pickles = [file for file in served if file.endswith(".bin")]
    assert bool(pickles) == (name in (PICKLED, BLIP)), served
    with warnings.catch_warnings():
        warnings.simplefilter("error" if not pickles else "ignore")  # of a pickle there is one to be heard
        assert not missing_models([name], where)
        assert fingerprint(find_model(name, where)) == fingerprint(find_model(name, models))
        np.testing.assert_equal(answers(name, where), answers(name, models))


def test_an_unknown_repository_with_a_pickle_takes_two_commands(models, tmp_path):
    (tmp_path / "hub/acme").mkdir(parents=True)
    shutil.copytree(models / BLIP, tmp_path / "hub/acme/talker")
    where = tmp_path / "models"
    with serve(tmp_path / "hub") as (hub, served):
        run(printed("acme/talker", where), tmp_path, **hub)
        assert missing_models(["acme/talker"], where) == {"acme/talker": "there are no weights in it"}
        run(printed("acme/talker", where), tmp_path, **hub)
    with pytest.warns(UserWarning, match="has its weights in a pickle"): find_model("acme/talker", where)


FIND = """import json, sys
from sac_seic.models.weights import MissingWeights, find_models
try: print(json.dumps([str(folder) for folder in find_models(sys.argv[1:]).values()]))
except MissingWeights as error: print(error)"""


def test_no_more_is_fetched_than_is_loaded_and_once(models, tmp_path):
    names = list(KINDS)
    with serve(models) as (hub, served):
        first = run([sys.executable, "-c", FIND, *names], tmp_path, **hub)
        weights = sorted(file for file in served if not file.endswith((".json", ".txt")))
        assert weights == sorted([
            *(f"{name}/pytorch_model.bin" for name in (PICKLED, BLIP)),
            *(f"{name}/model.safetensors" for name in (DINOV2, SBERT, CHAT)),
            *(f"{BLIP2}/model-0000{i}-of-00002.safetensors" for i in (1, 2)),
            f"{TIMM}/open_clip_model.safetensors", f"{LAION}/open_clip_pytorch_model.safetensors"])
        assert first.stderr.count("has its weights in a pickle") == 2
        once, its = len(served), tmp_path / "home/hub" / f"models--{PICKLED.replace('/', '--')}"
        assert not list(its.rglob("*.safetensors"))  # the hub's cache stays its own
        again = run([sys.executable, "-c", FIND, *names], tmp_path, **hub)
        assert len(served) == once and again.stdout == first.stdout and "pickle" not in again.stderr
    gone = run([sys.executable, "-c", FIND, *names], tmp_path, **hub)  # the hub is gone, the weights are here
    assert gone.stdout == first.stdout
    for name, folder in zip(names, json.loads(first.stdout)):
        assert fingerprint(Path(folder)) == fingerprint(find_model(name, models))


def test_what_the_hub_lacks_is_named(models, tmp_path):
    with serve(models) as (hub, _):
        said = run([sys.executable, "-c", FIND, DINOV2, "acme/nothing"], tmp_path, **hub).stdout
    assert "acme/nothing (neither in the hub's cache nor to be fetched" in said and DINOV2 not in said


class Runs:
    def __reduce__(self): return os.mkdir, ("ran",)


WRONG = {"code": {"w": Runs()}, "list": [torch.zeros(2)], "number": {"w": torch.zeros(2), "step": 7}}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
def test_a_pickle_that_is_no_list_of_tensors_is_refused(models, tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(models / BLIP, tmp_path / BLIP)
    torch.save(content, tmp_path / BLIP / "pytorch_model.bin")
    with pytest.raises(ValueError, match=f"'{BLIP}' can't be loaded: pytorch_model.bin") as error:
        HubCaptioner(BLIP, tmp_path, device="cpu")
    assert "\n" not in str(error.value) and not (tmp_path / "ran").exists()


def test_a_pickle_gives_what_its_safetensors_give(models, tmp_path):
    "Where a repository has both: the same answers from either, so no tensor was mixed up."
    for name in (LAION, BLIP2, SBERT, DINOV2):
        shutil.copytree(models / name, tmp_path / name)
        for file in (tmp_path / name).glob("*.safetensors*"): file.unlink()
        with pytest.warns(UserWarning, match="has its weights in a pickle"): find_model(name, tmp_path)
        np.testing.assert_equal(answers(name, tmp_path), answers(name, models))
    assert len(list((tmp_path / "cache/weights").glob("*/model-0000?-of-00002.safetensors"))) == 2
