"""Build the site into _docs without Quarto: nbdev's processing, smalldocs for the pages, KaTeX for the maths.

Everything a page needs lies beside it. The build fails on an unresolved reference, a broken link, wrong TeX,
anything fetched from elsewhere, or a notebook that made no page. Needs the dev extra, Node.js and npm."""

import functools
import html
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

from interactive import node_package

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
MATHS = re.compile(r'<span class="math (inline|display)">\\[(\[](.*?)\\[)\]]</span>', re.S)
LEFTOVER = re.compile(r"\$\$|\\\(|\\\[|\?@|@(?:eq|fig|sec|tbl)-\w+|\{#[\w-]+\}|^:::|#\|", re.M)


def html_pages(docs): return sorted(p for p in docs.rglob("*.html") if "site_libs" not in p.parts)


def relative(to, page): return os.path.relpath(to, Path(page).parent)


def process_notebooks():
    "Fill _proc with the notebooks as nbdev documents them, those that changed; nbdev_docs does the same before it calls Quarto."
    import nbdev.doclinks
    from nbdev.quarto import refresh_quarto_yml
    from nbdev.serve import proc_nbs

    refresh_quarto_yml()
    nbdev.doclinks._build_modidx()
    return proc_nbs(n_workers=0)  # one process: what takes long is importing torch, and two would both do it


def render_pages(proc):
    "Let smalldocs (which calls prerender.py first) write the pages, and name each after its output-file."
    import smalldocs.highlight
    import smalldocs.layout
    import smalldocs.site
    from nbdev.config import get_config

    smalldocs.layout.KATEX = "site_libs/katex"
    smalldocs.highlight.css_class = functools.cache(smalldocs.highlight.css_class)
    site = smalldocs.site.build(proc, quiet=True)
    told = re.compile("output-file is not read|(?:respect-user-color-scheme|html-math-method) is ignored")  # the first is done below, the others it does anyway
    if warnings := [w for w in site.warnings if not told.search(w)]: sys.exit("\n".join(["smalldocs warns:", *warnings]))
    shutil.rmtree(docs := get_config().doc_path, ignore_errors=True)
    shutil.move(site.out, docs)
    notebooks = [nb for nb in proc.rglob("[!.]*.ipynb") if not nb.relative_to(proc).as_posix().startswith((".", "_"))]
    names = {f"{nb.stem}.html": re.search(r"output-file: (\S+\.html)", nb.read_text(encoding="utf-8"))[1] for nb in notebooks}
    renamed = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, names))})")
    for file in [*html_pages(docs), *docs.glob("*.json"), *docs.glob("*.xml")]:
        text = file.read_text(encoding="utf-8")
        text = renamed.sub(lambda m: names[m[0]], text)
        file.unlink()
        file.with_name(names.get(file.name, file.name)).write_text(text, encoding="utf-8")
    pages = {p.relative_to(docs).as_posix(): p.read_text(encoding="utf-8") for p in html_pages(docs)}
    home = re.escape(f"{get_config().doc_host}{get_config().doc_baseurl}/")
    for here, text in pages.items():
        def to_name(m):  # nbdev links every name to this address; not every method and private name is documented there
            page, name = m.groups()
            places = [f"#{n}" for n in (name, name.partition(".")[0]) if f'id="{n}"' in pages.get(page, "")]
            return f'href="{relative(page, here)}{places[0] if places else ""}"'
        text = re.sub(rf'href="{home}([\w/]+\.html)#([\w.]+)"', to_name, text)
        text = text.replace('"site_libs/katex', f'"{relative("site_libs/katex", here)}')
        (docs / here).write_text(text, encoding="utf-8")
    for css in docs.rglob("*.css"): css.write_text(re.sub(r"@import url\([^)]*\);?", "", css.read_text(encoding="utf-8")), encoding="utf-8")  # web fonts
    if missing := set(names.values()) - {Path(page).name for page in pages}: sys.exit(f"no page was made for {missing}")
    return docs


def set_maths(docs):
    "Replace the TeX in every page by what KaTeX makes of it, and put KaTeX's style and fonts beside the pages."
    katex = node_package("katex")
    pages = {p: p.read_text(encoding="utf-8") for p in html_pages(docs)}
    for page, text in pages.items():  # smalldocs leaves captions alone: mark their maths as it marks a paragraph's
        pages[page] = re.sub(r"<figcaption>.*?</figcaption>", lambda m: re.sub(r"\$([^$]+)\$", r'<span class="math inline">\\(\1\\)</span>', m[0]), text, flags=re.S)
    todo = [[html.unescape(tex), kind == "display"] for text in pages.values() for kind, tex in MATHS.findall(text)]
    node = subprocess.run(["node", HERE / "tex.mjs"], input=json.dumps(todo), capture_output=True, text=True)
    if node.returncode: sys.exit(node.stderr)
    made = iter(json.loads(node.stdout))
    for page, text in pages.items():
        text = MATHS.sub(lambda m: next(made), text)
        page.write_text(re.sub(r'<script[^>]*src="[./]*site_libs/katex/[^>]*></script>', "", text), encoding="utf-8")
    shutil.copytree(katex / "dist" / "fonts", docs / "site_libs/katex/fonts", ignore=shutil.ignore_patterns("*.ttf", "*.woff"))
    shutil.copy(katex / "dist" / "katex.min.css", docs / "site_libs/katex")
    return len(todo)


class Page(HTMLParser):
    "What the check wants to know of a page: its ids, its links, what it loads, and its text outside code and maths."

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loads, self.text, self.inside = set(), [], [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if "id" in a: self.ids.add(a["id"])
        if tag == "a" and a.get("href"): self.links.append(a["href"])
        elif tag == "link" and "icon stylesheet".find(a.get("rel", "?")) >= 0: self.loads.append(a["href"])
        elif a.get("src"): self.loads.append(a["src"])
        if tag in ("code", "pre", "script", "style", "annotation"): self.inside.append(tag)

    def handle_endtag(self, tag):
        if self.inside and tag == self.inside[-1]: self.inside.pop()

    def handle_data(self, data):
        if not self.inside: self.text += data


def check(docs):
    "List everything that is wrong with the site."
    pages = {p.relative_to(docs).as_posix(): Page(p.read_text(encoding="utf-8")) for p in html_pages(docs)}
    for name, page in pages.items():
        for m in LEFTOVER.finditer(page.text): yield f"{name}: not rendered: {page.text[max(0, m.start() - 40):m.end() + 40]!r}"
        for url in page.loads:
            if url.startswith(("http:", "https:", "//")): yield f"{name}: loads {url}"
        for url in page.links + page.loads:
            if re.match(r"[a-z+]+:|//|#$", url): continue
            path, _, anchor = unquote(url).partition("#")
            path = os.path.normpath(Path(name).parent / path.partition("?")[0]) if path.partition("?")[0] else name
            if not (docs / path).exists(): yield f"{name}: broken link {url}"
            elif anchor and path in pages and anchor not in pages[path].ids: yield f"{name}: broken link {url}: no such place in {path}"
    for css in docs.rglob("*.css"):
        for url in re.findall(r"@import[^;]*|url\(['\"]?(?:https?:)?//[^)]*", css.read_text(encoding="utf-8")): yield f"{css.relative_to(docs)}: loads {url}"


def main():
    os.chdir(ROOT)
    docs = render_pages(process_notebooks())
    formulas = set_maths(docs)
    if problems := list(check(docs)): sys.exit("\n".join(["The site is not right:", *problems]))
    print(f"{len(html_pages(docs))} pages with {formulas} formulas in {docs.name}/")


if __name__ == "__main__": main()  # nbdev's workers import this file
