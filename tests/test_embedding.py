"Images are read once, and not at all when they are known; a changed picture never gets the old embedding."

import os
import pickle
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from sac_seic.data.files import no_progress
from sac_seic.data.images import ImageArray, ImageFolder, _decode, reduction
from sac_seic.models.encoders import Cache, Preset, _Look, embed_images
from sac_seic.models.mini import MiniCaptioner
from sac_seic.pairs import make_pairs

TICK = .05  # s; a file written after this has another time


def mean_pixels(image):  # 3×8×8
    return np.asarray(image.resize((8, 8), Image.Resampling.BOX), np.float32).transpose(2, 0, 1)


class Toy:
    "An encoder to mean colours, with a last layer that names the strongest, for MiniCaptioner."
    name, dim, fingerprint, class_names, side = "mean colour", 3, "mean-colour", ["red", "green", "blue"], 8
    preprocess = staticmethod(mean_pixels)
    def __init__(self): self.encoded = 0
    def encode(self, batch): self.encoded += len(batch); return batch.mean(axis=(2, 3))
    def classifier(self): return np.eye(3, dtype=np.float32), np.zeros(3, np.float32)


class Lengths:
    name, dim, fingerprint = "length", 1, "length"
    def encode(self, texts): return np.float32([[len(text)] for text in texts])


class Counting(ImageFolder):
    reads = 0
    def read(self, i): Counting.reads += 1; return super().read(i)


def paint(path, colour, size=(4, 4), **options): Image.new("RGB", size, tuple(colour)).save(path, **options)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    for i in range(12): paint(tmp_path / "photos" / f"{i:02}.png", (10 * (i % 10), 30, 50))  # two are there twice
    return tmp_path / "photos"


@pytest.fixture
def later(monkeypatch):
    "Files just written look three seconds old."
    monkeypatch.setattr(time, "time_ns", lambda now=time.time_ns: now() + 3_000_000_000)


def pairs_of(folder, cache, **more):
    "Reads an image, images encoded, and the pairs."
    Counting.reads, encoder = 0, Toy()
    preset = Preset("toy", encoder, MiniCaptioner(encoder, cache=cache, top=1), Lengths())
    pairs = make_pairs(images := Counting(folder), preset, cache, progress=no_progress, **more)
    return Counting.reads / len(images), encoder.encoded, pairs


def test_each_file_is_read_once_and_then_never(folder, tmp_path, later):
    first, second = pairs_of(folder, tmp_path / "cache"), pairs_of(folder, tmp_path / "cache")
    assert first[:2] == (1, 10) and second[:2] == (0, 0)
    assert np.array_equal(first[2].v, second[2].v) and first[2].captions == second[2].captions
    assert first[2].v[:, 0].tolist() == [10 * (i % 10) for i in range(12)]
    assert first[2].captions[9] == "a photo of a red" and first[2].captions[0] == "a photo of a blue"
    reads, encoded, pairs = pairs_of(folder, tmp_path / "cache", rehash=True)
    assert (reads, encoded) == (1, 0) and np.array_equal(pairs.v, second[2].v)


def test_without_a_cache_each_file_is_read_and_encoded_once(folder):
    assert pairs_of(folder, None)[:2] == (1, 10)


def test_another_captioner_needs_no_file_where_it_works_on_embeddings(folder, tmp_path, later):
    pairs_of(folder, tmp_path / "cache")
    Counting.reads, encoder = 0, Toy()
    preset = Preset("toy", encoder, MiniCaptioner(encoder, top=3), Lengths())
    pairs = make_pairs(Counting(folder), preset, tmp_path / "cache", progress=no_progress)
    assert (Counting.reads, encoder.encoded) == (0, 0) and pairs.captions[0] == "a photo of a blue, green or red"


@pytest.mark.parametrize("trick", ["written over", "time set back", "replaced", "link moved", "swapped"])
def test_a_changed_picture_gets_its_own_embedding(folder, tmp_path, later, trick):
    file, before = folder / "03.png", os.stat(folder / "03.png")
    if trick == "link moved":
        for name, red in ("a", 30), ("b", 77): paint(tmp_path / f"{name}.png", (red, 30, 50))
        file.unlink(); file.symlink_to(tmp_path / "a.png")
    pairs_of(folder, tmp_path / "cache")
    time.sleep(TICK)
    if trick == "link moved": file.unlink(); file.symlink_to(tmp_path / "b.png")
    elif trick == "swapped":
        paint(tmp_path / "new.png", (77, 30, 50)); os.utime(tmp_path / "new.png", ns=(before.st_mtime_ns,) * 2)
        os.replace(tmp_path / "new.png", file)
    else:
        if trick == "replaced": file.unlink()
        paint(file, (77, 30, 50))
        if trick != "written over": os.utime(file, ns=(before.st_mtime_ns,) * 2)
    assert os.stat(file).st_size == before.st_size  # the size gives nothing away
    _, encoded, pairs = pairs_of(folder, tmp_path / "cache")
    assert encoded == 1 and pairs.v[3].tolist() == [77, 30, 50] and pairs.captions[3] == "a photo of a red"


def test_a_young_file_is_not_trusted(folder, tmp_path):
    "What is written twice within a tick of the clock looks unchanged, so nothing is remembered of it."
    assert pairs_of(folder, tmp_path / "cache")[0] == 1
    assert not list((tmp_path / "cache" / "mean-colour").glob("*.json"))
    assert pairs_of(folder, tmp_path / "cache")[:2] == (1, 0)


def test_a_stamp_is_taken_before_the_file_is_read(folder, tmp_path, later):
    class Touched(ImageFolder):
        def read(self, i):
            content = super().read(i)
            if i == 5: time.sleep(TICK); paint(folder / "05.png", (99, 30, 50))  # while the run is going
            return content
    first = embed_images(Touched(folder), Toy(), tmp_path / "cache", progress=no_progress)[0]
    second = embed_images(ImageFolder(folder), Toy(), tmp_path / "cache", progress=no_progress)[0]
    assert first[5, 0] == 50 and second[5, 0] == 99


def test_what_lies_in_memory_is_hashed_each_time(tmp_path):
    pixels, encoder = np.full((2, 4, 4, 3), 9, np.uint8), Toy()
    images = ImageArray(pixels)
    embed_images(images, encoder, tmp_path)
    pixels[1] = 200
    assert embed_images(images, encoder, tmp_path)[0][:, 0].tolist() == [9, 200] and encoder.encoded == 2


def test_a_damaged_list_of_stamps_is_made_again(folder, tmp_path, later):
    cache = tmp_path / "cache"
    v = pairs_of(folder, cache)[2].v
    stamps, = (cache / "mean-colour").glob("*.json")
    stamps.write_bytes(stamps.read_bytes().replace(b'"', b"'", 1))
    with pytest.warns(UserWarning, match="was damaged"): reads, encoded, pairs = pairs_of(folder, cache)
    assert (reads, encoded) == (1, 0) and np.array_equal(pairs.v, v) and pairs_of(folder, cache)[0] == 0


def test_a_bad_file_costs_no_other(folder, tmp_path, later):
    (folder / "04.png").write_bytes(b"no image"); (folder / "06.png").unlink(); (folder / "06.png").mkdir()
    reads, encoded, pairs = pairs_of(folder, tmp_path / "cache")
    assert (reads, encoded, [bad.reason for bad in pairs.bad]) == (1, 8, ["not an image"])
    assert pairs_of(folder, tmp_path / "cache")[:2] == (1 / 11, 0)  # the bad one is tried again


def test_large_photographs_are_unpacked_at_the_size_that_is_needed(tmp_path, later):
    noise = np.random.default_rng(0).integers(0, 256, (160, 320, 3), dtype=np.uint8)
    folder = tmp_path / "photos"; folder.mkdir()
    for name, w, h in ("eighth", 320, 160), ("half", 40, 36), ("whole", 30, 30):
        Image.fromarray(noise[:h, :w]).save(folder / f"{name}.jpg", quality=95)
    images, encoder, seen = ImageFolder(folder), Toy(), []
    encoder.preprocess = lambda image: seen.append(image.size) or mean_pixels(image)
    v, _, _ = embed_images(images, encoder, tmp_path / "cache", progress=no_progress, workers=1)
    assert seen == [(40, 20), (20, 18), (30, 30)] and [reduction(images.read(i), 8) for i in range(3)] == [8, 2, 1]
    store = Cache(tmp_path / "cache" / "mean-colour")
    assert len(store.get(images.key(i) + more for i, more in enumerate(("/8", "/2", "")))) == 3
    for i, side in enumerate((8, 8, None)):
        expected = Toy().encode(mean_pixels(_decode(images.read(i), side))[None])[0]
        np.testing.assert_array_equal(v[i], expected)
    again, _, _ = embed_images(images, encoder, tmp_path / "cache", progress=no_progress)
    assert len(seen) == 3 and np.array_equal(again, v)
    encoder.side = None  # one that doesn't say what it needs gets it all, under another name
    embed_images(images, encoder, tmp_path / "cache", progress=no_progress, rehash=True)
    assert sorted(seen[3:]) == [(40, 36), (320, 160)]


def test_what_workers_get_can_be_sent_to_them(folder):
    look = pickle.loads(pickle.dumps(_Look(ImageFolder(folder), [2, 3], Toy(), set())))
    seen, pixels = look[1]
    assert seen.row == 3 and seen.new and pixels[0, 0, 0] == 30


SPAWNED = """
import multiprocessing, sys
import numpy as np
from sac_seic.data.files import no_progress
from sac_seic.data.images import ImageFolder
from sac_seic.models.encoders import embed_images

def pixels(image): return np.asarray(image, np.float32).transpose(2, 0, 1)

class Encoder:
    dim, fingerprint, preprocess = 3, "mean-colour", staticmethod(pixels)
    def encode(self, batch): return batch.mean(axis=(2, 3))

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[2])
    how = dict(batch_size=4, workers=2, progress=no_progress)
    apart, index, bad = embed_images(ImageFolder(sys.argv[1]), Encoder(), processes=True, **how)
    here = embed_images(ImageFolder(sys.argv[1]), Encoder(), **how)
    assert np.array_equal(apart, here[0]) and len(index) == 12 and not bad
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_give_the_same(folder, tmp_path, method):
    import multiprocessing
    if method not in multiprocessing.get_all_start_methods(): pytest.skip(f"this system knows no {method}")
    (tmp_path / "spawned.py").write_text(SPAWNED)
    command = [sys.executable, str(tmp_path / "spawned.py"), str(folder), method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
    assert done.returncode == 0, done.stderr
