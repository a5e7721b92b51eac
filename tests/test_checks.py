"""The checks: what they find in planted data, and what they refuse."""
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sac_seic.pairs import nearest_neighbors
from sac_seic.tool import checks
from sac_seic.tool.checks import (agreement, calibrate, check_images, nearest_similarity, odd_ones,
                                  share_unlike)


def planted(n=400, k=4, d=24, noise=0.5, seed=0):
    "Image and text embeddings of k classes, and the classes."
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    view = lambda d: (rng.normal(size=(k, d))[y] + noise * rng.normal(size=(n, d))).astype(np.float32)
    return view(d), view(16), y


def sure(n, seed=0): return np.random.default_rng(seed).random(n)


@pytest.fixture(scope="module")
def whole():
    v, t, y = planted()
    return v, t, y, check_images(v, y, sure(len(y)), 4, t=t, truth=y)


def test_fields_have_their_types_and_ranges(whole):
    _, _, y, found = whole
    for name in ("probability", "caption_doubt", "label_doubt"):
        x = getattr(found, name)
        assert x.dtype == np.float32 and x.shape == y.shape and x.min() >= 0 and x.max() <= 1, name
    assert found.between.dtype == found.outlier.dtype == bool
    for name in ("second", "duplicate_of", "suggested"): assert getattr(found, name).dtype == np.int64
    assert (found.second != y).all() and (found.duplicate_of <= np.arange(len(y))).all()


def test_without_text_and_labels_there_are_no_such_doubts():
    v, _, y = planted()
    found = check_images(v, y, sure(len(y)), 4)
    assert found.caption_doubt is found.label_doubt is found.suggested is None
    assert not {"text disagrees", "label looks wrong"} & set(odd_ones(found))


def test_same_seed_same_answer(whole):
    v, t, y, found = whole
    again = check_images(v, y, sure(len(y)), 4, t=t, truth=y, nbr=nearest_neighbors(v, 30))
    for name, x in vars(found).items(): assert_array_equal(x, getattr(again, name), err_msg=name)


def test_clear_clusters_agree_and_random_labels_do_not():
    v, t, y = planted(noise=0.2)
    assert agreement(v, y, 4, t).mean() > 0.8
    assert agreement(v, np.random.default_rng(0).permutation(y), 4, t).mean() < 0.5


def test_a_text_that_says_something_else_lowers_the_agreement():
    v, t, y = planted(noise=0.2)
    shuffled = np.random.default_rng(1).permutation(t) * 5
    assert agreement(v, y, 4, shuffled).mean() < agreement(v, y, 4).mean() - 0.05


def test_probability_never_falls_with_confidence_and_keeps_the_mean():
    same, confidence = sure(300, 1), sure(300, 2)
    p = calibrate(confidence, same)
    assert (np.diff(p[np.argsort(confidence)]) >= 0).all() and abs(p.mean() - same.mean()) < 1e-5
    assert_allclose(calibrate(confidence * 100 - 7, same), p)  # any scale


def test_probability_is_near_the_share_of_right_ones():
    v, t, y = planted(n=1000, noise=1.6, seed=1)
    from sklearn.cluster import KMeans
    from sac_seic.evaluate import match_clusters
    kmeans = KMeans(4, n_init=5, random_state=0).fit(v)
    near, second = np.sort(kmeans.transform(v), axis=1)[:, :2].T
    found = check_images(v, kmeans.labels_, 1 - near / second, 4, t=t)
    match = match_clusters(y, kmeans.labels_)
    right = np.array([match[c] for c in kmeans.labels_]) == y
    assert abs(found.probability.mean() - right.mean()) < 0.15
    assert found.probability[right].mean() > found.probability[~right].mean()


def test_images_halfway_are_between():
    v, _, y = planted(noise=0.15)
    middles = [(v[y == a].mean(axis=0) + v[y == b].mean(axis=0)) / 2 for a, b in ((0, 1), (2, 3))]
    v = np.r_[v, np.float32(middles)]
    labels = np.r_[y, 0, 2]
    found = check_images(v, labels, sure(len(v)), 4)
    assert found.second[-2:].tolist() == [1, 3]
    assert found.between[-2:].any() and found.between[:-2].mean() < 0.02
    assert set(odd_ones(found).get("between two clusters", [])) <= set(np.flatnonzero(found.between))


def test_a_stranger_is_an_outlier_and_comes_first():
    v, _, y = planted()
    stranger = np.zeros((1, v.shape[1]), np.float32)
    stranger[0, 0] = -1
    stranger -= v.mean(axis=0) * 3
    found = check_images(np.r_[v, stranger], np.r_[y, 0], sure(len(y) + 1), 4)
    assert found.outlier[-1] and found.outlier[:-1].mean() < 0.03
    assert odd_ones(found)["unlike the others"][0] == len(y)


def test_copies_are_grouped_under_the_first_and_others_are_not():
    v, _, y = planted()
    rng = np.random.default_rng(3)
    near = v[:10] + 0.02 * rng.normal(size=(10, v.shape[1])).astype(np.float32)
    found = check_images(np.r_[v, near, v[[5] * 20]], np.r_[y, y[:10], y[[5] * 20]], sure(430), 4)
    assert_array_equal(found.duplicate_of, np.r_[:400, :10, [5] * 20])
    shown = odd_ones(found)["near-duplicates"]
    assert set(shown[:22]) == {5, 405, *range(410, 430)} and len(shown) == 22 + 18  # the largest group first


def test_scale_of_the_embeddings_does_not_matter(whole):
    v, t, y, found = whole
    again = check_images(v * np.float32(1000), y, sure(len(y)), 4, t=t, truth=y)
    assert_array_equal(found.duplicate_of, again.duplicate_of)
    assert_allclose(found.distance, again.distance, atol=1e-3)


def test_wrong_captions_are_doubted():
    from sklearn.metrics import roc_auc_score
    v, t, y = planted()
    odd = np.arange(len(y)) % 10 == 0
    t[odd] = np.roll(t, 1, axis=0)[odd]  # of the class before
    found = check_images(v, y, sure(len(y)), 4, t=t)
    assert roc_auc_score(odd, found.caption_doubt) > 0.95
    assert odd[odd_ones(found)["text disagrees"][:20]].mean() > 0.9


def test_wrong_labels_are_found_and_corrected():
    v, _, y = planted()
    odd = np.arange(len(y)) % 21 == 3
    given = np.where(odd, (y + 1 + np.arange(len(y)) // 84 % 3) % 4, y) * 10 - 5  # classes are any numbers
    found = check_images(v, y, sure(len(y)), 4, truth=given)
    shown = odd_ones(found)["label looks wrong"]
    assert set(np.flatnonzero(odd)) == set(shown[:odd.sum()])
    assert (np.diff(found.label_doubt[shown]) <= 0).all()
    assert_array_equal(found.suggested[odd], y[odd] * 10 - 5)
    assert_array_equal(found.suggested != given, found.label_doubt > 0.5)


def test_a_common_class_does_not_drown_a_rare_one():
    "A class of twenty among 400 has few of its own around, and yet its labels are not all wrong."
    rng = np.random.default_rng(0)
    y = np.r_[np.zeros(400, int), np.ones(20, int)]
    v = (rng.normal(size=(420, 8)) + 1.2 * y[:, None]).astype(np.float32)
    nbr = nearest_neighbors(v, 20)
    vote = (y[nbr] == y[:, None]).mean(axis=1)
    doubt = checks.doubt_labels(y, nbr)[0]
    assert (vote[y == 1] < 0.5).mean() > 0.5 and (doubt[y == 1] > 0.5).mean() < 0.3


@pytest.mark.parametrize("n", [2, 3, 5])
def test_tiny_sets(n):
    v, t, y = planted(n=n, k=2)
    found = check_images(v, y, sure(n), 2, t=t, truth=y)
    assert len(found.probability) == n and np.isfinite(found.probability).all()
    odd_ones(found)


def test_an_empty_cluster_all_copies_one_cluster():
    v, t, y = planted(n=60)
    assert (check_images(v, y, sure(60), 6, t=t).second < 4).all()
    opposite = np.float32([[1, 0], [1, .1], [-1, 0], [-1, .1]]).repeat(20, axis=0)
    assert (check_images(opposite, np.arange(80) // 40, sure(80), 3).second < 2).all()
    copies = check_images(np.ones((60, 8), np.float32), y, sure(60), 4, t=np.ones((60, 5)))
    assert (copies.duplicate_of == 0).all() and not copies.outlier.any()
    one = check_images(v, np.zeros(60, int), sure(60), 1, t=t)
    assert (one.second == 0).all() and (one.probability == 1).all() and not one.between.any()


def test_memory_maps_and_half_precision(tmp_path, whole):
    v, t, y, found = whole
    np.save(tmp_path / "v.npy", v)
    mapped = check_images(np.load(tmp_path / "v.npy", mmap_mode="r"), y, sure(len(y)), 4, t=t, truth=y)
    for name, x in vars(found).items(): assert_array_equal(x, getattr(mapped, name), err_msg=name)
    half = check_images(v.astype(np.float16), y, sure(len(y)), 4)
    assert_allclose(half.distance, found.distance, atol=2e-3)


@pytest.mark.parametrize("change, sentence", [
    (dict(labels=np.zeros(399, int)), "labels has 399 rows for 400 images"),
    (dict(labels=np.full(400, 4)), "from 0 to 3"),
    (dict(labels=np.zeros(400)), "must be whole numbers"),
    (dict(truth=np.full(400, 0.5)), "must be whole numbers"),
    (dict(confidence=np.full(400, np.nan)), "confidence holds NaN"),
    (dict(nbr=np.zeros((400, 3), int)), "give 15 or more"),
    (dict(t=np.ones((5, 3))), "t has 5 rows"),
    (dict(v=np.full((400, 24), np.nan, np.float32)), "NaN or infinite"),
    (dict(v=np.full((400, 24), np.nan, np.float32), nbr=np.zeros((400, 15), int)), "NaN or infinite"),
    (dict(t=np.full((400, 3), np.inf)), "NaN or infinite"),
    (dict(nbr=np.full((400, 15), 400)), "nbr holds 400 to 400"),
])
def test_what_does_not_fit_is_refused_in_one_sentence(change, sentence):
    v, _, y = planted()
    given = {"v": v, "labels": y, "confidence": sure(400), "n_clusters": 4} | change
    with pytest.raises(ValueError, match=sentence) as caught: check_images(**given)
    assert "\n" not in str(caught.value)


def test_one_image_is_too_few():
    with pytest.raises(ValueError, match="at least 2"): check_images(np.ones((1, 4)), [0], [1.], 1)


def test_progress_is_told():
    steps = []
    class Bar:
        def __init__(self, total, desc): steps.append(total)
        def __enter__(self): return self
        def __exit__(self, *error): pass
        def update(self, n): steps[0] -= n
    v, _, y = planted(n=60)
    check_images(v, y, sure(60), 4, progress=Bar)
    assert steps[0] == 0


def test_new_images_like_the_fitted_ones_and_others(tmp_path):
    v, _, y = planted(n=2000)
    fitted, new = v[:1000], v[1000:]
    limit = nearest_similarity(fitted, nearest_neighbors(fitted, 15))
    assert share_unlike(new, fitted, limit) < 0.04
    assert share_unlike(-new, fitted, limit) > 0.5
    np.save(tmp_path / "v.npy", fitted)
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    assert share_unlike(new, mapped, limit) == share_unlike(new, fitted, limit)
    assert share_unlike(new[:0], fitted, limit) == 0
    unit = fitted / np.linalg.norm(fitted, axis=1, keepdims=True)
    cosine = unit @ unit.T - 2 * np.eye(1000)
    assert_allclose(limit, np.percentile(cosine.max(axis=1), 1), atol=1e-5)
