"""Make the pages out of nbdev's processed notebooks, before they are rendered. Run by Quarto and smalldocs alike
(`pre-render` in _quarto.yml) in the folder _proc, whose files it rewrites; it may run again on its own output.

1. colours.py colours the symbols of the equation notebooks.
2. gather.py fills the pages that are made from other pages, and ties equations, functions, tests and index together.
3. interactive.py marks the live cells, puts the widgets, and lays Pyodide and the widgets' files beside the pages.
4. crossref.py numbers equations and figures and turns the references to them into links."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import colours
import crossref
import gather
import interactive

BEFORE = Path(".before")  # what nbdev wrote, kept so that a second run starts from it; Quarto and smalldocs pass over such folders


def digest(text): return hashlib.sha256(text.encode()).hexdigest()


def start():
    "Put every file back that an earlier run rewrote, and keep a copy of every new one."
    BEFORE.mkdir(exist_ok=True)
    made = json.loads((BEFORE / "made.json").read_text()) if (BEFORE / "made.json").exists() else {}
    files = [p for p in sorted(Path().rglob("*")) if (p.suffix in (".ipynb", ".qmd") or p.name == "site.js") and not p.as_posix().startswith((".", "_"))]
    for path in files:
        ours, kept = made.get(path.as_posix()) == digest(path.read_text(encoding="utf-8")), BEFORE / path
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(*((kept, path) if ours else (path, kept)))
    return files


def main():
    if Path.cwd().name != "_proc": return  # never rewrite the notebooks in nbs/
    files = start()
    pages = {p.as_posix(): gather.Page(p) for p in files if p.suffix != ".js"}
    for name, page in pages.items(): colours.colour_page(name, page)
    problems = gather.gather(pages)
    for page in pages.values(): interactive.place(page)
    problems += crossref.number_and_link(pages)
    texts = {name: page.text() for name, page in pages.items()} | {"site.js": gather.filled_script("site.js", pages)}
    (BEFORE / "made.json").write_text(json.dumps({name: digest(text) for name, text in texts.items()}))  # first, so that a run cut short can be repeated
    for name, text in texts.items(): Path(name).write_text(text, encoding="utf-8")
    interactive.beside_the_pages()
    if problems: sys.exit("\n".join(["The pages do not fit together:", *problems]))


if __name__ == "__main__": main()
