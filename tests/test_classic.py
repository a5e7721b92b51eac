"The image view without a network: the same rows wherever they are made, and pairs in which the text comes from elsewhere."

import pickle

import numpy as np
import pytest
from PIL import Image

from sac_seic.data.files import no_progress
from sac_seic.data.images import ImageFolder, fashion_mnist_sample
from sac_seic.models.classic import ClassicImageEncoder
from sac_seic.models.encoders import embed_images
from sac_seic.models.presets import load_preset
from sac_seic.nouns import make_noun_pairs
from sac_seic.pairs import make_pairs

NEEDS = "image", "captions", "nouns"
WORDS = "shirt dress shoe boot bag trousers coat sandal sneaker pullover cat truck".split()


@pytest.fixture(scope="module")
def few(): return fashion_mnist_sample().subset(np.arange(0, 2000, 80))


@pytest.fixture(scope="module")
def cache(tmp_path_factory): return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def plain(cache): return load_preset("mini", cache, needs=NEEDS)


@pytest.fixture(scope="module")
def classic(cache): return load_preset("mini", cache, needs=NEEDS, image_encoder="classic")


def test_rows_are_the_same_in_threads_processes_and_batches(few):
    encoder = ClassicImageEncoder()
    alone = np.stack([pickle.loads(pickle.dumps(encoder.preprocess))(few[i]) for i in range(len(few))])
    assert alone.shape == (25, encoder.dim) and len(np.unique(alone, axis=0)) == 25
    for how in (dict(workers=1, batch_size=1), dict(workers=4), dict(workers=2, processes=True, batch_size=8)):
        assert np.array_equal(embed_images(few, encoder, progress=no_progress, **how)[0], alone), how


def test_colours_and_edges_are_both_seen():
    encoder = ClassicImageEncoder()
    red, green, dark = (encoder.preprocess(Image.new("RGB", (40, 40), colour)) for colour in ("red", "lime", "#400000"))
    assert abs(red[1764:] @ green[1764:] - .25 * 2 / 3) < 1e-4  # the hue differs, saturation and brightness do not
    assert abs(red[1764:] @ dark[1764:] - .25 * 2 / 3) < 1e-4   # only the brightness differs
    striped = np.zeros((64, 64, 3), np.uint8)
    striped[:, ::8] = striped[:, 1::8] = striped[:, 2::8] = striped[:, 3::8] = 255
    lying, standing = (encoder.preprocess(Image.fromarray(x)) for x in (striped.transpose(1, 0, 2), striped))
    assert np.allclose(lying[1764:], standing[1764:]) and lying[:1764] @ standing[:1764] < .01


def test_captions_come_from_the_network_and_images_from_none(few, plain, classic, cache):
    pairs, before = (make_pairs(few, preset, cache, progress=no_progress) for preset in (classic, plain))
    assert pairs.captions == before.captions and np.allclose(pairs.t, before.t, atol=1e-5)
    assert np.array_equal(pairs.v, embed_images(few, ClassicImageEncoder(), progress=no_progress)[0])


def test_nouns_are_those_of_the_network(few, plain, classic, cache):
    how = dict(vocabulary=WORDS, k1=6, k2=3, cache=cache, progress=no_progress)
    pairs, before = (make_noun_pairs(few, preset, 5, **how) for preset in (classic, plain))
    assert pairs.captions == before.captions and np.allclose(pairs.t, before.t, atol=1e-5)
    assert pairs.v.shape == (25, 1844) and before.v.shape == (25, 1280)


def test_an_unreadable_file_is_in_no_array(few, classic, cache, tmp_path):
    for i in range(6): few[4 * i].save(tmp_path / f"{i}.png")
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:60])
    photos, good = ImageFolder(tmp_path), [0, 1, 3, 4, 5]
    with_captions = make_pairs(photos, classic, cache, progress=no_progress)
    with_nouns = make_noun_pairs(photos, classic, 2, vocabulary=WORDS, k1=6, k2=3, cache=cache, progress=no_progress)
    rows = embed_images(few.subset([4 * i for i in good]), ClassicImageEncoder(), progress=no_progress)[0]
    for pairs in (with_captions, with_nouns):
        assert pairs.index.tolist() == good and [bad.name for bad in pairs.bad] == ["2.png"]
        assert np.array_equal(pairs.v, rows) and len(pairs.t) == len(pairs.captions) == 5
