"""Every notebook is a test: its cells run from top to bottom, those flagged slow, gpu or network aside."""

import ast
import json
import re
from pathlib import Path

import pytest
from nbdev.config import get_config
from nbdev.test import test_nb as run_notebook

NOTEBOOKS = sorted(p for p in get_config().nbs_path.rglob("[!.]*.ipynb") if not p.parent.name.startswith(("_", ".")))
notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.relative_to(get_config().nbs_path).with_suffix("").as_posix())
run_notebook.__test__ = False  # its own name would make pytest collect it


def cells(path, kind=None):
    "The cells of a notebook as (index, source, cell)."
    for n, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        if kind in (None, cell["cell_type"]): yield n, "".join(cell["source"]), cell


@notebook
def test_runs(path, capsys):
    flags = get_config().tst_flags.split()
    passed, seconds = run_notebook(path, skip_flags=flags, basepath=get_config().config_path)
    if not passed: pytest.fail(f"{path.name} stopped after {seconds:.0f} s:\n{capsys.readouterr().err}", pytrace=False)


@notebook
def test_every_cell_is_run_by_the_test(path):
    skipped = [n for n, source, _ in cells(path) if re.search(r"^#\|\s*eval:\s*false|^(?:- )?skip_exec:\s*true", source, re.M)]
    assert not skipped, f"cells {skipped} of {path.name} are never run: flag a cell that takes long with #| slow"


@notebook
def test_first_cell_is_title_and_subtitle(path):
    _, source, cell = next(cells(path))
    assert cell["cell_type"] == "markdown" and re.fullmatch(r"# .+\n+> .+", source.strip()), (
        f"{path.name}: nbdev makes the page's title and subtitle from the first cell and drops the rest of it; put the rest into a cell of its own")


@notebook
def test_names_no_path_of_a_machine(path):
    folder = re.compile(r"(?<![\w.])/(?:work|root|home|Users|opt|tmp|mnt)/[\w.]+")
    found = []
    for n, source, cell in cells(path):
        outputs = [output.get("text", "") for output in cell.get("outputs", [])]
        outputs += [text for output in cell.get("outputs", []) for kind, text in output.get("data", {}).items() if kind.startswith("text/")]
        outputs += [output.get("traceback", "") for output in cell.get("outputs", [])]
        found += [(n, m) for text in [source, *map("".join, outputs)] for m in folder.findall(text)]
    assert not found


@notebook
def test_saved_outputs_hold_no_error(path):
    errors = [n for n, _, cell in cells(path, "code") if any(o["output_type"] == "error" for o in cell["outputs"])]
    assert not errors, f"cells {errors} of {path.name} were saved with an error"


@notebook
def test_imports_have_cells_of_their_own(path):
    "A site build runs every cell that imports something, so such a cell must do nothing else."
    mixed = []
    for n, source, _ in cells(path, "code"):
        if re.search(r"^#\|\s*exports?\b", source, re.M) or source.startswith("%%"): continue
        nodes = list(ast.walk(ast.parse(re.sub(r"^[%!].*", "", source, flags=re.M))))
        if any(isinstance(node, (ast.Import, ast.ImportFrom)) for node in nodes) and any(isinstance(node, (ast.Expr, ast.Assign)) for node in nodes): mixed.append(n)
    assert not mixed, f"cells {mixed} of {path.name} mix imports with other code"


def walks():
    "Every section, from one ## heading to the next, that holds a numbered equation of a paper."
    for path in NOTEBOOKS:
        text = "\n\n".join(source if cell["cell_type"] == "markdown" else "\n".join(re.findall(r"^#\| label: .*", source, re.M)) for _, source, cell in cells(path))
        for section in re.split(r"^(?=## )", text, flags=re.M):
            if labels := re.findall(r"\{#(eq-(?:sac|seic)-\d+)\}", section): yield pytest.param(section, id=" ".join(labels))


@pytest.mark.parametrize("section", list(walks()))
def test_every_equation_is_worked_by_hand(section):
    assert section.index("{#eq-") < section.index("**By hand.**")


COURSE = [path for path in NOTEBOOKS if path.parent == get_config().nbs_path and re.match(r"0[1-8]_|\w+_in_one_page|\w+_what_held", path.name)]


@pytest.mark.parametrize("path", COURSE, ids=lambda path: path.stem)
def test_cells_of_the_course_are_short(path):
    long = {cell["id"]: n for _, source, cell in cells(path, "code") if (n := len(source.splitlines())) > 25}
    assert not long


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if path.parent == get_config().nbs_path], ids=lambda path: path.stem)
def test_every_figure_is_read(path):
    "Soon after a figure, words say what is seen."
    every = [(cell["cell_type"], source) for _, source, cell in cells(path)]
    unread = [source.splitlines()[0] for n, (_, source) in enumerate(every) if re.search(r"^#\| label: fig-", source, re.M)
              and not any(kind == "markdown" and not next_source.startswith("#") for kind, next_source in every[n + 1:n + 4])]
    assert not unread


def test_every_numbered_equation_is_there():
    labels = sorted(label for walk in walks() for label in walk.id.split())
    assert labels == sorted([f"eq-sac-{n}" for n in range(1, 15)] + [f"eq-seic-{n}" for n in range(1, 14)])


def test_reading_paths_say_how_long_they_take(monkeypatch):
    "The minutes on the landing page are those of the linked page or section, counted as the page heads count them."
    monkeypatch.syspath_prepend(get_config().config_path / ".ci")
    import gather

    def section(page, anchor):
        "The cells from the heading that holds the anchor, or is it, to the next one of its rank."
        starts = [n for n, cell in enumerate(page.cells) if cell["cell_type"] == "markdown" and re.match(r"## ", cell["source"])]
        slug = lambda cell: re.sub(r"[^\w.-]", "", re.match(r"## (.*)", cell["source"])[1].lower().replace(" ", "-"))
        for start, end in zip(starts, [*starts[1:], len(page.cells)]):
            part = page.cells[start:end]
            if slug(part[0]) == anchor or any(f"#{anchor}" in cell["source"] for cell in part): return part
        raise AssertionError(f"no {anchor} in {page.path.name}")

    def parts(read):
        "The cells that a row of links asks for: sections where a link has an anchor, else whole pages."
        links = re.findall(r"\(([\w/]+\.ipynb)(?:#([\w.-]+))?\)", read)
        return sum((section(gather.Page(folder / name), anchor) if anchor else gather.Page(folder / name).cells for name, anchor in links), [])

    folder = get_config().nbs_path
    rows = re.findall(r"^\| \d[^|]* \| (.+?) \| (\d+) \|", "\n".join(source for _, source, _ in cells(folder / "index.ipynb", "markdown")), re.M)
    evening, course = rows[:8], rows[8:]
    assert "sac_in_one_page" in evening[0][0] and len(course) == 11 and 35 <= sum(int(said) for _, said in evening) <= 60
    for read, said in evening: assert abs(gather.minutes(parts(read)) - int(said)) <= 1, read
    for read, said in course:
        whole = sum(gather.minutes(gather.Page(folder / name).cells) for name in set(re.findall(r"([\w/]+\.ipynb)", read)))
        assert int(said) <= whole + 4, read
        if not re.search(r"#|up to|\d to \d", read): assert abs(int(said) - whole) <= 4, (read, whole)  # whole pages
