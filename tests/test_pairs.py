"""Exact neighbours up to a number of rows, above approximate ones with a warning; and what can't be searched."""

import warnings

import numpy as np
import pytest

from sac_seic import pairs
from sac_seic.pairs import nearest_neighbors

X = np.random.default_rng(0).normal(size=(200, 16)).astype(np.float32)


def loops(x, k):
    cosine = x @ x.T / np.outer(np.linalg.norm(x, axis=1), np.linalg.norm(x, axis=1))
    return np.array([sorted((j for j in range(len(x)) if j != i), key=lambda j: -cosine[i, j])[:k] for i in range(len(x))])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_all_rows_are_searched_up_to_the_limit(monkeypatch, dtype):
    monkeypatch.setattr(pairs, "EXACT_ROWS", 200)
    x = X.astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(nearest_neighbors(x, 7), loops(x.astype(np.float32), 7))


def test_above_it_a_warning_says_how_many_were_found(monkeypatch):
    monkeypatch.setattr(pairs, "EXACT_ROWS", 199)
    with pytest.warns(UserWarning, match=r"The 7 neighbours of 200 rows are approximate: \d+\.\d %"): nearly = nearest_neighbors(X, 7)
    assert nearly.dtype == np.int32 and not (nearly == np.arange(200)[:, None]).any()
    assert (nearly == loops(X, 7)).mean() > 0.5


@pytest.mark.parametrize("x, k, sentence", [(np.ones((1, 4)), 5, "at least two rows"), (np.ones((3, 4)), 0, "must be at least 1"), (np.full((3, 4), np.nan), 1, "NaN or infinite")])
def test_what_cannot_be_searched_is_said(x, k, sentence):
    with pytest.raises(ValueError, match=sentence): nearest_neighbors(x, k)


def test_equal_rows_find_others():
    near = nearest_neighbors(np.ones((50, 4)), 5)
    assert near.shape == (50, 5) and not (near == np.arange(50)[:, None]).any() and nearest_neighbors(X[:4], 20).shape == (4, 3)
