"""The scale study's runner: rows that are moved as real ones move, a run that is interrupted, a rival that takes too long."""

import sys

import numpy as np
import pandas as pd
import pytest
import scale

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processor time and memory are limited the POSIX way")
MEASURED = ["seconds", "wall", "gb"]  # no two runs agree in these


@pytest.fixture(autouse=True, scope="module")
def one_core():
    "For the processes of the study: on more, small matrices only wait for each other."
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture
def rows():
    "60 unit rows of three classes, and the same ones turned a little."
    rng = np.random.default_rng(0)
    y, centres = np.arange(60) % 3, rng.normal(size=(3, 40))
    before = scale.unit(centres[y] + 0.8 * rng.normal(size=(60, 40)))
    return before, scale.unit(before + 0.4 * scale.unit(rng.normal(size=(60, 40)))), y


def test_moves_say_how_far_and_where(rows):
    before, after, _ = rows
    angles, directions = scale.moves(before, after)
    again = np.cos(angles)[:, None] * before + np.sin(angles)[:, None] * directions
    assert np.abs(again - after).max() < 1e-5 and np.abs((directions * before).sum(axis=1)).max() < 1e-5
    assert np.abs(np.linalg.norm(directions, axis=1) - 1).max() < 1e-5 and 0.3 < np.median(angles) < 0.5


def test_moved_rows_keep_length_angle_and_class_means(rows):
    before, after, y = rows
    many, of = np.tile(before, (50, 1)), np.tile(y, 50)
    angles, directions = scale.moves(before, after)
    new = scale.moved(many, angles, directions, np.random.default_rng(0))
    turned = np.arccos((new * many).sum(axis=1).clip(-1, 1))
    assert new.dtype == np.float32 and np.abs(np.linalg.norm(new, axis=1) - 1).max() < 1e-5
    assert np.abs(np.sort(turned)[::50] - np.sort(angles)).max() < 0.05  # by real angles, and by no others
    mean = lambda x, c: scale.unit(x[of == c].mean(axis=0)[None])[0]
    for c in range(3):
        assert mean(new, c) @ mean(many, c) > 0.99 > max(mean(new, c) @ mean(many, other) for other in range(3) if other != c)


def test_repeated_rows_begin_with_the_real_ones(tmp_path, rows):
    before, after, y = rows
    same = np.arange(40) % 4 > 0
    of = dict(v=before, t=after, y=y, near_v=after[:40], near_t=np.where(same[:, None], after[:40], before[:40]), of=np.arange(40), same=same)
    scale._repeated(of, 600, 40, 0, tmp_path)
    v, t, labels = (np.load(tmp_path / f"{name}.npy") for name in "vty")
    order = np.random.default_rng(0).permutation(60)
    assert np.array_equal(v[:60], scale.unit(before[order])) and np.array_equal(labels, np.tile(y[order], 10))
    assert (v[60:] != np.tile(v[:60], (9, 1))).any(axis=1).all()  # every repeated row is moved …
    assert abs((t[60:] == np.tile(t[:60], (9, 1))).all(axis=1).mean() - 0.75) < 0.06  # … and a caption as often as real ones change
    some = dict(of, v=before, y=y)
    (tmp_path / "few").mkdir()
    scale._repeated(some, 20, 8, 0, tmp_path / "few")
    assert np.load(tmp_path / "few" / "v.npy").shape == (20, 8)
    narrow = before @ scale._narrow(before, 8)
    assert (narrow**2).sum() > 0.5 * (before**2).sum() and np.abs((before @ scale._narrow(before, 40)) ** 2).sum() == pytest.approx(60, rel=1e-4)


@pytest.fixture
def tiny(monkeypatch):
    one = dict(axis="wrong", data="simulated", n=60, d=64, c=3, image=0.7, text=0.7, wrong=0.0, seed=0)
    sets = [(one | dict(wrong=wrong), ["kmeans-both", "kmeans-text"]) for wrong in (0.0, 0.5)]
    monkeypatch.setattr(scale, "_sets", lambda axis, seeds: sets if axis == "wrong" else [])
    return scale.plan(["wrong"])


def test_an_interrupted_study_ends_in_the_same_table(tmp_path, tiny, monkeypatch):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut): folder.mkdir()
    scale.run_missing(tiny, tmp_path, whole)
    true, made = scale.run, []

    def stopping(row, folder):
        if len(made) == 3 and not made.append("stopped"): raise KeyboardInterrupt
        return made.append(row) or true(row, folder)

    monkeypatch.setattr(scale, "run", stopping)
    with pytest.raises(KeyboardInterrupt): scale.run_missing(tiny[::-1], tmp_path, cut)
    assert len(scale.rows_of(cut)) == 3
    scale.run_missing(tiny, tmp_path, cut)
    assert len(made) == 5  # three, the stop, and the one that was missing
    a, b = (scale.rows_of(folder) for folder in (whole, cut))
    pd.testing.assert_frame_equal(a.drop(columns=MEASURED), b.drop(columns=MEASURED))
    assert len(a) == 4 and a.ACC.between(0.3, 1).all() and (a.seconds > 0).all() and a.note.isna().all() and not (whole / "now").exists()
    assert a[a.wrong == 0].ACC.mean() > a[a.wrong == 0.5].ACC.mean()


def test_what_takes_too_long_or_is_refused_is_a_row(tmp_path, monkeypatch):
    one = dict(axis="n", data="simulated", n=3_000, d=64, c=3, image=0.7, text=0.7, wrong=0.0, seed=0, recipe="temi", key="")
    scale.make(one, tmp_path, tmp_path, tmp_path / "set")
    monkeypatch.setattr(scale, "SECONDS", 1)
    late = scale.run(one, tmp_path / "set")
    assert late["note"] == "more than 1 s" and "ACC" not in late
    refused = scale.run(one | dict(recipe="kmeans-both", c=4_000), tmp_path / "set")
    assert "3000" in refused["note"].replace(",", "") and "ACC" not in refused
