"""`sac_seic.cluster` takes images in whatever form they are at hand, and all forms give one result."""

import subprocess
import sys
import warnings

import numpy as np
import pytest

import sac_seic
from sac_seic.data.files import no_progress
from sac_seic.data.images import fashion_mnist_sample
from sac_seic.evaluate import ari
from sac_seic.models.captioners import FileCaptioner
from sac_seic.models.presets import load_preset
from sac_seic.recipes import RECIPES

N = 30


@pytest.fixture(scope="module")
def sample():
    whole = fashion_mnist_sample()
    return whole.subset(np.flatnonzero(np.isin(whole.labels, [1, 7, 8]))[::20][:N])


@pytest.fixture(scope="module")
def photos(sample, tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for i, picture in enumerate(sample): picture.save(folder / f"{i:02}.png")
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory): return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def how(cache): return {"models": load_preset("mini", cache), "cache": cache, "progress": no_progress}


@pytest.fixture(scope="module")
def found(photos, how): return sac_seic.cluster(photos, 3, **how)


@pytest.mark.parametrize("form", ["text", "files", "pillow", "array", "dataset", "ours"])
def test_every_form_gives_the_same(form, sample, photos, how, found):
    import datasets
    given = {"text": lambda: str(photos), "files": lambda: sorted(photos.iterdir()), "pillow": lambda: list(sample),
             "array": lambda: np.asarray(sample.arrays), "ours": lambda: sample,
             "dataset": lambda: datasets.Dataset.from_dict({"picture": list(sample)}).cast_column("picture", datasets.Image())}[form]()
    same = sac_seic.cluster(given, 3, **how)
    np.testing.assert_array_equal(same.labels, found.labels)
    np.testing.assert_array_equal(same.score, found.score)
    assert same.names == found.names and len(same.table()) == N


def test_what_a_result_has(found, sample):
    assert ari(sample.labels, found.labels) > .7 and found.scores() is None
    assert len(found.names) == len(found.keywords) == 3 and len(set(found.names)) == 3
    assert 0 <= found.confidence.min() <= found.confidence.max() <= 1
    assert list(found.table().columns) == ["path", "cluster", "name", "confidence", "caption"]
    assert found._repr_png_().startswith(b"\x89PNG") and found.plot().width > 300
    assert "30 images in 3 clusters" in repr(found)
    assert found.xy.shape == (N, 2) and found.near.shape == (N, 20) and found.checks.second.shape == (N,)


def test_report_save_load(found, photos, tmp_path, cache):
    page = found.report(tmp_path / "out")
    assert page == tmp_path / "out" / "report.html" and page.stat().st_size > 10_000
    again = sac_seic.load(tmp_path / "out", cache)  # what a report holds is enough
    for name in ("labels", "score", "probabilities", "confidence"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    assert again.names == found.names and again.files == found.files and again.pairs.captions == found.pairs.captions
    np.testing.assert_array_equal(again.predict(photos, progress=no_progress).probabilities,
                                  found.predict(photos, progress=no_progress).probabilities)
    assert again.plot().tobytes() == found.plot().tobytes()


def test_a_result_whose_images_are_gone(found, tmp_path, cache, photos):
    found.save(tmp_path)
    moved = photos.rename(photos.with_name("moved"))
    try:
        again = sac_seic.load(tmp_path, cache)
        assert again.images is None and again._repr_png_() is None
        assert again.report(tmp_path / "page").exists() and not (tmp_path / "page" / "clusters.png").exists()
        with pytest.raises(ValueError, match="no images to draw"): again.plot()
    finally: moved.rename(photos)


def test_embeddings(found):
    v = found.pairs.v
    same = sac_seic.cluster(v, 3, cache=None, progress=no_progress)
    assert same.settings["recipe"]["name"] == "kmeans-smooth" and ari(same.labels, found.labels) > .7
    import pandas as pd
    named = sac_seic.cluster(pd.DataFrame(v, index=[f"p{i}" for i in range(N)]), 3, cache=None, progress=no_progress)
    np.testing.assert_array_equal(named.labels, same.labels)
    assert named.files[3] == "p3"


def test_without_a_number(found):
    c = sac_seic.cluster(found.pairs.v, progress=no_progress)
    assert c.settings["n_clusters"] == c.k_choice.k and len(c.names) == c.k_choice.k
    with pytest.raises(ValueError, match="too few"): sac_seic.cluster(found.pairs.v[:3], progress=no_progress)


@pytest.mark.parametrize("wrong, sentence", [
    (dict(n_clusters=1), "at least 2"), (dict(n_clusters=99), "only 30 images"), (dict(recipe="magic"), "no recipe 'magic'"),
    (dict(recipe="sac"), "no captions"), (dict(recipe="sac+enhance"), "embeddings only"), (dict(text="nouns"), "no use")])
def test_what_can_not_be(found, wrong, sentence):
    with pytest.raises(ValueError, match=sentence): sac_seic.cluster(found.pairs.v, **{"n_clusters": 3, "progress": no_progress, **wrong})


@pytest.mark.parametrize("source", [[], 5, None, ["a.png", 7], np.full((3, 4), np.nan), np.zeros((2, 3), complex)])
def test_what_is_no_image(source):
    with pytest.raises((TypeError, ValueError)): sac_seic.cluster(source, 2, progress=no_progress)


def test_unlike_images_are_noted(found):
    with pytest.warns(UserWarning, match="look unlike"): far = found.predict(-found.pairs.v)
    assert far.unlike == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert found.predict(found.pairs.v).unlike == 0


def test_import_is_light():
    code = "import sys, sac_seic\nprint(sorted({'torch', 'sklearn', 'pandas', 'PIL'} & set(sys.modules)), callable(sac_seic.cluster))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == ["[]", "True"]


def test_captions_from_a_list_are_for_the_listed_images_only(photos, sample, cache, tmp_path):
    (tmp_path / "captions.csv").write_text("file,caption\n" + "".join(f"{i:02}.png,{sample.classes[c]}\n" for i, c in enumerate(sample.labels)))
    listed = load_preset("mini", cache, captioner=FileCaptioner(tmp_path / "captions.csv"))
    images_answer = RECIPES["sac-paper"].changed(epochs=2)
    c = sac_seic.cluster(photos, 3, images_answer, models=listed, cache=cache, progress=no_progress)
    c.save(tmp_path)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "later.png").write_bytes((photos / "03.png").read_bytes())
    more = sac_seic.load(tmp_path, cache).add(tmp_path / "new", progress=no_progress)
    assert len(more) == N + 1 and more.pairs.captions == [*c.pairs.captions, ""]
    both = sac_seic.cluster(photos, 3, models=listed, cache=cache, progress=no_progress)
    with pytest.raises(ValueError, match="came from a list"): both.predict(tmp_path / "new", progress=no_progress)
