"""SAC and SEIC: what they refuse, how they train, what their files keep, and that a memory map gives what the
array gives."""

import contextlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.cluster import KMeans

from sac_seic import sac as sac_module
from sac_seic import sac_losses, seic_losses
from sac_seic.evaluate import accuracy
from sac_seic.models import heads
from sac_seic.pairs import nearest_neighbors
from sac_seic.sac import SAC
from sac_seic.seic import SEIC

pytestmark = pytest.mark.usefixtures("one_thread")

RNG = np.random.default_rng(0)
Y = np.arange(120) % 4
V, T = ((np.eye(4, d)[Y] + 0.3 * RNG.normal(size=(120, d))).astype(np.float32) for d in (12, 7))
NEAR = RNG.integers(0, 120, (120, 5))


def sac(n_clusters=4, **settings): return SAC(n_clusters, **{"k": 5, "max_steps": 12, **settings})


def seic(n_clusters=4, **settings):
    return SEIC(n_clusters, **{"projection_dim": 6, "lr": 1e-2, "max_steps": 12, **settings})


BOTH = pytest.mark.parametrize("make", [sac, seic])


def assert_same(one, two, *names):
    for name in names: np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert one.history_ == two.history_ and one.n_steps_ == two.n_steps_


# What is refused -------------------------------------------------------------------------------------------

WHOLE = [("batch_size", -1), ("batch_size", 0), ("batch_size", 2.5), ("patience", 0),
         ("max_steps", -1), ("max_steps", 1.5)]
NUMBERS = [("lr", 0), ("lr", -1e-3), ("lr", float("nan")), ("lr", "fast"),
           ("tolerance", -1), ("sharpness", 0),
           ("random_state", -1), ("random_state", "now"), ("init", "best"), ("temperature", 0)]
OF_SAC = [("k", 0), ("k", -3), ("scale", 0), ("balance", 1.5), ("lambda_a", -1),
          ("hidden", 0), ("neighbors", "all"),
          ("objective", {"temperature": 2})]
OF_SEIC = [("projection_dim", 0), ("cluster_temperature", -1), ("alpha", -1),
           ("delta", float("inf")), ("momentum", 1),
           ("balance", "even"), ("weighting", "sum")]


@pytest.mark.parametrize("make, name, value", [*((make, *x) for make in (sac, seic) for x in WHOLE + NUMBERS),
                                               *((sac, *x) for x in OF_SAC), *((seic, *x) for x in OF_SEIC)])
def test_impossible_settings_are_refused(make, name, value):
    with pytest.raises(ValueError, match=f"^{name} is .*; it must be .*\\.$"): make(**{name: value}).fit(V, T)


@BOTH
@pytest.mark.parametrize("n_clusters", [1, 121, 2.5, "4"])
def test_impossible_numbers_of_clusters_are_refused(make, n_clusters):
    with pytest.raises(ValueError, match=f"between 2 and the number of images, 120; it is {n_clusters}"):
        make(n_clusters).fit(V, T)


@BOTH
def test_a_device_that_is_not_there_is_refused(make):
    with pytest.raises(ValueError, match="There is no device 'gpu' here"): make(device="gpu").fit(V, T)


@pytest.mark.parametrize("name", ["nbr_v", "nbr_t"])
@pytest.mark.parametrize("nbr, said", [
    (NEAR[:60], "it must hold row numbers, 120×k"), (NEAR[:, 0], "120×k"), (NEAR[:, :0], "120×k"),
    (NEAR / 2, "row numbers"), (NEAR + 1, "from 1 to 120, but there are rows 0 to 119"),
    (NEAR - 1, "from -1 to 118")])
def test_neighbours_that_do_not_fit_are_refused(name, nbr, said, tmp_path):
    assert NEAR.min() == 0 and NEAR.max() == 119
    np.save(tmp_path / "nbr.npy", nbr)
    for given in (nbr, np.load(tmp_path / "nbr.npy", mmap_mode="r" if nbr.size else None)):
        with pytest.raises(ValueError, match=f"{name} .*{said}"): sac().fit(V, T, **{name: given})


def test_all_others_are_neighbours_where_k_is_too_many():
    assert_same(sac(k=99).fit(V[:10], T[:10]), sac(k=9).fit(V[:10], T[:10]), "p_", "q_")


def test_neighbours_may_be_unsigned():
    assert_same(sac().fit(V, T, *[NEAR.astype(np.uint32)] * 2), sac().fit(V, T, NEAR, NEAR), "p_", "q_")


@BOTH
def test_what_was_not_fitted_on_is_refused(make):
    model, kind = make().fit(V, T), make().__class__.__name__
    with pytest.raises(ValueError, match=f"X has 7 features, but {kind} is expecting 12 features as input"):
        model.predict(T)
    with pytest.raises(ValueError, match=f"t has 12 columns but this {kind} was fitted on 7"):
        model.predict(V, V)
    with pytest.raises(ValueError, match="120 image embeddings but 1 text embeddings"):
        model.predict(V, T[:1])
    with pytest.raises(ValueError, match="call fit first"): make().save("nowhere")


@BOTH
@pytest.mark.parametrize("v, t, said", [(V, T[:9], "must be pairs"), (V[0], T, "must be a matrix"),
                                        (V * np.nan, T, "v hold NaN"), (V, T + np.inf, "t hold NaN or infinite")])
def test_impossible_embeddings_are_refused(make, v, t, said):
    with pytest.raises(ValueError, match=said): make().fit(v, t)


@BOTH
@pytest.mark.parametrize("start", [Y[:9], Y / 2, Y + 1, Y - 1], ids=["few", "halves", "4", "-1"])
def test_impossible_starts_are_refused(make, start):
    with pytest.raises(ValueError, match="a cluster from 0 to 3 for each of the 120"):
        make().fit(V, T, start=start)


def test_an_mlp_has_no_kmeans_start():
    with pytest.raises(ValueError, match="no k-means start"): sac(hidden=8).fit(V, T)


# Training --------------------------------------------------------------------------------------------------


def planted(n=400, c=4, wrong=0.25, noise=0.55, seed=0):
    "Pairs in c groups: noisy image embeddings, and captions of which a quarter belong to another group."
    rng = np.random.default_rng(seed)
    y = np.arange(n) % c
    told = np.where(rng.random(n) < wrong, (y + rng.integers(1, c, n)) % c, y)
    look = lambda group, d, sd: (np.eye(c, d)[group] + sd * rng.normal(size=(n, d))).astype(np.float32)
    return look(y, 16, noise), look(told, 12, 0.1), y


@pytest.fixture(scope="module")
def trained():
    v, t, y = planted()
    return SAC(4, lr=1e-2, random_state=0).fit(v, t), v, t, y


def test_training_stops_by_itself_and_mends_the_start(trained):
    model, v, t, y = trained
    kmeans = accuracy(y, KMeans(4, n_init=10, random_state=0).fit_predict(heads.unit(v).numpy()))
    assert model.n_steps_ < model.max_steps and model.history_[-1]["changed"] < model.tolerance
    moved = np.mean(model.labels_ != model.start_labels_)
    assert model.history_[-1]["moved"] == pytest.approx(moved) and moved > 0.05
    assert accuracy(y, model.predict(v, t)) > max(0.75, kmeans, accuracy(y, model.start_labels_))


def test_the_same_seed_gives_the_same_to_the_bit(trained):
    model, v, t, _ = trained
    assert_same(SAC(4, lr=1e-2, random_state=0).fit(v, t), model, "p_", "q_")
    assert not np.array_equal(SAC(4, lr=1e-2, random_state=1).fit(v, t).p_, model.p_)


def test_answers_are_those_of_the_heads(trained):
    model, v, t, _ = trained
    np.testing.assert_array_equal(model.predict(v), model.labels_)
    np.testing.assert_allclose(model.predict_proba(v), model.p_, atol=1e-6)
    both = model.p_ * model.q_
    np.testing.assert_allclose(model.predict_proba(v, t), both / both.sum(1, keepdims=True), atol=1e-5)


def test_it_begins_at_clusters_of_our_own():
    begun = SAC(4, max_steps=0).fit(V, T, start=Y)
    assert np.mean(begun.start_labels_ == Y) > 0.95 # names of clusters included
    np.testing.assert_array_equal(begun.labels_, begun.start_labels_)
    assert begun.n_steps_ == 0 and begun.history_ == []


def test_epochs_count_before_steps():
    thrice = sac(epochs=3, batch_size=30, tolerance=0, max_steps=5).fit(V, T)
    assert thrice.n_steps_ == 12 and len(thrice.history_) == 3


def test_the_balance_term_balances():
    entropy = lambda p: -(p.mean(0) * np.log(p.mean(0) + 1e-12)).sum()
    from_random = dict(init="random", lr=1e-2, max_steps=100)
    v, t, _ = planted()
    balanced, unbalanced = (entropy(SAC(4, lambda_b=b, **from_random).fit(v, t).p_) for b in (4.0, 0.0))
    assert balanced > 0.99 * np.log(4) > unbalanced


def test_fit_is_the_plain_loop_where_a_batch_is_everything():
    "Eq. 2, the four averages, Eq. 14, Adam: nothing else happens in a step."
    settings = dict(init="random", lr=3e-2, max_steps=30, tolerance=0, k=5)
    model, begun = SAC(4, **settings).fit(V, T), SAC(4, **settings | {"max_steps": 0}).fit(V, T)
    v, t = heads.unit(V), heads.unit(T)
    near = [torch.from_numpy(nearest_neighbors(x.numpy(), 5)) for x in (t, v)]
    adam = torch.optim.Adam(begun.heads_.parameters(), lr=3e-2)
    for entry in model.history_:
        p, q = begun.heads_[0](v), begun.heads_[1](t)
        loss = sac_losses.sac_objective(p, q, sac_losses.four_neighbor_means(p.detach(), q.detach(), *near))
        assert entry["total"] == pytest.approx(loss.total.item(), abs=1e-3)
        adam.zero_grad()
        loss.total.backward()
        adam.step()
    assert abs(model.history_[0]["total"] - model.history_[-1]["total"]) > 0.5


ODD = {"identical": (np.ones((40, 5)), np.ones((40, 3)), 3), "zeros": (np.zeros((40, 5)), np.zeros((40, 3)), 3),
       "k ≥ n": (V[:6], T[:6], 2), "c = n": (V[:6], T[:6], 6),
       "two points, 5 clusters": (np.eye(2)[Y[:40] % 2], np.eye(2)[Y[:40] % 2], 5)}


@pytest.mark.parametrize("init, neighbors", [("kmeans", "bank"), ("random", "exact")])
@pytest.mark.parametrize("v, t, c", ODD.values(), ids=ODD)
def test_no_input_gives_nan(v, t, c, init, neighbors):
    odd = SAC(c, init=init, neighbors=neighbors, max_steps=20).fit(v, t)
    assert np.isfinite(odd.p_).all() and np.isfinite(odd.q_).all() and len(odd.labels_) == len(v)
    assert all(np.isfinite(entry["total"]) for entry in odd.history_)


def test_only_directions_count():
    np.testing.assert_allclose(sac().fit(7 * V, T / 3).p_, sac().fit(V, T).p_, atol=1e-4)


# Seeds -----------------------------------------------------------------------------------------------------


@BOTH
def test_without_a_seed_one_is_drawn_and_kept(make):
    one, other = make(random_state=None).fit(V, T), make(random_state=None).fit(V, T)
    assert one.seed_ != other.seed_ and one.get_params()["random_state"] is None
    assert_same(make(random_state=one.seed_).fit(V, T), one, "labels_")
    state = np.random.get_state()
    np.random.seed(0) # as in scikit-learn, NumPy's own generator decides
    again = [np.random.seed(0) or make(random_state=None).fit(V, T).seed_ for _ in range(2)]
    np.random.set_state(state)
    assert again[0] == again[1]


# Files -----------------------------------------------------------------------------------------------------


@BOTH
def test_a_file_keeps_what_fit_found(make, tmp_path):
    model = make().fit(V, T)
    model.save(tmp_path / "model")
    loaded = type(model).load(tmp_path / "model")
    assert_same(loaded, model, "labels_")
    assert loaded.labels_.dtype == model.labels_.dtype and loaded.seed_ == model.seed_ == 0
    assert loaded.n_features_in_ == model.n_features_in_ == 12 and not hasattr(make(), "n_features_in_")
    for views in ((V,), (V, T)):
        np.testing.assert_array_equal(loaded.predict_proba(*views), model.predict_proba(*views))
    if make is seic: assert loaded.temperature_ == model.temperature_ != 0.07


@BOTH
def test_settings_may_be_numbers_of_numpy(make, tmp_path):
    model = make(np.int64(4), lr=np.float32(1e-2), batch_size=np.int32(64),
                 random_state=np.int64(3)).fit(V, T)
    model.save(tmp_path / "model")
    loaded = type(model).load(tmp_path / "model")
    assert loaded.get_params() == model.get_params()
    assert_same(loaded.fit(V, T), model, "labels_")


def test_the_files_of_the_two_are_not_mixed_up(tmp_path):
    sac().fit(V, T).save(tmp_path / "model")
    with pytest.raises(ValueError, match="not a file that SEIC.save wrote"): SEIC.load(tmp_path / "model")


# Memory maps -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make, names", [(sac, ("p_", "q_")), (seic, ("pv_", "pt_")),
                                         (lambda: sac(init="random", neighbors="exact"), ("p_", "q_"))])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_memory_map_gives_what_the_array_gives(make, names, dtype, tmp_path):
    arrays = {"v": V.astype(dtype), "t": T.astype(dtype), "near": NEAR.astype(np.int32)}
    for name, x in arrays.items(): np.save(tmp_path / f"{name}.npy", x)
    maps = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in arrays}
    for also in [(), ("near", "near")] if "p_" in names else [()]:
        models = [make().fit(*(source[name] for name in ("v", "t", *also))) for source in (arrays, maps)]
        assert_same(*models, "labels_", *names)
    np.testing.assert_array_equal(*(model.predict_proba(source["v"], source["t"])
                                    for model, source in zip(models, (arrays, maps))))


@pytest.fixture
def in_blocks(monkeypatch):
    "Rows go through in blocks of 50, and k-means sees a sample; the list fills with how many were read at once."
    sizes, unit = [], heads.unit
    for module in (heads, sac_module): monkeypatch.setattr(module, "BLOCK", 50)
    monkeypatch.setattr(heads, "_KMEANS_ROWS", 60)
    monkeypatch.setattr(heads, "unit", lambda x: (sizes.append(len(x)), unit(x))[1])
    return sizes


def test_a_map_is_read_a_block_at_a_time(in_blocks, tmp_path):
    v, t, y = planted(n=1000, noise=0.3)
    maps = []
    for name, x in (("v", v), ("t", t)):
        np.save(tmp_path / f"{name}.npy", x)
        maps.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    near = [nearest_neighbors(heads.unit(x).numpy(), 5) for x in (v, t)]
    make = lambda: SAC(4, max_steps=40, batch_size=64)
    in_blocks.clear()
    from_maps = make().fit(*maps, *near)
    assert max(in_blocks) == 200 # 50 a cluster in the sample of k-means; blocks and batches are smaller
    assert_same(make().fit(v, t, *near), from_maps, "p_", "q_", "labels_")
    assert accuracy(y, from_maps.predict(v, t)) > 0.7


def test_a_start_is_the_same_in_blocks(monkeypatch):
    v, t = heads.unit(V), heads.unit(T)
    whole = sac_module.kmeans_start(v, t, 4, 5.0, seed=0)
    for module in (heads, sac_module): monkeypatch.setattr(module, "BLOCK", 50)
    for pair, again in zip(whole, sac_module.kmeans_start(v, t, 4, 5.0, seed=0)):
        for x, y in zip(pair, again): torch.testing.assert_close(x, y, atol=1e-5, rtol=0)


# Losses ----------------------------------------------------------------------------------------------------


def test_the_balance_is_finite_in_half_precision():
    b = torch.tensor([1.0, 0.0, 0.0])
    h = torch.tensor([0.6, 0.3, 0.1])
    for x in (b, h):
        value = seic_losses.balance_loss(x.half(), x.half(), h.half())
        torch.testing.assert_close(value, seic_losses.balance_loss(x, x, h), atol=1e-2, rtol=0)


def test_no_loss_looks_at_values_that_are_not_on_the_cpu(monkeypatch):
    "The meta device has none to look at: it raises where a GPU would make the host wait."
    # autocast knows no meta device
    monkeypatch.setattr(torch, "autocast", lambda *_, **more: contextlib.nullcontext())
    p, q, zv, zt = (torch.rand(8, 4, device="meta") for _ in range(4))
    near, tau = torch.zeros(8, 3, dtype=torch.long, device="meta"), torch.ones((), device="meta")
    means = sac_losses.four_neighbor_means(p, q, near, near)
    assert sac_losses.sac_objective(p, q, means, symmetric=True).total.shape == ()
    for balance in (seic_losses.DynamicBalance(4).to("meta"), "entropy"):
        assert seic_losses.alignment_objective(zv, zt, p, q, balance, temperature=tau).total.shape == ()


def test_on_the_cpu_logits_are_refused():
    logits = torch.tensor([[2.0, -1.0], [0.0, 1.0]])
    for loss in (sac_losses.bidirectional_alignment, seic_losses.assignment_contrastive):
        with pytest.raises(ValueError, match="not logits"): loss(logits, logits)


# The package -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SAC", "SEIC"])
def test_both_are_found_in_the_package(name):
    code = f"import sac_seic, sys; assert 'torch' not in sys.modules; print(sac_seic.{name}.__module__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == f"sac_seic.{name.lower()}\n", done.stderr


@BOTH
def test_scikit_learn_can_clone_them(make):
    copy = clone(make(random_state=5))
    assert copy.get_params() == make(random_state=5).get_params() and not hasattr(copy, "labels_")
