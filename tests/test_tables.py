"""The result as a table: read back by other libraries, with odd names, any numbers, and packages that are missing."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from sac_seic.tool.tables import image_table, neighbor_distances, to_datasets, to_fiftyone, to_json_rows, write_parquet

pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def images(tmp_path):
    (tmp_path / "a").mkdir()
    for i, name in enumerate(["a/1.png", "a/2.png", "3.png"]): Image.new("RGB", (4 + i, 4), (i, 0, 0)).save(tmp_path / name)
    return tmp_path


def table_of(**more):
    return image_table(["a/1.png", "a/2.png", "3.png", "gone.png"], [1, 0, 1, 1], ["car", ""], [0.5, 1, 0, 0.25], ["x", "", "z", "two\nlines"],
                       xy=[[0, 1], [2, 3], [4, 5], [6, 7]], near=([[1, 2], [0, -1], [0, 1], [2, 1]], [[0.1, 0.2], [0.1, 9], [0.2, 0.3], [0.4, 0.5]]),
                       truth=[0, 1, -1, 0], classes=["cat", "dog"], **more)


def test_parquet_is_read_by_pyarrow_and_pandas(tmp_path):
    write_parquet(tmp_path / "images.parquet", table_of(extra={"odd": [True, False, False, True]}))
    rows, types = pq.read_table(tmp_path / "images.parquet"), {f.name: str(f.type) for f in pq.read_schema(tmp_path / "images.parquet")}
    assert types.pop("path") in ("string", "large_string") and {types.pop(c) for c in ("name", "caption", "label")} <= {"string", "large_string"}
    assert list(types.items()) == [("cluster", "int64"), ("confidence", "float"), ("x", "float"), ("y", "float"), ("neighbors", types["neighbors"]), ("odd", "bool")]
    assert types["neighbors"].count("list<") == 2 and "ids" in types["neighbors"] and "distances" in types["neighbors"]
    row = rows.to_pylist()[1]
    assert (row["path"], row["cluster"], row["name"], row["label"], row["y"]) == ("a/2.png", 0, "car", "dog", 3)
    assert row["neighbors"]["ids"] == [0] and rows["label"].to_pylist() == ["cat", "dog", None, "cat"] and rows["name"].to_pylist()[0] == "cluster 1"
    back = pd.read_parquet(tmp_path / "images.parquet")
    assert list(back.caption) == ["x", "", "z", "two\nlines"] and list(back.neighbors[0]["ids"]) == [1, 2]
    assert list(tmp_path.iterdir()) == [tmp_path / "images.parquet"]


def test_columns_for_which_there_is_nothing_are_left_out(tmp_path):
    table = image_table(["a"], [0], [None], [1], None)
    assert list(table) == ["path", "cluster", "name", "confidence", "caption"] and table.caption[0] == ""
    write_parquet(tmp_path / "p", image_table([], [], [], [], [], xy=np.empty((0, 2)), near=(np.empty((0, 3), int), np.empty((0, 3)))))
    assert len(pd.read_parquet(tmp_path / "p")) == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.text() | st.just("\udcff.jpg"), st.text(), st.floats(width=32)), max_size=5))
def test_any_text_and_number(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("t") / "images.parquet"
    files, captions, numbers = zip(*rows) if rows else ((), (), ())
    table = image_table(files, [0] * len(rows), ["\udc00"], numbers, captions, xy=[(x, x) for x in numbers])
    write_parquet(path, table)
    back = pd.read_parquet(path)
    assert list(back.path) == [f.encode("utf-8", "backslashreplace").decode() for f in files] and np.array_equal(back.x, np.float32(numbers), equal_nan=True)
    text = json.dumps(list(to_json_rows(table)), allow_nan=False)
    assert [row["x"] for row in json.loads(text)] == [float(np.float32(x)) if np.isfinite(x) else None for x in numbers]


def test_json_rows():
    row = next(to_json_rows(table_of()))
    assert row == {"path": "a/1.png", "cluster": 1, "name": "cluster 1", "confidence": 0.5, "caption": "x", "x": 0, "y": 1, "label": "cat",
                   "neighbors": {"ids": [1, 2], "distances": pytest.approx([0.1, 0.2])}}


@pytest.mark.parametrize("bad, said", [({"xy": [[0, 0]]}, "'x' has 1 rows"), ({"near": ([[0]], [[0.1]])}, "'neighbors' has 1"), ({"near": ([[0, 1]] * 2, [[0.1]] * 2)}, "n×k"),
                                       ({"truth": [0], "classes": ["a"]}, "'label' has 1"), ({"extra": {"odd": [1]}}, "'odd' has 1")])
def test_columns_that_do_not_fit(bad, said):
    with pytest.raises(ValueError, match=said): image_table(["a", "b"], [0, 0], ["n"], [1, 1], [], **bad)


def test_distances():
    v = np.random.default_rng(0).normal(size=(5000, 3))
    v[7] = 0
    ids = np.random.default_rng(1).integers(0, 5000, (5000, 2))
    ids[0] = 0, 1
    found = neighbor_distances(v, ids)
    assert found[0, 0] == pytest.approx(0, abs=1e-6) and found[7, 0] == 1 and found.min() >= 0
    for i in (0, 2047, 2048, 4999):
        a, b = v[i], v[ids[i, 1]]
        assert found[i, 1] == pytest.approx(1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-5)


def test_datasets(images):
    pytest.importorskip("datasets")
    data = to_datasets(table_of(), images)
    assert data[1]["image"].size == (5, 4) and data[3]["image"] is None and data["name"][0] == "cluster 1"
    assert data[0]["neighbors"]["ids"] == [1, 2] and "image" not in to_datasets(table_of()).column_names
    assert to_datasets(table_of(), images / "none")[0]["image"] is None


def test_fiftyone(images):
    pytest.importorskip("fiftyone")
    dataset = to_fiftyone(table_of(), images)
    try:
        sample = dataset.first()
        assert len(dataset) == 3 and sample.filepath.endswith("a/1.png") and sample.cluster.label == "cluster 1" and sample.cluster.confidence == 0.5
        assert sample.ground_truth.label == "cat" and sample.x == 0
    finally: dataset.delete()


@pytest.mark.parametrize("package, call", [("datasets", lambda: to_datasets(table_of())), ("fiftyone", lambda: to_fiftyone(table_of(), ".")),
                                           ("pyarrow", lambda: write_parquet("never", table_of()))])
def test_a_package_that_is_missing(monkeypatch, package, call):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"^The package {package} is needed .*: pip install {package}\.$"): call()
