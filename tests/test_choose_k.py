"""`choose_k` on sets it must get right, sets it must doubt, and input that is not one."""

import json

import matplotlib
import numpy as np
import pytest
from sac_seic.data.files import no_progress
from sac_seic.pairs import nearest_neighbors
from sac_seic.tool import choose_k as module
from sac_seic.tool.choose_k import KChoice, choose_k


def groups(k: int, each: int, noise: float = 0.05, d: int = 32) -> np.ndarray:
    "k groups of equal size, far apart."
    rng = np.random.default_rng(k)
    return np.repeat(np.eye(k, d), each, axis=0) + noise * rng.normal(size=(k * each, d))


@pytest.mark.parametrize("k", [2, 3, 7, 15])
def test_groups_far_apart(k):
    found = choose_k(groups(k, 30), high=18)
    assert (found.k, found.unsure) == (k, False)
    assert found.runner_up != k


def test_sizes_may_differ():
    x = groups(5, 100)
    assert choose_k(np.delete(x, np.r_[10:100, 110:170], axis=0), high=9).k == 5


def test_beyond_the_grid():
    "26 lies between two steps of the grid, and is found all the same; more rows than are solved densely."
    assert 26 not in module._grid(2, 40)
    found = choose_k(groups(26, 20), 22, 40)
    assert found.k == 26 and {25, 26, 27} <= set(found.curve["k"])


def test_between_two_steps():
    found = module._silhouettes(groups(26, 20).astype(np.float32), module._grid(22, 40), 0, no_progress)
    assert max(found, key=found.get) == 26 and {25, 26} <= set(found)


def test_smoothing_pulls_groups_together():
    x = groups(5, 40, noise=0.2)
    seen = module._look(x.astype(np.float32), None)[0]
    assert module._silhouette(seen, 5, 0) > module._silhouette(x, 5, 0) + 0.3


def test_noise_is_doubted():
    x = np.random.default_rng(0).normal(size=(300, 40))
    assert choose_k(x, high=15).unsure


def test_too_low_a_limit_is_doubted():
    found = choose_k(groups(12, 30), high=8)
    assert found.unsure and "8 is the most that was tried" in found.why


def test_same_seed_same_answer():
    x = np.random.default_rng(1).normal(size=(700, 16))
    assert choose_k(x, high=9, seed=3) == choose_k(x, high=9, seed=3) != choose_k(x, high=9, seed=4)


def test_length_and_type_do_not_matter():
    x = groups(4, 30).astype(np.float32)
    before = x.copy()
    for same in (x, 7 * x, x.astype(np.float16), np.asfortranarray(x), (100 * x).astype(int)):
        assert choose_k(same, high=8).k == 4
    assert (x == before).all()


def test_known_neighbours_are_used():
    x = groups(4, 30)
    found = choose_k(x, high=8)
    assert choose_k(x, high=8, nbr=nearest_neighbors(x, 15)) == found
    pairs = (np.arange(120) ^ 1)[:, None]
    assert choose_k(x, high=8, nbr=pairs).curve["eigengap"] != found.curve["eigengap"]


def test_a_sample_of_many(monkeypatch):
    monkeypatch.setattr(module, "ROWS", 200)
    monkeypatch.setattr(module, "CLUSTERED", 100)
    seen, x = [], groups(4, 100)
    fit = module._silhouette
    monkeypatch.setattr(module, "_silhouette", lambda x, k, seed: seen.append(len(x)) or fit(x, k, seed))
    found = choose_k(x, high=10, nbr=np.zeros((400, 15), int))  # neighbours of rows left out are of no use
    assert found.k == 4 and set(seen) == {100}


def test_copies():
    "Graphs in pieces, where ARPACK finds many equal eigenvalues."
    x = np.repeat(np.random.default_rng(0).normal(size=(30, 32)), 25, axis=0)
    assert choose_k(x, 25, 60).k == 30


def test_more_pieces_than_k():
    x = np.repeat(np.random.default_rng(0).normal(size=(50, 32)), 15, axis=0)
    found = choose_k(x, high=12)
    assert found.unsure and set(found.curve["eigengap"]) == {0.0} and found.k == 12


@pytest.mark.parametrize("n", range(3, 16))
def test_tiny(n):
    found = choose_k(np.random.default_rng(n).normal(size=(n, 5)))
    assert 2 <= found.k <= max(2, n // 5) and (found.unsure or n >= 15)


def test_two_kinds_of_rows():
    assert choose_k(np.repeat(np.eye(2, 3), 20, axis=0)).k == 2
    assert choose_k(np.r_[np.ones((39, 3)), np.eye(1, 3)]).k == 2


def test_one_number_a_row():
    assert choose_k(np.linspace(-1, 1, 30)[:, None]).k == 2


@pytest.mark.parametrize("x, says", [
    (np.ones((2, 3)), "too few images"), (np.empty((0, 3)), "too few images"),
    (np.ones((30, 3)), "look the same"), (np.zeros((30, 3)), "look the same"),
    (np.geomspace(0.01, 77, 30)[:, None] * np.arange(1, 9), "look the same"),  # one direction, thirty lengths
    (np.ones(30), "a row for each image"), (np.ones((30, 0)), "a row for each image"),
    (np.full((30, 3), np.nan), "NaN or infinite"), (np.full((30, 3), np.inf), "NaN or infinite")])
def test_refused(x, says):
    with pytest.raises(ValueError, match=says): choose_k(x)


@pytest.mark.parametrize("low, high, says", [(1, 5, "from 2 on"), (6, 5, "upwards"), (9, 20, "too high a start")])
def test_range_refused(low, high, says):
    with pytest.raises(ValueError, match=says): choose_k(groups(4, 10), low, high)


def test_range_is_kept():
    ks = choose_k(groups(6, 30), 4, 9).curve["k"]
    assert ks == [4, 5, 6, 7, 8, 9]


def test_wrong_neighbours_refused():
    with pytest.raises(ValueError, match="neighbours of 9"): choose_k(groups(4, 10), nbr=np.zeros((9, 15), int))


def test_json():
    found = choose_k(groups(4, 30), high=6)
    back = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert KChoice(**back) == found
    assert len({len(values) for values in back["curve"].values()}) == 1
    assert type(found.k) is int and type(found.unsure) is bool


def test_progress():
    steps = []
    class Bar:
        def __init__(self, total, desc): self.total = total
        def __enter__(self): return self
        def __exit__(self, *error): steps.append(self.total)
        def update(self, n): self.total -= n
    choose_k(groups(4, 20), high=6, progress=Bar)
    assert steps == [0]


def test_plot():
    matplotlib.use("Agg")
    found = choose_k(groups(4, 30), high=8)
    ax = found.plot()
    assert ax.get_title() == "k = 4" and list(ax.lines[0].get_xdata()) == found.curve["k"]
    assert found.plot(ax) is ax
    matplotlib.pyplot.close("all")


def decided(heights, gaps): return module._decide(np.arange(2, 7), np.array(heights), np.array(gaps))


@pytest.mark.parametrize("heights, gaps, k, runner_up, unsure", [
    ([.1, .2, .9, .2, .1], [.0, .0, .5, .0, .1], 4, None, False),  # agreed
    ([.1, .2, .3, .9, .1], [.0, .0, .5, .0, .1], 5, 4, False),     # within a quarter: the silhouette's
    ([.1, .9, .2, .3, .1], [.0, .0, .0, .5, .1], 5, 3, True),      # not: the eigengap's
    ([.1, .9, .2, .3, .1], [.0, .5, .0, .0, .1], 3, 5, False),     # the runner-up is the silhouette's next hill
    ([.1, .9, .89, .88, .1], [.0, .5, .0, .0, .1], 3, None, True), # flat
    ([.1, .39, .2, .1, .1], [.0, .5, .0, .0, .1], 3, None, True),  # low
    ([.1, .2, .3, .4, .9], [.0, .0, .0, .0, .5], 6, None, True)])  # the last one tried
def test_who_wins(heights, gaps, k, runner_up, unsure):
    found = decided(heights, gaps)
    assert (found.k, found.runner_up, found.unsure) == (k, runner_up, unsure)
    assert found.why.endswith(".") and found.why[0].isupper()
