"SEIC's first stage off the page: odd input, refusals, memory maps, files."

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError

from sac_seic import seic
from sac_seic.data.files import no_progress
from sac_seic.evaluate import accuracy
from sac_seic.seic import SEIC, aligned_start

SHORT = {"projection_dim": 16, "max_steps": 60, "device": "cpu"}


def planted(n=400, c=4, noise=0.3, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, c, n)
    v, t = (np.eye(c, d)[y] + noise * rng.normal(size=(n, d)) for d in (24, 16))
    return v.astype(np.float32), t.astype(np.float32), y


V, T, Y = planted()


def fit(c=4, v=V, t=T, **settings): return SEIC(c, **SHORT | settings).fit(v, t, progress=no_progress)


ODD = {"identical": (np.ones((40, 5)), np.ones((40, 3)), 3), "zeros": (np.zeros((40, 5)), np.zeros((40, 3)), 3),
       "as many clusters as images": (V[:6], T[:6], 6), "two points, 5 clusters": (np.eye(2)[Y[:40] % 2], np.eye(2)[Y[:40] % 2], 5)}


@pytest.mark.parametrize("init, balance, weighting, batch_size", [
    ("kmeans", "dynamic", "probability", 512), ("random", "none", "mean", 1), ("kmeans", "entropy", "probability", 2)])
@pytest.mark.parametrize("name", ODD)
def test_no_input_gives_nan(name, init, balance, weighting, batch_size):
    v, t, c = ODD[name]
    odd = fit(c, v, t, init=init, balance=balance, weighting=weighting, batch_size=batch_size, max_steps=15)
    assert np.isfinite(odd.pv_).all() and np.isfinite(odd.pt_).all()
    assert odd.history_ and all(np.isfinite(h["total"]) for h in odd.history_)


@pytest.mark.parametrize("c, v, t, said", [
    (1, V, T, "between 2 and the number of images, 400; it is 1"), (4, V, T[:9], "must be pairs"), (4, V * np.nan, T, "v hold NaN")])
def test_input_that_cannot_be(c, v, t, said):
    with pytest.raises(ValueError, match=said): fit(c, v, t)


@pytest.mark.parametrize("name, value", [
    ("balance", "even"), ("projection_dim", 0), ("momentum", 1.0), ("alpha", -1), ("batch_size", -1), ("init", "best"), ("lr", 0)])
def test_nonsense_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} is .*; it must be"): fit(**{name: value})


def test_predict_needs_fit():
    with pytest.raises(NotFittedError, match="call fit first"): SEIC(4).predict(V)


def test_saved_and_loaded_it_answers_the_same(tmp_path):
    model = fit()
    model.save(tmp_path / "seic.safetensors")
    loaded = SEIC.load(tmp_path / "seic.safetensors")
    np.testing.assert_array_equal(loaded.predict_proba(V), model.predict_proba(V))
    np.testing.assert_array_equal(loaded.labels_, model.labels_)
    assert loaded.get_params() == model.get_params() and loaded.temperature_ == model.temperature_


def test_settings_of_both_classes_are_settings():
    assert {"lr", "max_steps", "alpha", "n_clusters"} <= set(SEIC(4).get_params())
    with pytest.raises(TypeError): SEIC(4, 256)  # all but the number of clusters by name


def fit_mapped(folder: Path):
    for name, x in (("v", V), ("t", T)): np.save(folder / f"{name}.npy", x)
    v, t = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("v", "t"))
    model = fit(v=v, t=t)
    np.testing.assert_array_equal(model.predict_proba(v), model.pv_)
    return model


def test_memory_maps_give_the_same(tmp_path, monkeypatch):
    from_array, from_map = fit(), fit_mapped(tmp_path)
    np.testing.assert_array_equal(from_map.pv_, from_array.pv_)
    np.testing.assert_array_equal(from_map.pt_, from_array.pt_)
    assert from_map.history_ == from_array.history_
    monkeypatch.setattr(seic, "BLOCK", 100)
    assert accuracy(fit_mapped(tmp_path).labels_, from_array.labels_) > 0.98


def test_principal_axes_are_those_of_all_rows():
    generator = torch.Generator().manual_seed(0)
    v = torch.nn.functional.normalize(torch.randn(90, 8, generator=generator) * torch.arange(1, 9) + 1, dim=1)
    axes = aligned_start(v, v @ torch.randn(8, 6, generator=generator), 5)[0][0]
    rows = torch.linalg.svd(v - v.mean(0), full_matrices=False)[2][:5]
    torch.testing.assert_close((rows * axes).sum(1).abs(), torch.ones(5), atol=1e-5, rtol=0)
