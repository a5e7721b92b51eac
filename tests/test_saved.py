"""Saved models answer in another process what they answered here, to the bit; and what is no model is refused."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_enhance import OtherEncoder, fitted, pictures
from threadpoolctl import threadpool_limits

from sac_seic.baselines import KMeansViews, SpectralClusters, UMAPWard
from sac_seic.rivals import SCAN, TAC, TEMI, TURTLE
from sac_seic.sac import SAC
from sac_seic.seic import SEIC
from sac_seic.smoothing import SmoothViews
from sac_seic.tool import saved
from sac_seic.tool.saved import load_model, save_model

RNG = np.random.default_rng(0)
Y = np.arange(200) % 4
V, T = ((np.eye(4, d)[Y] + 0.5 * RNG.normal(size=(200, d))).astype(np.float32) for d in (24, 17))
V, T, NEW_V, NEW_T = V[:150], T[:150], V[150:], T[150:]
HEADS = {"SAC": lambda: SAC(4, k=5, max_steps=12), "SAC mlp": lambda: SAC(4, init="random", hidden=9, max_steps=9),
         "SEIC": lambda: SEIC(4, projection_dim=6, max_steps=12), "TAC": lambda: TAC(4, epochs=2),
         "SCAN": lambda: SCAN(4, n_heads=2, epochs=2), "TEMI": lambda: TEMI(4, n_heads=2, epochs=2),
         "TURTLE": lambda: TURTLE(4, steps=5)}


def answers(model, views, v, t) -> list[np.ndarray]:
    "All that a model says about new rows, of the image alone and with text, as far as it knows them."
    found = []
    for given in ((v, None), (v, t)):
        try:
            rows = given if views is None else [*views.transform(*given), None][:2]
            found += [getattr(model, name)(*rows) for name in ("predict", "predict_proba", "predict_confidence")
                      if hasattr(model, name)]
        except ValueError: continue # that needs text, and there is none
    return found


def cases():
    "name → model, and the views before it."
    named = {name: (make().fit(V, T), None) for name, make in HEADS.items()}
    views = {view: SmoothViews(4, view=view, dims=9).fit(V, T) for view in ("image", "both")}
    named |= {f"{name} of {view}": (HEADS[name]().fit(x.v_, x.t_), x)
              for name in ("SAC", "SEIC", "TURTLE") for view, x in views.items()}
    named |= {f"smooth {view}": (x, None) for view, x in views.items()}
    named["smooth alone"] = SmoothViews(4).fit(V.astype(np.float64)), None
    named["smooth never"] = SmoothViews(4, max_rounds=0).fit(V, T), None
    named |= {f"k-means {x}": (KMeansViews(4, views=x).fit(V, T), None) for x in ("image", "text", "both")}
    return named


THERE = """
import sys
sys.path.insert(0, {tests!r})
import numpy as np
from pathlib import Path
from test_enhance import Encoder, pictures
from test_saved import NEW_T, NEW_V, answers
from sac_seic.data.files import no_progress
from sac_seic.tool.saved import load_model
for folder in sorted(Path({root!r}).iterdir()):
    found = load_model(folder, encoder=Encoder)
    if hasattr(found["model"], "student_"):
        new, rows = pictures(seed=7), np.ones((3, 8), np.float32)
        said = [found["model"].predict_proba(new, no_progress), found["first"].predict_proba(rows)]
    else: said = answers(found["model"], found["views"], NEW_V, NEW_T)
    np.savez(folder / "said.npz", *said)
"""


@pytest.fixture(scope="module")
def here_and_there(tmp_path_factory):
    "name → what the model says here, and in a fresh process that has only the folder."
    from sac_seic.data.files import no_progress
    root, here = tmp_path_factory.mktemp("models"), {}
    with threadpool_limits(1):
        for name, (model, views) in cases().items():
            save_model(root / name, model=model, views=views, settings={"seed": 0}, more={"name": name})
            here[name] = answers(model, views, NEW_V, NEW_T)
        first, model = SAC(3, k=3, max_steps=5).fit(RNG.normal(size=(24, 8)), RNG.normal(size=(24, 5))), fitted()
        save_model(root / "Enhancer", model=model, first=first, settings={}, more={})
        here["Enhancer"] = [model.predict_proba(pictures(seed=7), no_progress),
                            first.predict_proba(np.ones((3, 8), np.float32))]
    code = THERE.format(tests=str(Path(__file__).parent), root=str(root))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return here, {path.name: [*np.load(path / "said.npz").values()] for path in root.iterdir()}


def test_another_process_says_the_same_to_the_bit(here_and_there):
    here, there = here_and_there
    assert here.keys() == there.keys()
    for name in here:
        assert len(here[name]) == len(there[name]) > 0, name
        for one, other in zip(here[name], there[name]): np.testing.assert_array_equal(one, other, name, strict=True)


# The folder ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(): return KMeansViews(4).fit(V)


@pytest.fixture
def folder(model, tmp_path):
    return save_model(tmp_path / "a" / "model", model=model, settings={"n_clusters": np.int64(4)},
                      more={"names": ["é\n\udcff"]}, arrays={"labels": model.labels_, "one": np.array(2.5)})


def names(folder): return {path.name for path in folder.iterdir()}


def test_what_went_in_comes_out(folder, model):
    found = load_model(str(folder))
    assert found.keys() == {"model", "views", "first", "settings", "more", "arrays"}
    assert found["settings"] == {"n_clusters": 4} and found["more"] == {"names": ["é\n\udcff"]}
    np.testing.assert_array_equal(found["arrays"]["labels"], model.labels_, strict=True)
    assert found["arrays"]["one"] == 2.5 and found["views"] is found["first"] is None
    assert found["model"].get_params() == model.get_params() and found["model"].seed_ == 0
    for name in ("labels_", "confidence_"):
        np.testing.assert_array_equal(getattr(found["model"], name), getattr(model, name), strict=True)


def test_names_of_columns_stay(tmp_path):
    import pandas as pd
    frame = pd.DataFrame(V, columns=[f"x{i}" for i in range(24)])
    for fresh in (KMeansViews(4), SAC(4, k=5, max_steps=3)):
        save_model(tmp_path, model=fresh.fit(frame, T), settings={}, more={})
        assert [*load_model(tmp_path)["model"].feature_names_in_] == [*frame.columns]


def test_the_same_model_gives_the_same_files(folder, model, tmp_path):
    arrays = {"labels": model.labels_, "one": np.array(2.5)}
    other = save_model(tmp_path / "b", model=model, settings={}, more={}, arrays=arrays)
    assert names(other) == names(folder)


def test_a_new_model_takes_the_place_of_the_old(folder, model):
    (folder / "model-notes.safetensors").write_bytes(b"somebody's own")
    (folder / ".part-0123").write_bytes(b"of a save that was killed")
    before = load_model(folder)["model"]
    save_model(folder, model=KMeansViews(2).fit(V), settings={}, more={})
    assert load_model(folder)["model"].n_clusters == 2
    assert len(names(folder)) == 3 and "model-notes.safetensors" in names(folder)
    np.testing.assert_array_equal(before.predict(NEW_V), model.predict(NEW_V)) # it was loaded from files now gone


@pytest.mark.parametrize("file", ["model.json", ".part-model", ".part-arrays"])
def test_cut_off_the_old_model_stays(file, folder, model, monkeypatch):
    write = saved.write_atomic
    def cut(path, content):
        if Path(path).name == file: raise OSError(28, "No space left on device")
        write(path, content)
    monkeypatch.setattr(saved, "write_atomic", cut)
    with pytest.raises(OSError, match="Nothing more can be written to the folder .*no space left"):
        save_model(folder, model=KMeansViews(2).fit(V), settings={}, more={}, arrays={"labels": np.zeros(2)})
    np.testing.assert_array_equal(load_model(folder)["model"].predict(NEW_V), model.predict(NEW_V))


def test_mapped_rows_go_a_block_at_a_time(tmp_path, monkeypatch):
    np.save(tmp_path / "v.npy", V.astype(np.float16))
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    model, sizes, write = SmoothViews(4).fit(mapped), [], saved.write_atomic
    def watch(path, pieces):
        write(path, pieces if isinstance(pieces, bytes) else (sizes.append(len(x)) or x for x in pieces))
    monkeypatch.setattr(saved, "BLOCK", 40)
    monkeypatch.setattr(saved, "write_atomic", watch)
    save_model(tmp_path / "model", model=model, settings={}, more={})
    assert max(sizes[1:]) <= 40 * 24 * 4 # after the header
    loaded = load_model(tmp_path / "model")["model"]
    np.testing.assert_array_equal(loaded._fitted[0], mapped, strict=True)
    np.testing.assert_array_equal(loaded.transform(NEW_V)[0], model.transform(NEW_V)[0])


# What is refused -------------------------------------------------------------------------------------------


def one_sentence(error):
    said = str(error.value)
    assert said.endswith(".") and ". " not in said and "\n" not in said and len(said) < 400
    return said


def written(folder, old, new):
    "Another model.json."
    path = folder / "model.json"
    path.write_text(path.read_text().replace(old, new))


def flipped(path):
    "One bit of the last number."
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize("change, said", [
    (lambda f: next(f.glob("arrays-*")).unlink(), "is missing"),
    (lambda f: next(f.glob("model-*")).write_bytes(b"x"), "is damaged"),
    (lambda f: flipped(next(f.glob("arrays-*"))), "is damaged"),
    (lambda f: (f / "model.json").write_bytes(b"\xff\x00"), "is damaged"),
    (lambda f: (f / "model.json").write_text(json.dumps({"format": "pt"})), "another program's"),
    (lambda f: (f / "model.json").write_text(json.dumps({"format": "sac_seic.model 2", "version": "9.1"})),
     "saved by sac_seic 9.1, .*update sac_seic"),
    (lambda f: (f / "model.json").write_text(json.dumps({"format": "sac_seic.model 1"})), "is damaged"),
    (lambda f: written(f, "model-", "../model-"), "is missing"),
    (lambda f: written(f, "KMeansViews", "system"), "no estimator"),
])
def test_what_is_no_model_is_refused(change, said, folder):
    change(folder)
    with pytest.raises(ValueError, match=said) as error: load_model(folder)
    one_sentence(error)


def test_no_folder_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match="There is no model in") as error: load_model(folder)
        one_sentence(error)


def test_what_cannot_predict_is_refused(tmp_path):
    for model in (SpectralClusters(3), UMAPWard(3), KMeansViews(3, views="averaged").fit(V, T)):
        with pytest.raises(ValueError, match="can't cluster new images") as error:
            save_model(tmp_path / "x", model=model, settings={}, more={})
        one_sentence(error)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("make", [SmoothViews, KMeansViews, SAC])
def test_what_is_not_fitted_is_refused(make, tmp_path):
    with pytest.raises(ValueError, match="not been fitted|not fitted yet") as error:
        save_model(tmp_path, model=make(3), settings={}, more={})
    one_sentence(error)


def test_what_is_neither_numbers_nor_plain_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match="'names' holds .*, not numbers") as error:
        save_model(tmp_path, model=model, settings={}, more={}, arrays={"names": np.array(["a"])})
    one_sentence(error)
    with pytest.raises(TypeError, match="can't keep a? ?ndarray as plain data") as error:
        save_model(tmp_path, model=model, settings={}, more={"labels": np.zeros(2)})
    one_sentence(error)
    assert not (tmp_path / "model.json").exists()


def test_stage_2_needs_its_encoder(tmp_path):
    save_model(tmp_path, model=fitted(steps=1), settings={}, more={})
    with pytest.raises(ValueError, match="give load_model a function") as error: load_model(tmp_path)
    one_sentence(error)
    with pytest.raises(ValueError, match="'four convolutions', and this is 'other weights'") as error:
        load_model(tmp_path, encoder=OtherEncoder)
    one_sentence(error)
