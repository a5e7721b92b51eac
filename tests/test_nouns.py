"""Nouns as texts: what the page leaves out. Refusals, sums and orders, unreadable images, an image view of its own."""

from dataclasses import replace

import numpy as np
import pytest

from sac_seic import nouns
from sac_seic.data.images import ImageArray, ImageError, fashion_mnist_sample
from sac_seic.models.classic import ClassicImageEncoder
from sac_seic.models.presets import load_preset
from sac_seic.nouns import TAC_NOUNS, make_noun_pairs, retrieve_text, shared_space, wordnet_nouns


def unit(n, d, seed):
    x = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


V, NOUNS = unit(40, 6, 0), unit(90, 6, 1)
WORDS = wordnet_nouns()[::600]


@pytest.fixture(scope="module")
def preset(): return load_preset("mini", needs=("image", "captions", "nouns"))


@pytest.fixture(scope="module")
def root(tmp_path_factory): return tmp_path_factory.mktemp("cache")  # the thousand class names are embedded once


@pytest.fixture(scope="module")
def few():
    sample = fashion_mnist_sample()
    return sample.subset(np.concatenate([np.flatnonzero(sample.labels == c)[:4] for c in range(10)]))


def test_what_comes_out_keeps_its_promises():
    got = retrieve_text(V, NOUNS, 10, 3, n_clusters=3, seed=7)
    assert got.nouns.shape == got.weights.shape == (40, 3) and got.candidates.shape == (3, 10)
    assert got.nouns.dtype == got.candidates.dtype == np.int64
    for rows in (got.t, got.centers): np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(got.weights.sum(axis=1), 1, rtol=1e-5)
    assert (np.diff(got.weights, axis=1) <= 0).all() and np.isin(got.nouns, got.candidates).all()
    assert (np.diff(np.take_along_axis(got.centers @ NOUNS.T, got.candidates, axis=1), axis=1) <= 1e-6).all()
    again = retrieve_text(V, NOUNS, 10, 3, n_clusters=3, seed=7)
    for name, x in vars(got).items(): assert np.array_equal(x, getattr(again, name)), name


def test_limits():
    how = dict(n_clusters=3, seed=0)
    cold, nearest = (retrieve_text(V, NOUNS, 90, k2, temperature=T, **how) for k2, T in ((5, 1e-6), (1, 0.05)))
    np.testing.assert_allclose(cold.t, nearest.t, atol=1e-5)
    one, eight = (retrieve_text(V, NOUNS, k1, 5, n_clusters=K).t for k1, K in ((500, 1), (90, 8)))
    np.testing.assert_allclose(one, eight, atol=1e-6)  # all are candidates: the centres no longer matter
    assert retrieve_text(V, NOUNS, 500, 500, **how).nouns.shape == (40, 90)
    two, abc = np.eye(2, dtype=np.float32), np.array([[1, 0], [.8, .6], [.6, .8]], dtype=np.float32)
    distinct = retrieve_text(two, abc, 2, None, n_clusters=2, choose="distinct")  # the middle noun is one centre's alone
    assert distinct.nouns.shape == (2, 3) and sorted(map(tuple, distinct.candidates.tolist())) == [(0, 1), (2, -1)]


@pytest.mark.parametrize("bad, said", [(dict(v=V * 2), "not of length 1"), (dict(k1=0), "k1 is 0"), (dict(k2=0), "k2 is 0"),
                                       (dict(nouns=unit(9, 5, 0)), "one space"), (dict(n_clusters=41), "40 images"), (dict(temperature=0), "temperature")])
def test_retrieval_refuses(bad, said):
    with pytest.raises(ValueError, match=said): retrieve_text(**dict(v=V, nouns=NOUNS, n_clusters=3) | bad)


def test_defaults_belong_to_the_preset(root, preset, few, monkeypatch):
    asked, space = [], shared_space(preset, root)
    monkeypatch.setattr(nouns, "wordnet_nouns", lambda vocabulary: asked.append(vocabulary) or WORDS)
    monkeypatch.setattr(nouns, "shared_space", lambda preset, cache: replace(space, temperature=1e9))
    flat = make_noun_pairs(few, preset, 10, cache=root)
    make_noun_pairs(few, replace(preset, name="other"), 10, cache=root)
    assert asked == ["concrete", "all"]
    np.testing.assert_allclose(flat.retrieval.weights, 1 / 50, rtol=1e-4)
    with pytest.raises(ValueError, match="'abstract'"):
        monkeypatch.undo()
        make_noun_pairs(few, preset, 10, vocabulary="abstract", cache=root)


def test_settings_of_retrieval(root, preset, few):
    how = dict(vocabulary=WORDS, cache=root, k1=9, k2=4)
    warm, cold = (make_noun_pairs(few, preset, 10, temperature=T, **how) for T in (1e9, .005))
    np.testing.assert_allclose(warm.retrieval.weights, 1 / 4, rtol=1e-4)
    assert cold.retrieval.weights.max(axis=1).mean() > .7 and cold.retrieval.nouns.tolist() == warm.retrieval.nouns.tolist()
    assert make_noun_pairs(few, preset, 10, n_centers=17, **how).retrieval.centers.shape == (17, 384)
    tac = make_noun_pairs(few, preset, 10, vocabulary=WORDS, cache=root, **TAC_NOUNS).retrieval
    assert tac.candidates.shape == (30, 5) and tac.nouns.shape[1] == len(np.unique(tac.candidates[tac.candidates >= 0]))  # all of them
    with pytest.raises(ValueError, match="Only 40 of the 40 .*; 300 clusters"): make_noun_pairs(few, preset, 10, n_centers=300, **how)


class FirstIsBad(ImageArray):
    gone = False

    def read(self, i):
        if self.names[i] == "0": raise ImageError("truncated")
        if self.names[i] == "2" and FirstIsBad.gone: raise ImageError("no longer there")
        return super().read(i)

    def subset(self, rows): return FirstIsBad(self.arrays[rows], names=[self.names[i] for i in rows])


class Vanishing(ClassicImageEncoder):
    "After it has looked, image 2 goes away."
    fingerprint = "vanishing"

    def encode(self, batch):
        FirstIsBad.gone = True
        return super().encode(batch)


def test_unreadable_images_are_left_out(root, preset, few):
    four = FirstIsBad(few.arrays[[0, 10, 20, 30]], names=list("0123"))
    partly = make_noun_pairs(four, preset, 2, vocabulary=WORDS, cache=root, k1=5, k2=3)
    assert partly.index.tolist() == [1, 2, 3] and partly.bad[0].name == "0" and partly.retrieval.nouns.shape == (3, 3)
    with pytest.raises(ValueError, match="Only 3 of the 4 images can be read: 0 .truncated."): make_noun_pairs(four, preset, 4, vocabulary=WORDS, cache=root)


def test_another_image_view(root, preset, few, monkeypatch):
    monkeypatch.setattr(FirstIsBad, "gone", False)
    mixed = replace(preset, image_encoder=ClassicImageEncoder(), noun_images=preset.image_encoder)
    plain, two = (make_noun_pairs(few, p, 10, vocabulary=WORDS, cache=root) for p in (preset, mixed))
    assert two.v.shape == (40, 1844) and np.array_equal(two.t, plain.t) and two.captions == plain.captions
    four = FirstIsBad(few.arrays[[0, 10, 20, 30]], names=list("0123"))
    left = make_noun_pairs(four, replace(mixed, image_encoder=Vanishing()), 2, vocabulary=WORDS, cache=root, k1=5, k2=3)
    assert left.index.tolist() == [1, 3] and [bad.name for bad in left.bad] == ["0", "2"]  # a row is the same image in both
    np.testing.assert_array_equal(left.v, two.v[[10, 30]])
