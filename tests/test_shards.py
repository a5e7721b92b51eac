"Faults that need processes of their own: workers and runs killed with SIGKILL, a disk that is really full, a local Ray of two workers."

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from sac_seic.data import fashion_mnist_sample
from sac_seic.encoders import embed_images
from sac_seic.pairs import Preset, load_preset
from sac_seic.shards import PartsFailed, _ray, embed_shards, open_shards

WEIGHTS = np.random.default_rng(0).normal(size=(64, 16)).astype(np.float32)


class Encoder:
    "A tiny image encoder; what `trap` does with a batch comes first."
    name, dim, fingerprint = "tiny", 16, "tiny-1"
    def __init__(self, trap): self.trap = trap
    def preprocess(self, image): return np.asarray(image.convert("L").resize((8, 8)), np.float32)[None] / 255
    def encode(self, batch):
        self.trap(batch)
        return batch.reshape(len(batch), -1) @ WEIGHTS


class Captioner:
    name = fingerprint = "brightness"
    def caption(self, images): return [f"a photo of brightness {np.asarray(image).mean():.0f}" for image in images]


class TextEncoder:
    name, dim, fingerprint = "letters", 10, "letters"
    def encode(self, texts): return np.array([[text.count(c) for c in "0123456789"] for text in texts], np.float32)


class Models:
    "make_models: a preset of tiny models. `at_load` and `trap` are where things go wrong."
    def __init__(self, trap=lambda batch: None, at_load=lambda: None): self.trap, self.at_load = trap, at_load
    def __call__(self):
        self.at_load()
        return Preset("tiny", Encoder(self.trap), Captioner(), TextEncoder())


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    "48 pictures in a folder; image 20 is the one that is all white."
    folder = tmp_path_factory.mktemp("images")
    sample = fashion_mnist_sample().subset(range(0, 1920, 40))
    for i in range(48): (sample[i] if i != 20 else sample[i].point(lambda _: 255)).save(folder / f"{i:03d}.png")
    return folder


@pytest.fixture(scope="module")
def here(images, tmp_path_factory):
    "What one process makes of them."
    out = tmp_path_factory.mktemp("here")
    embed_shards(images, out, Models(), part_size=8)
    return open_shards(out)


@pytest.fixture(scope="module")
def ray():
    if importlib.util.find_spec("ray") is None: pytest.skip("Ray is not installed")
    with _ray(2) as ray:
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers don't know this file
        yield ray


def white(batch): return (batch == 1).all(axis=(1, 2, 3)).any()


def assert_equal(shards, expected):
    np.testing.assert_array_equal(shards.v, expected.v)
    np.testing.assert_array_equal(shards.t, expected.t)
    assert shards.names == expected.names and shards.captions == expected.captions and len(shards) == 48


def test_killed_worker(ray, images, here, tmp_path):
    "kill -9 from outside, in the middle of a part: Ray starts worker and part again."
    def wait_for_the_axe(batch):
        if white(batch) and not (tmp_path / "pid").exists():
            (tmp_path / "new").write_text(str(os.getpid()))
            os.replace(tmp_path / "new", tmp_path / "pid")
            time.sleep(600)
    def axe():
        while not (tmp_path / "pid").exists(): time.sleep(0.05)
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    threading.Thread(target=axe, daemon=True).start()
    info = embed_shards(images, tmp_path / "out", Models(wait_for_the_axe), actors=2, part_size=8)
    assert [record["tries"] for record in info.records] == [1, 1, 2, 1, 1, 1] and not info.failed
    assert int((tmp_path / "pid").read_text()) not in [record["worker"] for record in info.records[2:3]] + [os.getpid()]
    assert_equal(open_shards(tmp_path / "out"), here)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["index.json", *(f"part-{i:05d}.safetensors" for i in range(6)), "t.npy", "v.npy"]


def test_part_that_kills_every_worker(ray, images, here, tmp_path):
    "The others are done, it is given up after three tries, and a rerun makes just that part."
    def die(batch):
        if white(batch): os.kill(os.getpid(), signal.SIGKILL)
    with pytest.raises(PartsFailed, match=r"^1 of 6 parts failed \(the first is images 16 to 23: its worker was killed 3 times\).* run it again") as error:
        embed_shards(images, tmp_path, Models(die), actors=2, part_size=8)
    assert len(error.value.info.records) == 6
    again = embed_shards(images, tmp_path, Models(), part_size=8)
    assert [record["part"] for record in again.records] == ["images 16 to 23"]
    assert_equal(open_shards(tmp_path), here)


def test_worker_killed_while_it_loads(ray, images, here, tmp_path):
    def die():
        if not (tmp_path / "once").exists():
            (tmp_path / "once").touch()
            os.kill(os.getpid(), signal.SIGKILL)
    embed_shards(images, tmp_path / "out", Models(at_load=die), actors=2, part_size=8)
    assert_equal(open_shards(tmp_path / "out"), here)


def test_ray_gives_up(ray, images, tmp_path):
    def die(): os.kill(os.getpid(), signal.SIGKILL)
    with pytest.raises(ChildProcessError, match="^Ray gave up .* run it again to go on"):
        embed_shards(images, tmp_path, Models(at_load=die), actors=2, part_size=8)


def test_errors_in_workers_are_the_same_sentences(ray, images, tmp_path):
    def raising(batch):
        if white(batch): raise RuntimeError("too white")
    def missing(): raise FileNotFoundError("The weights are missing: fetch them.")
    with pytest.raises(PartsFailed, match="images 16 to 23: too white"):
        embed_shards(images, tmp_path, Models(raising), actors=2, part_size=8)
    with pytest.raises(ValueError, match="^The weights are missing: fetch them.$"):
        embed_shards(images, tmp_path, Models(at_load=missing), actors=2, part_size=8)
    with pytest.raises(ValueError, match="^2 workers with 1 GPU each need 2 GPUs"):
        embed_shards(images, tmp_path, Models(), actors=2, part_size=8, num_gpus=1)


def test_mini_preset(ray, images, tmp_path):
    "The real models: two workers, one process, and one process without shards."
    for actors in (0, 2): embed_shards(images, tmp_path / str(actors), load_preset, actors=actors, part_size=24)
    one, two = open_shards(tmp_path / "0"), open_shards(tmp_path / "2")
    np.testing.assert_allclose(one.v, two.v, atol=1e-6)
    np.testing.assert_allclose(one.t, two.t, atol=1e-6)
    assert one.captions == two.captions
    from sac_seic.data import ImageFolder
    np.testing.assert_allclose(one.v, embed_images(ImageFolder(images), load_preset().image_encoder)[0], atol=1e-5)
