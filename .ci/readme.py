"""Write README.md from nbs/index.ipynb (nbdev_readme needs Quarto). With --check, only say whether it is up to date."""

import json
import re
import sys
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTE = "<!-- Made from nbs/index.ipynb by .ci/readme.py: edit the notebook. -->\n"


def cell_markdown(cell):
    "A cell as Markdown: a hidden cell is left out, what a code cell printed follows its code."
    text = "".join(cell["source"])
    if cell["cell_type"] == "markdown": return text
    if re.search(r"^#\|\s*hide\s*$", text, re.M): return ""
    echo = not re.search(r"^#\|\s*echo:\s*false", text, re.M)
    code = re.sub(r"^#\|.*\n?", "", text, flags=re.M).strip()
    return "\n\n".join(([f"```python\n{code}\n```"] if echo else []) + [output_markdown(o) for o in cell["outputs"]])


def output_markdown(output):
    data = output.get("data", {})
    if "text/markdown" in data: return "".join(data["text/markdown"])
    text = "".join(output["text"] if output["output_type"] == "stream" else data.get("text/plain", ""))
    return f"```text\n{text.rstrip()}\n```"


def readme(notebook):
    "The whole README: links and pictures lead into nbs/, since the README lies one folder above the notebook."
    settings = ConfigParser()
    settings.read(ROOT / "settings.ini")
    site = settings["DEFAULT"]["doc_host"] + settings["DEFAULT"]["doc_baseurl"]
    text = "\n\n".join(filter(None, map(cell_markdown, notebook["cells"])))
    text = re.sub(r"\]\((\w+)\.qmd\)", rf"]({site}/\1.html)", text)  # made from other pages, so only the site has them
    text = re.sub(r"\]\((?![a-z+]+:|#|/|\.\./)", "](nbs/", text).replace("](../", "](")
    return NOTE + "\n" + re.sub(r"(\]\([^)]*\))\{[^}]*\}", r"\1", text).strip() + "\n"


made = readme(json.loads((ROOT / "nbs" / "index.ipynb").read_text(encoding="utf-8")))
if left := re.findall(r"@(?:eq|fig|sec|tbl)-\w+|^:::.*", made, re.M): sys.exit(f"nbs/index.ipynb: GitHub does not render {left}; write it in plain Markdown")
if "--check" not in sys.argv: (ROOT / "README.md").write_text(made, encoding="utf-8")
elif not (ROOT / "README.md").exists() or (ROOT / "README.md").read_text(encoding="utf-8") != made: sys.exit("README.md is out of date: run python .ci/readme.py")
