"""Pages made from other pages: the API reference, what the papers leave unsaid, the measured results; and
the links between an equation, the function that computes it, its test and the index (nbs/equations.csv)."""

import csv
import json
import os
import re
from base64 import b64decode
from pathlib import Path, PurePosixPath

import yaml
from nbdev.config import get_config

CALLOUT = r'^:::+ *\{{\.callout-[^}}]*title="{title}"[^}}]*\}}\n(.*?)\n:::+[ \t]*$'
HEADING = re.compile(r"^## +(.+?)(?: *\{[^}]*\})?$", re.M)
PLACE = re.compile(r"<!-- gathered: ([\w ./-]+?) -->")
TITLES = {"unsaid": "What the paper leaves unsaid"}
ASSERTS = re.compile(r"\bassert\b|assert_\w+\(|pytest\.raises|gradcheck")


class Page:
    "A page's source: the cells of a notebook, or a .qmd file as one cell."

    def __init__(self, path):
        self.path, text = Path(path), Path(path).read_text(encoding="utf-8")
        self.notebook = json.loads(text) if self.path.suffix == ".ipynb" else None
        self.cells = self.notebook["cells"] if self.notebook else [{"cell_type": "markdown", "source": text, "metadata": {}}]
        for cell in self.cells: cell["source"] = "".join(cell["source"])
        front = re.match(r"---\n(.*?)\n---", self.cells[0]["source"], re.S)
        self.front = yaml.safe_load(front[1]) if front else {}
        self.title = self.front.get("title", self.path.stem)

    def text(self): return json.dumps(self.notebook) if self.notebook else self.cells[0]["source"]

    def texts(self):
        "Every piece of text that may define or hold a reference: its kind, and where it stands."
        for cell in self.cells:
            if cell["cell_type"] in ("markdown", "code"): yield cell["cell_type"], cell, "source"
            for output in cell.get("outputs", []):
                if "text/markdown" in output.get("data", {}): yield "markdown", output["data"], "text/markdown"

    def insert(self, at, text): self.cells.insert(at, {"cell_type": "markdown", "metadata": {}, "id": f"made-{at}-{len(self.cells)}", "source": text})


def equations():
    "The equation index: one row for each numbered equation of the papers."
    with open("equations.csv", encoding="utf-8") as file: rows = list(csv.DictReader(file))
    for row in rows: row["label"] = f"eq-{row['paper'].lower()}-{row['number']}"
    return rows


def minutes(cells):
    "How long a reader needs: 200 words of prose, or 40 lines of code, a minute."
    words = sum(len(re.sub(r"\$[^$]*\$", "x", c["source"]).split()) for c in cells if c["cell_type"] == "markdown")
    passed_over = re.compile(r"show_doc\(|^#\| *(?:label: fig-|code-fold: true|hide\b|echo: false)", re.M)  # folded, hidden, or made for the page
    lines = sum(len(c["source"].splitlines()) for c in cells if c["cell_type"] == "code" and not passed_over.search(c["source"]))
    return max(1, round(words / 200 + lines / 40))


def head(name, page, index):
    "What stands under a notebook's title: what it covers, how long it takes, where it can be run and read."
    config = get_config()
    repo = f"{config.user}/{config.repo}/blob/{config.branch}/nbs/{name}"
    parts = []
    for paper in ("SAC", "SEIC"):
        numbers = [row for row in index if row["paper"] == paper and f"{row['notebook']}.ipynb" == name]
        if numbers: parts.append(f"{paper} " + ", ".join(f"[({row['number']})](#{row['label']})" for row in numbers))
    parts.append(f"{minutes(page.cells)} min")
    parts.append(f"[Open in Colab](https://colab.research.google.com/github/{repo})")
    parts.append(f"[View source](https://github.com/{repo})")
    return "::: {.page-head}\n" + " · ".join(parts) + "\n:::"


def rebased(text, name):
    "Text of a page, with its links as they are seen from the top folder."
    folder = PurePosixPath(name).parent
    text = text.replace("](#", f"]({name}#")
    return re.sub(r"\]\((?![a-z+]+:|#|/)([\w./-]+)", lambda m: f"]({os.path.normpath(folder / m[1]) if m[1] != name else name}", text)


def defines(cell, function):
    return cell["cell_type"] == "code" and re.search(rf"^(?:def|class) {function}\b|^show_doc\({function}\b", cell["source"], re.M)


def mark_test(page, function):
    "Put an anchor before the first cell that tests a function, after its definition."
    start = next((n for n, cell in enumerate(page.cells) if defines(cell, function)), None)
    if start is None: return False
    for n, cell in enumerate(page.cells[start:], start):
        if cell["cell_type"] == "code" and f"{function}(" in cell["source"] and ASSERTS.search(cell["source"]) and "Exported source" not in cell["source"]:
            page.insert(n, f'<span id="test-{function}"></span>')
            return True
    return False


def tie(pages, index):
    "Under each equation: links to its place in the index, its function and its test."
    problems, marked = [], set()
    for row in index:
        page, function = pages[f"{row['notebook']}.ipynb"], row["function"]
        where = next((c for c in page.cells if c["cell_type"] == "markdown" and f"{{#{row['label']}}}" in c["source"]), None)
        if where is None:
            problems.append(f"{page.path.name}: {row['paper']} Eq. ({row['number']}) is not there, though equations.csv says so")
            continue
        if function not in marked and not mark_test(page, function): problems.append(f"{page.path.name}: no test of {function} after its definition")
        marked.add(function)
        links = f"[index](00_symbols.ipynb#idx-{row['label'][3:]}) · [`{function}`](#{function.lower()}) · [tests](#test-{function})"
        where["source"] = re.sub(rf"^(.*?)\{{#{row['label']}\}}[ \t]*$", lambda m: f"{m[0]}\n{quote(m[0])}\n{quote(m[0])}[{links}]{{.equation-links}}", where["source"], count=1, flags=re.M)
    return problems


def quote(line): return re.match(r"[> ]*", line)[0]


def fold_plumbing(page):
    "Imports and plotting are folded away; everything that teaches stays open."
    for cell in page.cells:
        if cell["cell_type"] != "code" or "code-fold" in cell["source"]: continue
        lines = [line for line in cell["source"].splitlines() if line.strip() and not line.startswith("#|")]
        if re.search(r"^#\| *label: *fig-", cell["source"], re.M): summary = "How this is plotted"
        elif lines and all(re.match(r"(import|from|sns\.set_theme|torch\.set_num_threads|warnings\.|plt\.rcParams)\b|[ )]", line) for line in lines): summary = "Imports"
        else: continue
        cell["source"] = f'#| code-fold: true\n#| code-summary: "{summary}"\n' + cell["source"]


def drop_diagrams(page):
    "scikit-learn's HTML pictures of an estimator are too pale to read; its text says the same."
    for cell in page.cells:
        for output in cell.get("outputs", []):
            if "sk-container" in "".join(output.get("data", {}).get("text/html", "")): del output["data"]["text/html"]


def callouts(pages, title):
    "The callouts of a title, page by page, each under a link to where it stands."
    text = ""
    for name, page in pages.items():
        if page.notebook is None: continue
        section, found = page.title, ""
        for cell in page.cells:
            if cell["cell_type"] != "markdown": continue
            def anchored(m):
                nonlocal found
                here = HEADING.findall(cell["source"][:m.start()])
                anchor = f"{'-'.join(title.lower().split()[:2])}-{found.count('### ') + 1}"
                body = rebased(m[1], name)
                found += f"\n### [{here[-1] if here else section}]({name}#{anchor})\n\n{body}\n"
                return f'<span id="{anchor}"></span>\n\n{m[0]}'
            source = cell["source"]
            cell["source"] = re.sub(CALLOUT.format(title=re.escape(title)), anchored, source, flags=re.S | re.M)
            if headings := HEADING.findall(source): section = headings[-1]
        if found: text += f"\n## {page.title}\n{found}"
    return text


def api(pages):
    "Every public name, module by module, as nbdev documents it where it is defined."
    text = ""
    for name, page in pages.items():
        table, blocks = "", ""
        for cell in page.cells:
            for output in cell.get("outputs", []):
                doc = "".join(output.get("data", {}).get("text/markdown", ""))
                if "show_doc(" not in cell["source"]: continue
                doc = re.sub(r"^```.*?^```", lambda code: re.sub(r"\[`([^`]+)`\]\([^)]*\)", r"`\1`", code[0]), doc, flags=re.S | re.M)  # no links inside code
                if not (m := re.match(r"---\n\n(\[source\].*?)\n\n### (\S+)\n(.*)", doc, re.S)): continue
                output["data"]["text/markdown"] = doc.replace(f"\n### {m[2]}\n", f"\n### {m[2]} {{#{m[2].lower()}}}\n", 1)  # renderers differ in the names they would give
                summary = found[1].replace("|", "\\|") if (found := re.search(r"^\*(.+?)\*$", m[3], re.M)) else ""
                table += f"| [`{m[2]}`](#{m[2].lower()}) | {summary} |\n"
                blocks += f"\n\n{m[1]}\n\n### {m[2]} {{#{m[2].lower()}}}\n{m[3]}\n\n[where it is explained]({name}#{m[2].lower()})\n"
        module = ".".join([*PurePosixPath(name).parent.parts, page.front.get("output-file", "").removesuffix(".html")])
        if table: text += f"\n## {module}\n\n[{page.title}]({name})\n\n| name | what it is |\n| --- | --- |\n{table}{blocks}"
    return text


def output(pages, name, label):
    "What a labelled cell of a notebook shows, with a link to the notebook."
    for cell in pages[name].cells:
        if cell["cell_type"] != "code" or not re.search(rf"^#\| *label: *{re.escape(label)} *$", cell["source"], re.M): continue
        option = lambda key: yaml.safe_load(m[1]) if (m := re.search(rf"^#\| *{key}: *(.+)$", cell["source"], re.M)) else ""
        shown = ""
        for out in cell["outputs"]:
            data = {kind: "".join(value) for kind, value in out.get("data", {}).items() if isinstance(value, (str, list))}
            if "image/png" in data:
                Path(file := f"measured-{label}.png").write_bytes(b64decode(data["image/png"]))
                shown += f'![{option("fig-cap")}]({file}){{fig-alt={json.dumps(option("fig-alt"), ensure_ascii=False)}}}\n\n'
            elif "text/markdown" in data: shown += data["text/markdown"] + "\n\n"
            elif "text/html" in data: shown += f"```{{=html}}\n{data['text/html']}\n```\n\n"
            else: shown += f"```text\n{''.join(out.get('text', data.get('text/plain', '')))}\n```\n\n"
        return shown + f"[From {pages[name].title}]({name})\n"
    return None


def gather(pages):
    "Everything above, on all pages; returns what is wrong."
    index = equations()
    for name, page in pages.items():
        if page.notebook and re.match(r"\d", PurePosixPath(name).name): page.insert(2, head(name, page, index))
        fold_plumbing(page)
        drop_diagrams(page)
    problems = tie(pages, index)
    made = {what: callouts(pages, title) for what, title in TITLES.items()} | {"api": api(pages)}
    for name, page in pages.items():
        for cell in page.cells:
            if cell["cell_type"] != "markdown": continue
            def placed(m):
                text = made[m[1]] if m[1] in made else output(pages, *m[1].split()) if len(m[1].split()) == 2 else None
                if not text: problems.append(f"{name}: nothing to gather for {m[1]}")
                return text or ""
            cell["source"] = PLACE.sub(placed, cell["source"])
    return problems


def filled_script(path, pages):
    "The script, told which equations stand on which page."
    where = {}
    for row in equations(): where.setdefault(pages[f"{row['notebook']}.ipynb"].front["output-file"], []).append(row["label"])
    return Path(path).read_text(encoding="utf-8").replace("/* equations by page */ {}", json.dumps(where))
