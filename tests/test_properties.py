"""Whatever goes in, out comes a valid answer or one sentence."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sac_seic.baselines import KMeansViews, SpectralClusters
from sac_seic.data.files import no_progress
from sac_seic.pairs import nearest_neighbors
from sac_seic.recipes import RECIPES
from sac_seic.rivals import SCAN, TAC, TEMI, TURTLE
from sac_seic.sac import SAC
from sac_seic.seic import SEIC
from sac_seic.smoothing import SmoothViews
from sac_seic.tool.cluster import cluster_pairs

MAKE = {
    "SAC": lambda c, k: SAC(c, k=k, max_steps=2, batch_size=8),
    "exact": lambda c, k: SAC(c, k=k, max_steps=2, init="random", neighbors="exact", hidden=3),
    "SEIC": lambda c, k: SEIC(c, projection_dim=k, max_steps=2), "TAC": lambda c, k: TAC(c, k=k, epochs=1),
    "SCAN": lambda c, k: SCAN(c, k=k, n_heads=2, epochs=1), "TEMI": lambda c, k: TEMI(c, k=k, n_heads=2, epochs=1),
    "TURTLE": lambda c, k: TURTLE(c, steps=2, inner_steps=1), "k-means": lambda c, k: KMeansViews(c, n_init=1),
    "k-means both": lambda c, k: KMeansViews(c, views="both", n_init=1),
    "k-means averaged": lambda c, k: KMeansViews(c, views="averaged", k=k, n_init=1),
    "smooth": lambda c, k: SmoothViews(c, k=k, n_init=1),
    "smooth both": lambda c, k: SmoothViews(c, k=k, n_init=1, dims=k, view="both"),
    "spectral": lambda c, k: SpectralClusters(c, k=k)}
SHORT = {"sac": {"max_steps": 2}, "seic-align": {"max_steps": 2}, "kmeans-smooth": {}, "kmeans-image": {},
         "kmeans-both": {}, "kmeans-averaged": {}}
ERRORS = ValueError, TypeError
pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore")] # scikit-learn's of fewer distinct rows than clusters, for one


def few(examples): # of hypothesis's settings
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None,
                    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


@st.composite
def matrices(draw, n):
    "n rows: random, of a few kinds only, all alike or zeros; of any type and layout; now and then with a flaw."
    d, rng = draw(st.integers(1, 6)), np.random.default_rng(draw(st.integers(0, 99)))
    x = rng.normal(size=(n, d)) * draw(st.sampled_from([1, 1e-30, 1e-3, 1e3, 1e30]))
    kind = draw(st.sampled_from(["random", "random", "duplicates", "constant", "zeros"]))
    if kind == "duplicates": x = x[rng.integers(0, min(3, n), n)]
    if kind == "constant": x[:] = x[0]
    if kind == "zeros": x[:] = 0
    x = x.astype(draw(st.sampled_from([np.float32, np.float32, np.float64, np.float16, np.int64, np.uint8, bool])))
    layout = draw(st.sampled_from(["C", "F", "reversed", "strided", "list", "read-only"]))
    if layout == "F": x = np.asfortranarray(x)
    if layout == "reversed": x = x[::-1, ::-1]
    if layout == "strided": x = np.repeat(x, 2, axis=0)[::2]
    if layout == "read-only": x.setflags(write=False)
    flaw = draw(st.sampled_from([None] * 9 + [np.nan, np.inf]))
    if flaw and x.dtype.kind == "f" and layout != "read-only": x[rng.integers(n), rng.integers(d)] = flaw
    return x.tolist() if layout == "list" else x


@st.composite
def pairs(draw):
    "Two views, nearly always of as many rows; clusters and neighbours, now and then impossible ones."
    n = draw(st.integers(1, 12))
    other = draw(st.sampled_from([n] * 9 + [n + 1]))
    c = draw(st.sampled_from([2, 2, 3, 3, 4, n, n + 1, 1, 0]))
    return draw(matrices(n)), draw(matrices(other)), c, draw(st.integers(1, 15))


def sentence(error):
    "One sentence of ours."
    said = str(error)
    assert said.endswith(".") and "\n" not in said and ". " not in said and 20 < len(said) < 250, repr(said)


def is_flawless(*views) -> bool: # as float32, which is what counts
    return all(np.isfinite(np.asarray(x, np.float32)).all() for x in views)


def check_labels(labels, n: int, c: int):
    assert labels.shape == (n,) and labels.dtype == np.int64 and 0 <= labels.min() <= labels.max() < c


def check_probabilities(p, n: int, c: int):
    assert p.shape == (n, c) and (p >= 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-4)


def check_confidence(sure, n: int):
    assert sure.shape == (n,) and (sure >= 0).all() and (sure <= 1 + 1e-6).all()


@pytest.mark.parametrize("name", MAKE)
@few(25)
@given(given_=pairs())
def test_estimators(name, given_):
    v, t, c, k = given_
    n, model = len(v), MAKE[name](c, k)
    try: model.fit(v, t, progress=no_progress)
    except ERRORS as error:
        sentence(error)
        possible = 2 <= c <= n - name.startswith("smooth") and len(t) == n and is_flawless(v, t)
        assert not possible, (error, given_)
        return
    assert is_flawless(v) and 2 <= c <= n
    check_labels(model.labels_, n, c)
    for p in ("p_", "q_", "pv_", "pt_"):
        if hasattr(model, p): check_probabilities(getattr(model, p), n, c)
    if hasattr(model, "confidence_"): check_confidence(model.confidence_, n)
    if not hasattr(model, "predict"): return
    check_labels(model.predict(v, t), n, c)
    if hasattr(model, "predict_proba"): check_probabilities(model.predict_proba(v, t), n, c)
    else: check_confidence(model.predict_confidence(v, t), n)


@pytest.mark.parametrize("name", SHORT)
@few(20)
@given(given_=pairs(), from_image=st.booleans())
def test_cluster_pairs(name, given_, from_image):
    v, t, c, _ = given_
    if isinstance(v, list) or isinstance(t, list): v, t = np.array(v), np.array(t) # its contract: arrays
    n = len(v)
    recipe = RECIPES[name].changed(**SHORT[name])
    try: found = cluster_pairs(v, t, recipe, c, text_from_image=from_image, progress=no_progress)
    except ERRORS as error:
        sentence(error)
        needs_more = "smooth" in str(error) or c == n and recipe.smooth or c == n and name == "kmeans-smooth"
        assert needs_more or not (2 <= c <= n and len(t) == n and is_flawless(v, t)), (error, given_)
        return
    check_labels(found.labels, n, c)
    check_confidence(found.confidence, n)
    if found.probabilities is not None: check_probabilities(found.probabilities, n, c)


@few(60)
@given(data=st.data())
def test_nearest_neighbors(data):
    n, k = data.draw(st.integers(1, 12)), data.draw(st.integers(-1, 15))
    x = data.draw(matrices(n))
    try: found = nearest_neighbors(x, k, no_progress)
    except ERRORS as error:
        sentence(error)
        assert n < 2 or k < 1 or not is_flawless(x)
        return
    assert found.shape == (n, min(k, n - 1)) and found.min() >= 0 and found.max() < n
    for i, row in enumerate(found): assert i not in row and len(set(row)) == len(row)
