"""The claims of `nbs/claims.toml` and the verdicts of `nbs/verdicts.ipynb`, whose cells are run here."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from nbdev.config import get_config

NBS, ROOT = get_config().nbs_path, Path(get_config().config_path)
CELLS = {cell["id"]: "".join(cell["source"]) for cell in json.loads((NBS / "verdicts.ipynb").read_text(encoding="utf-8"))["cells"]}
PAPERS = ROOT.parent / "shared/papers"
START = "its own start"


def run(*names):
    "What these cells of the page define, run in the current folder."
    found = {}
    for name in names: exec(compile(CELLS[name], name, "exec"), found)
    return found


@pytest.fixture(scope="module")
def page():
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(NBS)
        return run("imports", "read", "kept", "compare", "rule")


def test_enough_claims_of_both_papers(page):
    claims = page["claims"]
    names = [(claim["paper"], claim["claim"]) for claim in claims]
    assert len(claims) >= 25 and len(set(names)) == len(names)
    for paper in ("SAC", "SEIC"): assert sum(name == paper for name, _ in names) >= 20
    for claim in claims:
        known = {"claim", "paper", "section", "quote", "experiment", "pairs", "expect", "extra", "recipes", "printed"}
        assert {"claim", "paper", "section", "quote", "experiment", "pairs"} <= set(claim) <= known
        assert claim["experiment"].startswith(claim["paper"].lower() + "-")
        assert claim.get("expect", "higher") in ("higher", "same", "no worse", "smaller largest")
    for x in page["untested"]: assert set(x) == {"paper", "section", "quote", "needs"}


def lost(page, claim):
    "Pairs that no setting of their experiment has."
    there = [[name for _, name in rows] for pairs in page["settings"](claim).values() for rows in pairs]
    return [pair for pair in claim["pairs"] if pair not in there]


def test_every_pair_names_rows_of_its_experiment(page):
    assert [(claim["claim"], x) for claim in page["claims"] for x in lost(page, claim)] == []
    claim = next(x for x in page["claims"] if x["experiment"] == "sac-table-5")
    assert lost(page, claim | {"pairs": [["w^IN", "none"]]}) == [["w^IN", "none"]]  # a row that was renamed


def test_settings_are_those_that_the_experiment_runs(page):
    of = lambda text: page["settings"](next(x for x in page["claims"] if text in x["claim"]))
    both = [(data, encoder, recipe) for data in ("fashion-mnist", "caltech-50") for encoder in ("mini", "classic")
            for recipe in ("as printed", "ours")]
    assert list(of("L_CL contributes")) == both
    assert {encoder for _, encoder, _ in of("equal weights")} == {"mini"}  # stage 2 needs a network
    assert {recipe for _, _, recipe in of("k1 = 200")} == {"ours"} and {recipe for _, _, recipe in of("SAC-T over")} == {""}
    averaged = of("captions averaged over")["fashion-mnist", "mini", "as printed"]
    assert averaged == [[("", "SAC"), ("control", "k-means of text averaged over the pictures' neighbours")]]


@pytest.mark.skipif(not PAPERS.is_dir(), reason="the papers' text is not beside this checkout")
def test_quotes_are_the_papers_words(page):
    texts = {paper: re.sub(r"\s+", " ", (PAPERS / f"{paper.lower()}.txt").read_text(encoding="utf-8")) for paper in ("SAC", "SEIC")}
    quotes = [(x["paper"], x["quote"]) for x in page["claims"] + page["untested"]]
    assert [x for x in quotes if x[1] not in texts[x[0]]] == []
    assert max(len(quote.split()) for _, quote in quotes) <= 20


def test_words(page):
    word, together, headline = page["one_word"], page["together"], page["headline"]
    said = {(0.1, 4): "holds", (-4, -0.1): "does not hold", (-1, 3): "can't tell", (-0.4, 0.5): "does not hold",
            (-0.6, 0.4): "can't tell", (0.1, 0.4): "holds", (float("nan"),) * 2: "can't tell"}
    assert {ends: word(*ends) for ends in said} == said
    same = {(-2, 2): "holds", (-2.1, 1): "can't tell", (2.1, 5): "does not hold", (-5, -2.1): "does not hold"}
    assert {ends: word(*ends, "same") for ends in same} == same
    no_worse = {(-1.9, 9): "holds", (-5, -2.1): "does not hold", (-3, 9): "can't tell"}
    assert {ends: word(*ends, "no worse") for ends in no_worse} == no_worse
    good, bad, unsure = "holds", "does not hold", "can't tell"
    assert [together(x) for x in ([good, good], [good, unsure], [unsure, bad], [good, bad])] == [good, unsure, bad, bad]
    assert [headline(x) for x in ([], [good], [good, bad, unsure], [bad, bad], [bad, unsure], [unsure])] == [
        "not run yet", "held", "held in 1 of 3", "did not hold", "did not hold in 1 of 2", unsure]


# Two recipes on one data set, made up: five seeds of all, four of one row.
ACC = {"no weights": "0.60 0.62 0.64 0.66 0.68", "w^IN": "0.61 0.64 0.67 0.68 0.70", "w^CN": "0.61 0.62 0.64 0.66",
       "w^IN + w^CN": "0.70 0.70 0.70 0.70 0.70"}


def made_up(folder):
    where = {"preset": "mini", "encoder": "classic", "data": "fashion-mnist"}
    def line(group, row, scores):
        x = pd.Series(scores.split(), dtype=float)
        return where | {"group": group, "row": row, "seeds": len(x), "ACC": x.mean(), "ACC_iqm": x.median(), "largest": 0.2, "ACCs": scores}
    def less(row, against, points, seeds=5):
        return where | {"group": "sac", "row": row, "against": against, "seeds": seeds, "points": points, "low": points - 1, "high": points + 2,
                        "classes_low": points - 9, "classes_high": points + 9}
    gaps = [less("no weights", "w^IN + w^CN", -6.0), less("w^IN", "w^IN + w^CN", -0.5), less("w^CN", "w^IN + w^CN", -3.0, 4)]
    folder.mkdir()
    pd.DataFrame([line("sac", *x) for x in ACC.items()]).to_csv(folder / "sac-table-5.csv", index=False)
    pd.DataFrame(gaps).to_csv(folder / "sac-table-5-differences.csv", index=False)


def test_verdicts_of_made_up_runs(tmp_path, monkeypatch):
    made_up(tmp_path / "reproduced")
    (tmp_path / "claims.toml").write_bytes((NBS / "claims.toml").read_bytes())
    monkeypatch.chdir(tmp_path)
    page = run("imports", "read", "kept", "compare", "rule", "judge")
    said = {claim["claim"]: (verdict, page["done"](lines)) for (claim, lines), verdict in zip(page["every"], page["verdicts"])}
    ran = {name: verdict for name, (verdict, _) in said.items() if verdict != "not run yet"}
    assert ran == {"Both weights beat none": "held", "w^IN alone beats no weights": "held"}  # w^CN lacks a seed
    (line,) = said["Both weights beat none"][1]  # the table's −6 [−7, −4], turned round
    assert line.where == ("fashion-mnist", "classic", "ours") and line.classes == "can't tell"
    assert line.gap[:5] == (6.0, 4.0, 7.0, -3.0, 15.0) and round(line.gap.iqm, 6) == 6.0
    (line,) = said["w^IN alone beats no weights"][1]  # by seed: 1, 2, 3, 2, 2 points: 2 ± 2.776 · √0.5 / √5
    assert [round(x, 2) for x in line.gap[:3]] == [2.0, 1.12, 2.88] and line.gap.over == "seeds" and line.classes == "can't tell"


def test_double_differences_and_starts(page):
    from types import SimpleNamespace as made
    known = {("", name): made(seeds=2, ACCs=scores, ACC_iqm=iqm, largest=largest, largests=f"{largest} {largest}") for name, scores, iqm, largest in (
        ("a", "0.5 0.6", 0.5, 0.3), ("b", "0.6 0.7", 0.6, 0.5), ("c", "0.3 0.5", 0.3, 0.1), ("d", "0.8 0.8", 0.8, 0.1))}
    rows = [("", name) for name in "abcd"]
    gap = page["compare"](rows, known, {}, 2)  # (−10 − −50, −10 − −30): 40 and 20
    assert round(gap.points, 6) == 30 and round(gap.iqm, 6) == 40 and gap.over == "seeds"
    assert page["compare"](rows[:2], known, {}, 2, "smaller largest").points == pytest.approx(20)  # a's largest is smaller
    start = [("", "a"), ("", START)]
    assert page["compare"](start, known, {}, 2) is None  # the start was not kept
    kept = made(seeds=2, points=3, low=1, high=5, classes_low=-1, classes_high=7)
    assert page["compare"](start, known, {("", "a", START): kept}, 2)[:3] == (3, 1, 5)
    assert page["compare"](start, known, {("", "a", START): kept}, 3) is None
