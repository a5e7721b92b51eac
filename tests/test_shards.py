"Faults that need processes of their own: workers and runs killed, a full disk, a local Ray of two workers."

import importlib.util
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from sac_seic.data.images import ImageFolder, fashion_mnist_sample
from sac_seic.models.encoders import Preset, embed_images
from sac_seic.models.presets import load_preset
from sac_seic.data.shards import open_shards
from sac_seic.tool.embed import _ray, embed_shards

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
    def caption(self, images): return [f"brightness {np.asarray(image).mean():.0f}" for image in images]


class TextEncoder:
    name, dim, fingerprint = "letters", 10, "letters"
    def encode(self, texts):
        return np.array([[text.count(digit) for digit in "0123456789"] for text in texts], np.float32)


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
    for i in range(48):
        image = sample[i].point(lambda _: 255) if i == 20 else sample[i]
        image.save(folder / f"{i:03d}.png")
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
    records = embed_shards(images, tmp_path / "out", Models(wait_for_the_axe), workers=2, part_size=8)
    assert [record["part"] for record in records] == [f"images {i} to {i + 7}" for i in range(0, 48, 8)]
    assert int((tmp_path / "pid").read_text()) not in (records[2]["worker"], os.getpid())
    assert_equal(open_shards(tmp_path / "out"), here)
    shards = [f"part-{i:05d}.safetensors" for i in range(6)]
    there = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert there == ["index.json", *shards, "t.npy", "v.npy"]


def test_part_that_kills_every_worker(ray, images, here, tmp_path):
    "It is given up after three tries, the only worker goes on, and a rerun makes just that part."
    def die(batch):
        if white(batch):
            with open(tmp_path / "died", "a") as file: file.write(f"{os.getpid()}\n")
            os.kill(os.getpid(), signal.SIGKILL)
    sentence = r"^1 of 6 parts failed \(the first is images 16 to 23: its worker was killed 3 times\)"
    with pytest.raises(ValueError, match=sentence):
        embed_shards(images, tmp_path / "out", Models(die), workers=1, part_size=8)
    assert len(set((tmp_path / "died").read_text().split())) == 3
    again = embed_shards(images, tmp_path / "out", Models(), part_size=8)
    assert [record["part"] for record in again] == ["images 16 to 23"]
    assert_equal(open_shards(tmp_path / "out"), here)


def test_worker_killed_while_it_loads(ray, images, here, tmp_path):
    def die():
        if not (tmp_path / "once").exists():
            (tmp_path / "once").touch()
            os.kill(os.getpid(), signal.SIGKILL)
    embed_shards(images, tmp_path / "out", Models(at_load=die), workers=2, part_size=8)
    assert_equal(open_shards(tmp_path / "out"), here)


def test_workers_killed_whenever_they_load(ray, images, tmp_path):
    "Ray would start them again for ever."
    def die():
        with open(tmp_path / "died", "a") as file: file.write(f"{os.getpid()}\n")
        os.kill(os.getpid(), signal.SIGKILL)
    with pytest.raises(OSError, match="^Ray's workers were lost .* make sure there is memory enough for 1"):
        embed_shards(images, tmp_path / "out", Models(at_load=die), workers=1, part_size=8)
    assert len((tmp_path / "died").read_text().split()) == 3


def test_errors_in_workers_are_the_same_sentences(ray, images, tmp_path):
    def raising(batch):
        if white(batch): raise RuntimeError("too white")
    def missing(): raise FileNotFoundError("The weights are missing: fetch them.")
    with pytest.raises(ValueError, match="images 16 to 23: too white"):
        embed_shards(images, tmp_path, Models(raising), workers=2, part_size=8)
    with pytest.raises(FileNotFoundError, match="^The weights are missing: fetch them.$"):
        embed_shards(images, tmp_path, Models(at_load=missing), workers=2, part_size=8)
    def no_room(): resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
    with pytest.raises(OSError, match=r"^Nothing more can be written to .* \(file too large\): what is done"):
        embed_shards(images, tmp_path / "full", Models(at_load=no_room), workers=1, part_size=8)
    assert [path.name for path in (tmp_path / "full").glob("[!.]*")] == ["index.json"]
    embed_shards(images, tmp_path / "full", Models(), part_size=8)  # what a stopped worker left goes now
    assert not list((tmp_path / "full").glob(".*"))


def test_mini_preset(ray, images, tmp_path):
    "The real models: two workers, one process, and one process without shards."
    few = ImageFolder(images).subset(range(16))
    for workers in (0, 2): embed_shards(few, tmp_path / str(workers), load_preset, workers, part_size=8)
    one, two = open_shards(tmp_path / "0"), open_shards(tmp_path / "2")
    np.testing.assert_allclose(one.v, two.v, atol=1e-6)
    np.testing.assert_allclose(one.t, two.t, atol=1e-6)
    assert one.captions == two.captions
    np.testing.assert_allclose(one.v, embed_images(few, load_preset().image_encoder)[0], atol=1e-5)


SCRIPT = """
import sys, time
sys.path.insert(0, sys.argv[1])
from test_shards import Models
from sac_seic.tool.embed import embed_shards
models = Models(lambda batch: time.sleep(float(sys.argv[4])))
try: print(len(embed_shards(sys.argv[2], sys.argv[3], models, part_size=8)))
except OSError as error: print(type(error).__name__, error)
"""


def script(*arguments):
    return [sys.executable, "-c", SCRIPT, str(Path(__file__).parent), *map(str, arguments)]


def test_killed_run(images, here, tmp_path):
    "The run itself is killed between its parts, or in one: the next goes on, and makes no part twice."
    run = subprocess.Popen(script(images, tmp_path, 0.5))
    while len(done := list(tmp_path.glob("part-*"))) < 2: time.sleep(0.02)
    run.kill()
    run.wait()
    assert 2 <= len(done) <= 5
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("part-*")}
    assert len(embed_shards(images, tmp_path, Models(), part_size=8)) == 6 - len(made)
    assert all(path.stat().st_mtime_ns == when for path, when in made.items())
    assert not list(tmp_path.glob(".*"))
    assert_equal(open_shards(tmp_path), here)


@pytest.mark.skipif(shutil.which("unshare") is None, reason="a small disk is mounted with unshare")
def test_full_disk(images, here, tmp_path):
    "A disk of 16 kB, in a namespace of its own: what has room is done, nothing by halves; one sentence."
    inside = f'"$@"; ls -A {tmp_path}; cp -r {tmp_path} {tmp_path}-kept'
    mount = f"mount -t tmpfs -o size=16k none {tmp_path} && {{ {inside}; }}"
    command = ["unshare", "-rm", "sh", "-c", mount, "sh", *script(images, tmp_path / "out", 0)]
    done = subprocess.run(command, capture_output=True, text=True)
    if "mount" in done.stderr or "unshare" in done.stderr: pytest.skip("no permission to mount a small disk")
    kept = Path(f"{tmp_path}-kept/out")
    listed = sorted(path.name for path in kept.iterdir())
    assert done.stdout.splitlines()[0] == (
        f"OSError Nothing more can be written to the folder '{tmp_path}/out' (no space left on device): "
        "what is done stays; make room there, or make it writable, and run it again.")
    assert listed == ["index.json"] + [f"part-{i:05d}.safetensors" for i in range(len(listed) - 1)]
    assert 1 < len(listed) < 7
    assert len(embed_shards(images, kept, Models(), part_size=8)) == 7 - len(listed)
    assert_equal(open_shards(kept), here)
