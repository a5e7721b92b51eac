"""Weights as they come from the hub: a small one that serves the real repositories' file lists, with tiny weights."""

import json
import os
import shlex
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

PICKLED, BLIP2, BLIP = "openai/clip-vit-base-patch32", "Salesforce/blip2-opt-2.7b", "Salesforce/blip-image-captioning-base"
LAION, SBERT, CHAT = "laion/CLIP-ViT-g-14-laion2B-s12B-b42K", "sentence-transformers/all-mpnet-base-v2", "HuggingFaceTB/SmolVLM-256M-Instruct"
TIMM, DINOV2 = "timm/vit_base_patch32_clip_224.openai", "facebook/dinov2-base"
PIXELS = np.random.default_rng(0).normal(size=(2, 3, 224, 224)).astype(np.float32)
PHOTOS = ImageArray(np.random.default_rng(0).integers(0, 256, (2, 40, 60, 3), dtype=np.uint8))
ANSWERS = {  # repository to what its model says
    PICKLED: lambda where: [ImageTower(PICKLED, where, "cpu").encode(PIXELS), TextTower(PICKLED, where, "cpu").encode(["a dog"])],
    TIMM: lambda where: ImageTower("ViT-B/32", where, "cpu").encode(PIXELS),
    LAION: lambda where: ImageTower("ViT-g-14/laion2b_s12b_b42k", where, "cpu").encode(PIXELS),
    DINOV2: lambda where: ImageTower(DINOV2, where, "cpu").encode(PIXELS),
    SBERT: lambda where: SentenceEncoder(SBERT, where, "cpu").encode(["a dog", "two red shoes"]),
    **{name: lambda where, name=name: HubCaptioner(name, where, device="cpu", max_new_tokens=5).caption(PHOTOS) for name in (BLIP2, BLIP, CHAT)},
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    tiny_models(folder, names=list(ANSWERS))
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch): monkeypatch.setenv("SAC_SEIC_CACHE", str(tmp_path / "cache"))


def run(command, work, **more):
    "What a user types, with the programs of this environment."
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "HF_HOME": str(work / "home"), **more}
    done = subprocess.run(command, shell=isinstance(command, str), cwd=work, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def printed(name, where) -> str: # the command that a missing model's sentence ends with
    with pytest.raises(MissingWeights) as error: find_model(name, where)
    return str(error.value).split(" Fetch it with: ")[1]


@pytest.mark.parametrize("name", ANSWERS)
def test_the_printed_command_brings_the_model(models, tmp_path, name):
    where = tmp_path / "my models"
    with serve(models) as (hub, served): run(printed(name, where), tmp_path, **hub)
    pickles = [file for file in served if file.endswith(".bin")]
    assert bool(pickles) == (name in (PICKLED, BLIP)), served
    with warnings.catch_warnings():
        warnings.simplefilter("error" if not pickles else "ignore")  # of a pickle there is one to be heard
        assert not missing_models([name], where) and fingerprint(find_model(name, where)) == fingerprint(find_model(name, models))
        np.testing.assert_equal(ANSWERS[name](where), ANSWERS[name](models))


def test_an_unknown_repository_with_a_pickle_takes_two_commands(models, tmp_path):
    (tmp_path / "hub/acme").mkdir(parents=True)
    shutil.copytree(models / BLIP, tmp_path / "hub/acme/talker")
    where = tmp_path / "models"
    with serve(tmp_path / "hub") as (hub, served):
        run(printed("acme/talker", where), tmp_path, **hub)
        assert missing_models(["acme/talker"], where) == {"acme/talker": "there are no weights in it"}
        run(printed("acme/talker", where), tmp_path, **hub)
    with pytest.warns(UserWarning, match="has its weights in a pickle"): assert find_model("acme/talker", where)


FIND = "import json, sys; from sac_seic.models.weights import find_models; print(json.dumps([str(f) for f in find_models(sys.argv[1:]).values()]))"


def test_no_more_is_fetched_than_is_loaded_and_once(models, tmp_path):
    names = list(ANSWERS)
    with serve(models) as (hub, served):
        first = run([sys.executable, "-c", FIND, *names], tmp_path, **hub)
        weights = sorted(file for file in served if not file.endswith((".json", ".txt")))
        assert weights == sorted([
            f"{PICKLED}/pytorch_model.bin", f"{BLIP}/pytorch_model.bin", f"{TIMM}/open_clip_model.safetensors",
            f"{LAION}/open_clip_pytorch_model.safetensors", f"{DINOV2}/model.safetensors", f"{SBERT}/model.safetensors",
            f"{CHAT}/model.safetensors", *(f"{BLIP2}/model-0000{i}-of-00002.safetensors" for i in (1, 2))])
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
    ask = FIND.replace("print", "\ntry: print").replace("; \n", "\n") + "\nexcept FileNotFoundError as error: print(error)"
    with serve(models) as (hub, served): said = run([sys.executable, "-c", ask, DINOV2, "acme/nothing"], tmp_path, **hub).stdout
    assert "acme/nothing (neither in the hub's cache nor to be fetched from the hub" in said and DINOV2 not in said


class Runs:
    def __reduce__(self): return os.mkdir, ("ran",)


@pytest.mark.parametrize("content", [{"w": Runs()}, [torch.zeros(2)], {"w": torch.zeros(2), "step": 7}], ids=["code", "list", "number"])
def test_a_pickle_that_is_no_list_of_tensors_is_refused(models, tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(models / BLIP, tmp_path / BLIP)
    torch.save(content, tmp_path / BLIP / "pytorch_model.bin")
    with pytest.raises(ValueError, match=f"'{BLIP}' can't be loaded: pytorch_model.bin") as error: HubCaptioner(BLIP, tmp_path, device="cpu")
    assert "\n" not in str(error.value) and not (tmp_path / "ran").exists()


def test_a_pickle_gives_what_its_safetensors_give(models, tmp_path):
    "Where a repository has both: the same answers from either, so no tensor was mixed up."
    for name in (LAION, BLIP2, SBERT, DINOV2):
        shutil.copytree(models / name, tmp_path / name)
        for file in (tmp_path / name).glob("*.safetensors*"): file.unlink()
        with pytest.warns(UserWarning, match="has its weights in a pickle"): find_model(name, tmp_path)
        np.testing.assert_equal(ANSWERS[name](tmp_path), ANSWERS[name](models))
    assert len(list((tmp_path / "cache/weights").glob("*/model-0000?-of-00002.safetensors"))) == 2
