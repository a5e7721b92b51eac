"""The papers' printed numbers against themselves: averages, ranks, rows printed twice, and the notes on what is odd.

`sac_seic/experiments/printed.csv` has a line for every number of SAC's Tables 2 to 7 and SEIC's Tables 1 to 6, in the
papers' order. A note is one or two sentences. Here each kind of sentence is computed from the numbers: one that is
missing fails, and so does one that is not needed."""

import csv
import itertools
import json
import math
import re
from importlib.resources import files

import numpy as np
import pytest
import torch
from nbdev.config import get_config

FILE = files("sac_seic") / "experiments/printed.csv"
ROWS = list(csv.DictReader(FILE.read_text(encoding="utf-8").splitlines()))
CLASSES = {"stl10": 10, "cifar10": 10, "cifar20": 20, "imagenet10": 10, "imagenet-dogs": 15, "tiny-imagenet": 200}
COUNTS_AND_SUMS = {  # of each table, in units of its last digit, when the file was read beside the papers
    ("SAC", "Table 2"): (297, 174534), ("SAC", "Table 3"): (48, 40495), ("SAC", "Table 4"): (42, 21455),
    ("SAC", "Table 5"): (24, 17037), ("SAC", "Table 6"): (18, 12627), ("SAC", "Table 7"): (18, 13086),
    ("SEIC", "Table 1"): (223, 153403), ("SEIC", "Table 2"): (18, 13210), ("SEIC", "Table 3"): (16, 6257),
    ("SEIC", "Table 4"): (3, 1441), ("SEIC", "Table 5"): (4, 2204), ("SEIC", "Table 6"): (4, 2330)}
MEAN, LOWER, REMOVAL = r"The mean of the row's .*", r"Lower than with none .*", r"(Only )?[\d.]+ points below .*"
NOT_BOLD, NOT_BEST = "The highest of its column, but not bold in our copy.", "Bold, but not the highest of its column."
NOT_UNDERLINED, NOT_SECOND = "The second highest of its column, but not underlined.", "Underlined, but not the second highest of its column."
IMPOSSIBLE, NMI = "Not even a mean over runs can have this ACC with this ARI.", r"An NMI of .*"
VARIANT, RIVAL = r"Higher than SAC's, .*", r"Higher than SEIC's with ViT-B/32, .*"
ALIKE, ELSEWHERE = r"On this set within 0.1 .*", r"SAC('s Table 2|-I, k-means on the same CLIP,) has .*"
SWAPPED = r"Likely swapped .*"
JUDGED = {  # no computation here: nbs/15_misprints.ipynb says why
    "Likely 51.8 or 50.8.": ["61.8"], "Likely 0.362.": ["0.322"],
    "Likely too low for the NMI of 64.8 beside it.": ["9.2"],
    "Likely too low for an NMI of 64.8, should the rows be swapped.": ["7.8"],
    "Likely on pseudo-labels: true labels would give the highest value.": ["0.664"]}
KINDS = [MEAN, LOWER, REMOVAL, NOT_BOLD, NOT_BEST, NOT_UNDERLINED, NOT_SECOND, IMPOSSIBLE, NMI, VARIANT, RIVAL,
         ALIKE, ELSEWHERE, SWAPPED, *map(re.escape, JUDGED)]


def key(row): return tuple(row[name] for name in ("paper", "table", "row", "backbone", "set", "metric"))
def sentences(row): return re.split(r"(?<=\.) (?=[A-Z\d])", row["note"]) if row["note"] else []
def said(kind): return {(key(row), text) for row in ROWS for text in sentences(row) if re.fullmatch(kind, text)}
def units(row): return round(float(row["value"]) * (10 if row["unit"] == "%" else 1000))  # of 0.1 %, as both papers round


def of(paper, table, **more):
    "A table's rows of the CSV, those with the fields asked for."
    return [r for r in ROWS if (r["paper"], r["table"]) == (paper, table) and all(r[k] == v for k, v in more.items())]


def cells(paper, table, **more):
    "(set, metric) to the number in units of 0.1 %, of one row of a table."
    found = of(paper, table, **more)
    assert found and len({(r["row"], r["backbone"]) for r in found}) == 1, f"{paper} {table} {more}: not one row"
    return {(r["set"], r["metric"]): units(r) for r in found}


def groups(rows, *names):
    found = {}
    for row in rows: found.setdefault(tuple(row[name] for name in names), []).append(row)
    return found


@pytest.fixture(scope="module")
def notebook():
    "The cells of the page on misprints, as text."
    cells = json.loads((get_config().nbs_path / "15_misprints.ipynb").read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells]


@pytest.fixture(scope="module")
def bounds(notebook):
    "What that page derives: the lowest ARI beside an ACC, and the highest NMI."
    names = {"np": np, "math": math, "torch": torch, "linear_sum_assignment": None}
    for start in ("def floor(", "def ceiling("): exec(next(cell for cell in notebook if cell.startswith(start)), names)
    return names["floor_of_mean"], names["ceiling"]


# The file ------------------------------------------------------------------------------------------------------------

def test_every_number_is_there_once_and_as_printed():
    assert len({key(row) for row in ROWS}) == len(ROWS)
    assert {k: (len(rows), sum(map(units, rows))) for k, rows in groups(ROWS, "paper", "table").items()} == COUNTS_AND_SUMS
    assert list(groups(ROWS, "paper", "table")) == list(COUNTS_AND_SUMS)  # in the papers' order
    for row in ROWS:
        form, unit = {"SAC": (r"\d{1,2}\.\d", "%"), "SEIC": (r"0\.\d{3}", "share")}[row["paper"]]
        assert re.fullmatch(form, row["value"]) and row["unit"] == unit and row["mark"] in ("", "bold", "underline"), row
        assert row["set"] in CLASSES and row["metric"] in ("NMI", "ACC", "ARI") or (row["set"], row["metric"]) == ("AVG", "mean"), row
        named = "cifar20" if row["printed_set"] == "CIFAR-100" else row["printed_set"].lower()
        assert row["set"] == {"stl-10": "stl10", "cifar-10": "cifar10", "cifar-20": "cifar20", "imagenet-10": "imagenet10", "avg": "AVG"}.get(named, named), row
        assert (row["printed_set"] == "CIFAR-100") == (row["paper"] == "SEIC" and row["set"] == "cifar20"), row


def test_every_note_is_of_a_kind_that_is_checked():
    for row in ROWS:
        for text in sentences(row):
            assert sum(bool(re.fullmatch(kind, text)) for kind in KINDS) == 1, (key(row), text)
    for text, values in JUDGED.items():
        assert [row["value"] for row in ROWS if text in sentences(row)] == values, text


# Averages, ranks -----------------------------------------------------------------------------------------------------

def test_averages():
    wrong, n = set(), 0
    for table in ("Table 2", "Table 3"):
        for (name,), rows in groups(of("SAC", table), "row").items():
            *entries, last = rows
            if last["set"] != "AVG": continue
            n += 1
            mean = f"{sum(map(units, entries)) / 150:.1f}"
            assert len(entries) == 15, name
            if mean != last["value"]: wrong.add((key(last), f"The mean of the row's 15 cells is {mean}."))
    assert n == 18 and wrong == said(MEAN)


def test_bold_is_best_and_underlined_second_best():
    "Where a table has such marks. In our copy of the papers only SAC's Table 2 and SEIC's Table 1 underline."
    wrong = {NOT_BOLD: set(), NOT_BEST: set(), NOT_UNDERLINED: set(), NOT_SECOND: set()}
    for where, rows in groups(ROWS, "paper", "table").items():
        marks = {row["mark"] for row in rows}
        assert ("underline" in marks) == (where in {("SAC", "Table 2"), ("SEIC", "Table 1")})
        if marks == {""}: assert where[0] == "SEIC" and where[1] != "Table 1"; continue
        for column in groups(rows, "set", "metric").values():
            best, second = [*sorted(set(map(units, column)), reverse=True), None][:2]
            for row in column:
                bold, underline, value = row["mark"] == "bold", row["mark"] == "underline", units(row)
                if value == best and not bold: wrong[NOT_BOLD].add(key(row))
                if value != best and bold: wrong[NOT_BEST].add(key(row))
                if "underline" in marks and value == second and not underline: wrong[NOT_UNDERLINED].add(key(row))
                if value != second and underline: wrong[NOT_SECOND].add(key(row))
    for text, found in wrong.items(): assert {(k, text) for k in found} == said(re.escape(text)), text


# Numbers that are printed twice --------------------------------------------------------------------------------------

@pytest.mark.parametrize("table, row", [("Table 3", "0 %"), ("Table 4", "L_RC + L_BL + L_CL"), ("Table 5", "w^IN + w^CN"),
                                        ("Table 6", "intra + inter"), ("Table 7", "BLIP-2")])
def test_sacs_whole_method_is_the_same_in_every_table(table, row):
    assert cells("SAC", table, row=row).items() <= cells("SAC", "Table 2", row="SAC").items()


def test_seics_methods_are_the_same_in_every_table():
    b16 = "CLIP ViT-B/16"
    for (name, backbone), _ in groups(of("SEIC", "Table 2"), "row", "backbone").items():
        if name != "SEIC†" and (name, backbone) != ("TAC", b16):  # Table 1 has neither
            assert cells("SEIC", "Table 2", row=name, backbone=backbone).items() <= cells("SEIC", "Table 1", row=name, backbone=backbone).items()
    assert cells("SEIC", "Table 6", row="Self-Enhanced Loss").items() <= cells("SEIC", "Table 1", row="SEIC", backbone=b16).items()
    whole = cells("SEIC", "Table 3", row="L_ins + L_ass + L_ctr")  # stage 1
    assert whole["cifar20", "ACC"] == cells("SEIC", "Table 2", row="SEIC†", backbone=b16)["cifar20", "ACC"]
    assert whole == cells("SEIC", "Table 5", row="SEIC") and cells("SEIC", "Table 4", row="SEIC").items() <= whole.items()


def test_methods_that_both_papers_have():
    differ, n = set(), 0
    for name in ("SCAN", "GCC", "TCC", "SIC", "TAC", "CLIP"):
        theirs = cells("SAC", "Table 2", row={"CLIP": "SAC-I"}.get(name, name))
        for row in of("SEIC", "Table 1", row=name):
            other = theirs.get((row["set"], row["metric"]))
            if other is None: continue
            n += 1
            subject, end = ("SAC-I, k-means on the same CLIP,", " in SAC's Table 2.") if name == "CLIP" else ("SAC's Table 2", ".")
            if other != units(row): differ.add((key(row), f"{subject} has {other / 10:.1f}{end}"))
    assert n == 9 + 5 * 15 and differ == said(ELSEWHERE)
    assert not any(k[4] == "cifar20" and k[2] != "CLIP" for k, _ in differ)  # so SEIC's CIFAR-100 is CIFAR-20


# Numbers that can't be, or look odd ----------------------------------------------------------------------------------

def test_accuracies_beside_ari_and_nmi(bounds):
    floor_of_mean, ceiling = bounds
    impossible, low = set(), set()
    for rows in groups([row for row in ROWS if row["set"] != "AVG"], "paper", "table", "row", "backbone", "set").values():
        score, c = {row["metric"]: units(row) / 1000 for row in rows}, CLASSES[rows[0]["set"]]
        for row in rows:
            if "ARI" in score and row["metric"] in ("ACC", "ARI") and score["ARI"] + 0.0005 < floor_of_mean(score["ACC"] - 0.0005, c):
                impossible.add((key(row), IMPOSSIBLE))
            if "NMI" in score and row["metric"] in ("NMI", "ACC") and score["NMI"] - 0.0005 > ceiling(score["ACC"] + 0.0005, c):
                low.add((key(row), f"An NMI of {100 * score['NMI']:.1f} needs a higher ACC."))
    assert len(impossible) == 10 and impossible == said(re.escape(IMPOSSIBLE))
    assert low == said(NMI)


def test_rows_alike():
    "Two rows of an ablation that differ by no more than 0.1 on a set."
    alike = set()
    for table in ("Table 3", "Table 4", "Table 5", "Table 6", "Table 7"):
        for (name,), rows in groups([row for row in of("SAC", table) if row["set"] != "AVG"], "set").items():
            for one, two in itertools.permutations(groups(rows, "row").items(), 2):
                if all(abs(units(a) - units(b)) <= 1 for a, b in zip(one[1], two[1], strict=True)):
                    alike |= {(key(row), f"On this set within 0.1 of the row {two[0][0]} in all three metrics.") for row in one[1]}
    assert alike == said(ALIKE)


def test_rows_that_look_swapped():
    "Of two rows of SAC's Table 4, one is far ahead on CIFAR-20 in NMI and in ARI, and far behind on ImageNet-Dogs."
    swapped, rows = set(), {name: cells("SAC", "Table 4", row=name) for name, in groups(of("SAC", "Table 4"), "row")}
    for one, two in itertools.permutations(rows, 2):
        ahead = {where: rows[one][where] - rows[two][where] for where in rows[one] if where[1] != "ACC"}
        if all(by > 200 if where[0] == "cifar20" else by < -200 for where, by in ahead.items()):
            for row in of("SAC", "Table 4", set="imagenet-dogs"):
                if row["row"] in (one, two) and row["metric"] != "ACC":
                    swapped.add((key(row), f"Likely swapped with the row {two if row['row'] == one else one}."))
    assert swapped == said(SWAPPED)


# What the papers' text says of the tables ----------------------------------------------------------------------------

def acc(paper, table, row, name, **more): return cells(paper, table, row=row, **more)[name, "ACC"] / 10


def test_numbers_in_the_text():
    "“SPICE achieves an ACC of 90.8%, whereas SAC reaches 98.5%” and the like."
    assert (acc("SAC", "Table 2", "SPICE", "stl10"), acc("SAC", "Table 2", "SAC", "stl10")) == (90.8, 98.5)
    for row, backbone, value in (("SEIC", "CLIP ViT-B/16", 71.5), ("TEMI", "DINO ViT-B/16", 63.2), ("CPP", "CLIP ViT-L/14", 64.2)):
        assert acc("SEIC", "Table 1", row, "cifar20", backbone=backbone) == value
    old, new = (acc("SEIC", "Table 4", row, "tiny-imagenet") for row in ("w/ original balance term", "SEIC"))
    assert round(new - old) == 7  # “7% performance improvement”: points
    mean, ours = (acc("SEIC", "Table 5", row, "tiny-imagenet") for row in ("mean strategy", "SEIC"))
    assert round(ours - mean, 1) == 12.3  # “the gap reaches 12.3%”
    assert acc("SEIC", "Table 6", "Original Loss", "cifar20") == 24.7  # “a performance collapse (24.7% ACC)”


def test_what_a_removal_costs():
    "“A 28% performance drop on Tiny-ImageNet while only a 1% drop on CIFAR-100”, and any removal a significant one."
    whole, odd = cells("SEIC", "Table 3", row="L_ins + L_ass + L_ctr"), set()
    for row in of("SEIC", "Table 3"):
        if row["row"].count("L_") != 2: continue
        drop = (whole[row["set"], "ACC"] - units(row)) / 10
        if drop < 1: odd.add((key(row), f"Only {drop:.1f} points below the whole method, where the text calls any removal a significant decrease."))
        quoted = {"tiny-imagenet": 28, "cifar20": 1}[row["set"]]
        if row["row"] == "L_ins + L_ass" and round(drop) != quoted:
            odd.add((key(row), f"{drop:.1f} points below the whole method, where the text says {quoted}%."))
    assert odd == said(REMOVAL)


def test_a_loss_that_is_worse_than_none():
    none = cells("SEIC", "Table 3", row="none of them")
    assert {(key(row), "Lower than with none of the losses.") for row in of("SEIC", "Table 3") if units(row) < none[row["set"], "ACC"]} == said(LOWER)


def test_who_is_ahead():
    "“SAC outperforms the two variants”; SEIC “consistently outperforms existing approaches across all metrics and backbones”."
    ours, ahead = cells("SAC", "Table 2", row="SAC"), set()
    for row in of("SAC", "Table 2"):
        if units(row) > ours[row["set"], row["metric"]]:
            assert row["row"] in ("SAC-I", "SAC-T"), row  # the text's other comparisons hold
            ahead.add((key(row), "Higher than SAC's, although the text says that SAC outperforms this variant."))
    assert ahead == said(VARIANT)
    b32, b16 = (cells("SEIC", "Table 1", row="SEIC", backbone=f"CLIP ViT-{name}") for name in ("B/32", "B/16"))
    ahead = set()
    for row in of("SEIC", "Table 1"):
        where = row["set"], row["metric"]
        assert row["row"] == "SEIC" or units(row) < b16[where], row
        if row["row"] != "SEIC" and units(row) > b32[where]:
            ahead.add((key(row), "Higher than SEIC's with ViT-B/32, although the text has SEIC ahead in all metrics with all backbones."))
    assert ahead == said(RIVAL)


# The page on misprints -----------------------------------------------------------------------------------------------

def test_the_page_on_misprints_has_the_same_numbers(notebook):
    "Its tables were typed in apart from this file."
    order = {"SAC": ["stl10", "cifar10", "cifar20", "imagenet10", "imagenet-dogs"], "SEIC": ["cifar10", "cifar20", "stl10", "imagenet10", "imagenet-dogs"]}
    n = 0
    for paper, table, start in (("SAC", "Table 2", "sets = {"), ("SEIC", "Table 1", 'table2["SCAN"]')):
        typed = next(cell for cell in notebook if start in cell)
        for name, numbers in re.findall(r"^([\w-]+): ([\d. ]+)", typed, re.MULTILINE):
            printed = cells(paper, table, row=name)
            columns = [(s, m) for s in order[paper] for m in ("NMI", "ACC", "ARI")] + [("AVG", "mean")]
            for where, number in zip(columns, numbers.split()):
                assert printed[where] == round(float(number) * (10 if paper == "SAC" else 1000)), (paper, name, where)
                n += 1
    for name, numbers in re.findall(r'"(L_[\w +]+)": \(([\d., ]+)\)', next(cell for cell in notebook if cell.startswith("table4 = {"))):
        assert list(cells("SAC", "Table 4", row=name).values()) == [round(10 * float(x)) for x in numbers.split(",")], name
        n += 6
    assert n == 15 * 16 + 9 + 4 * 15 + 5 * 6


def test_the_page_on_misprints_tells_of_the_same_oddities(notebook):
    lines = [line for cell in notebook for line in cell.splitlines()]
    table = [[part.strip() for part in line.split("|")[1:-1]] for line in lines if re.match(r"\| S(AC|EIC) \|", line)]
    for paper, where, printed, *_ in table:
        if (number := re.search(r"Table \d", where)) is None or "text" in where: continue
        for value in re.findall(r"\d+\.\d+", printed):
            with_note = [row for row in of(paper, number[0], value=value) if row["note"]]
            assert with_note, f"{paper}, {where}: {value} has no note"
    headings = [re.findall(r"^### (S\w+), (.*)", line) for line in lines]
    told = {(paper, number) for paper, where in [row[:2] for row in table] + sum(headings, []) for number in re.findall(r"Table \d", where)}
    assert {(row["paper"], row["table"]) for row in ROWS if row["note"]} <= told
