"""scikit-learn's own checks, all of them, on estimators that take two views: they get the same matrix twice."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from sac_seic.baselines import KMeansViews, SpectralClusters, UMAPWard
from sac_seic.data.files import no_progress
from sac_seic.rivals import SCAN, TAC, TEMI, TURTLE
from sac_seic.sac import SAC
from sac_seic.seic import SEIC
from sac_seic.smoothing import SmoothViews

pytestmark = pytest.mark.usefixtures("one_thread")


def twice(cls, **defaults):
    "A subclass that is given one matrix, as scikit-learn's checks do, and takes it for both views."
    @dataclass(eq=False, repr=False)
    class Twice(cls):
        n_clusters: int = 2

        def fit(self, X, y=None):
            asked = self.n_clusters
            self.n_clusters = max(asked, 2) # some checks ask for one cluster, which is refused: two do as well
            try: return super().fit(X, X, progress=no_progress)
            finally: self.n_clusters = asked

        def fit_predict(self, X, y=None): return self.fit(X).labels_
        if hasattr(cls, "transform"):
            def transform(self, X): return super().transform(X, X)[0]
            def fit_transform(self, X, y=None): return self.fit(X).transform(X)
    Twice.__name__ = Twice.__qualname__ = f"Twice{cls.__name__}{defaults.get('views', '').title()}"
    globals()[Twice.__name__] = Twice # where pickle looks for it
    return Twice(**defaults)


ESTIMATORS = [
    twice(SAC, k=3, max_steps=2), twice(SEIC, projection_dim=4, max_steps=2), twice(TAC, k=3, epochs=10, lr=0.01),
    twice(SCAN, k=3, n_heads=2, epochs=3), twice(TEMI, k=3, n_heads=2, epochs=1),
    twice(TURTLE, steps=2, inner_steps=1), twice(KMeansViews, n_init=1),
    twice(KMeansViews, views="averaged", k=3, n_init=1), twice(SmoothViews, k=3, n_init=1),
    twice(SpectralClusters), twice(UMAPWard, k=5, n_components=2)]


@parametrize_with_checks(ESTIMATORS)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


# Columns ---------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
V, T = ((np.eye(3, d)[np.arange(60) % 3] + 0.2 * RNG.normal(size=(60, d))).astype(np.float32) for d in (8, 5))
TWO_VIEWS = [SAC(3, k=3, max_steps=2), SEIC(3, projection_dim=4, max_steps=2), TAC(3, k=3, epochs=1),
             TURTLE(3, steps=2), KMeansViews(3, views="both"), SmoothViews(3, view="both")]
ALL = pytest.mark.parametrize("model", [clone(model) for model in TWO_VIEWS], ids=lambda model: type(model).__name__)


@ALL
def test_a_frame_gives_what_the_array_gives(model):
    frames = [pd.DataFrame(x, columns=[f"{name}{i}" for i in range(x.shape[1])]) for name, x in (("v", V), ("t", T))]
    named, plain = clone(model).fit(*frames), clone(model).fit(V, T)
    np.testing.assert_array_equal(named.labels_, plain.labels_)
    np.testing.assert_array_equal(named.predict(*frames), plain.predict(V, T))
    assert [*named.feature_names_in_] == [*frames[0].columns] and named.n_features_in_ == plain.n_features_in_ == 8
    assert not hasattr(plain, "feature_names_in_")
    with pytest.raises(ValueError, match="must be in the same order"): named.predict(frames[0].iloc[:, ::-1], frames[1])
    with pytest.warns(UserWarning, match="does not have valid feature names"): named.predict(V, T)
    assert not hasattr(named.fit(V, T), "feature_names_in_")


@ALL
def test_the_second_view_is_looked_at_like_the_first(model):
    model = clone(model).fit(V, T)
    for bad, error, said in [(csr_array(T), TypeError, "t are sparse"), (T * 1j, ValueError, "Complex data"),
                             (T * np.nan, ValueError, "t hold NaN"), (T[0], ValueError, "Reshape your data"),
                             (T[:, :2], ValueError, "t has 2 columns but this .* was fitted on 5"),
                             (T[:9], ValueError, "must be pairs"), (T[:, :0], ValueError, r"t hold 0 feature\(s\)")]:
        with pytest.raises(error, match=said) as caught: model.predict(V, bad)
        assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
        if "fitted on" not in said:
            with pytest.raises(error, match=said): clone(model).fit(V, bad)


def test_set_output_names_the_smoothed_image_view():
    model = SmoothViews(3, dims=4).set_output(transform="pandas").fit(V, T)
    plain = clone(model).set_output(transform="default").fit(V, T).transform(V, T)
    frame = pd.DataFrame(V, index=range(7, 67), columns=list("abcdefgh"))
    image, text = clone(model).fit(frame, T).transform(frame, T)
    assert [*image.columns] == [f"smoothviews{i}" for i in range(4)] and [*image.index] == [*frame.index]
    np.testing.assert_array_equal(image, plain[0])
    np.testing.assert_array_equal(text, plain[1])
    np.testing.assert_array_equal(model.predict(V), clone(model).set_output(transform="default").fit(V, T).predict(V))
    (alone,) = SmoothViews(3).set_output(transform="pandas").fit_transform(V)
    assert alone.shape == (60, 8)
