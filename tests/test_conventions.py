"""scikit-learn's own checks, on estimators that take two views: they get the same matrix twice."""

from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from sac_seic.baselines import KMeansViews, SpectralClusters, UMAPWard
from sac_seic.data.files import no_progress
from sac_seic.rivals import SCAN, TAC, TEMI, TURTLE
from sac_seic.sac import SAC
from sac_seic.seic import SEIC
from sac_seic.smoothing import SmoothViews


def twice(cls, **defaults):
    "A subclass that is given one matrix, as scikit-learn's checks do, and takes it for both views."
    @dataclass(eq=False, repr=False)
    class Twice(cls):
        n_clusters: int = 2

        def __setattr__(self, name, x): # some checks ask for one cluster, which is refused; two do as well
            super().__setattr__(name, 2 if (name, x) == ("n_clusters", 1) else x)

        def fit(self, X, y=None): return super().fit(X, X, progress=no_progress)
        def fit_predict(self, X, y=None): return self.fit(X).labels_
        if hasattr(cls, "transform"):
            def transform(self, X): return super().transform(X, X)[0]
            def fit_transform(self, X, y=None): return self.fit(X).transform(X)
    Twice.__name__ = Twice.__qualname__ = f"Twice{cls.__name__}"
    globals()[Twice.__name__] = Twice # where pickle looks for it
    return Twice(**defaults)


ESTIMATORS = [
    twice(SAC, k=3, max_steps=2), twice(SEIC, projection_dim=4, max_steps=2), twice(TAC, k=3, epochs=12),
    twice(SCAN, k=3, n_heads=2, epochs=8), twice(TEMI, k=3, n_heads=2, epochs=1), twice(TURTLE, steps=2, inner_steps=2),
    twice(KMeansViews, n_init=1), twice(SmoothViews, k=3, n_init=1), twice(SpectralClusters), twice(UMAPWard)]


@parametrize_with_checks(ESTIMATORS)
def test_scikit_learns_checks(estimator, check):
    check(estimator)
