"""What a reader runs on a page: live cells, the package's widgets, and the files both need beside the pages.

A code cell with `#| live: true` loses that line and gets a div around it, which live.js looks for. A cell that is just
`show_widget("name")` becomes the div that widgets.js fills, whatever its saved output is."""

import json
import re
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIVE = re.compile(r"^#\| *live: *true *\n?", re.M)
WIDGET = re.compile(r'\s*show_widget\("(\w+)"\)\s*')
PYODIDE = ["pyodide.js", "pyodide.asm.js", "pyodide.asm.wasm", "python_stdlib.zip", "pyodide-lock.json"]


def place(page):
    "Mark the live cells of a page, and put its widgets."
    for n, cell in reversed(list(enumerate(page.cells))):
        if cell["cell_type"] != "code": continue
        cell["source"], live = LIVE.subn("", cell["source"])
        if live:
            page.insert(n + 1, "::::")
            page.insert(n, ":::: {.live}")
        elif m := WIDGET.fullmatch(re.sub(r"^#\|.*\n", "", cell["source"], flags=re.M)):
            page.cells[n] = {"cell_type": "markdown", "metadata": {}, "id": f"widget-{n}", "source": f'<div class="widget" data-widget="{m[1]}">This widget needs JavaScript.</div>'}


def node_package(name):
    "The folder of an npm package of package.json, in the version named there; installs them all if it is not there."
    folder = HERE / "node_modules" / name
    wanted = json.loads((HERE / "package.json").read_text(encoding="utf-8"))["dependencies"][name]
    if not folder.is_dir() or json.loads((folder / "package.json").read_text(encoding="utf-8"))["version"] != wanted:
        subprocess.run(["npm", "install", "--prefix", HERE, "--no-package-lock", "--no-audit", "--no-fund", "--silent"], check=True)
    return folder


def beside_the_pages():
    "Copy the widgets' files from the package, and Pyodide's, into _proc: `resources` in _quarto.yml takes them from there, in Quarto and in smalldocs."
    for name in ("widgets.js", "widgets.css"): shutil.copyfile(HERE.parent / "sac_seic" / "tool" / name, name)
    Path("pyodide").mkdir(exist_ok=True)
    for name in PYODIDE: shutil.copyfile(node_package("pyodide") / name, Path("pyodide") / name)
