"""Number equations and figures, and turn the references to them into links.

    $$ x \\tag{8} $$ {#eq-sac-8}    keeps the paper's number; without \\tag it is ours, "5.1" in notebook 05, "tool 2.1" in tool/02
    #| label: fig-auc              a figure, numbered within its page, as is ![caption](picture.png){#fig-auc}
    ## A heading {#sec-walk}       a section
    @eq-sac-8  @fig-auc  @sec-walk  [-@eq-sac-8]    references, to other pages too; -@ gives the number alone
"""

import json
import os
import re
from pathlib import PurePosixPath

import yaml

EQUATION = re.compile(r"^([> ]*)\$\$((?:(?!\$\$).)+)\$\$[ \t]*\{#(eq-[\w-]+)\}", re.S | re.M)
FIGURE = re.compile(r"^#\|[ \t]*label:[ \t]*(fig-[\w-]+)[ \t]*$|!\[([^\]]*)\](\([^)]*\)\{[^}]*#(fig-[\w-]+))", re.M)
SECTION = re.compile(r"^#+[ \t]+(.+?)[ \t]*\{#(sec-[\w-]+)\}[ \t]*$", re.M)
CAPTION = re.compile(r"^#\|[ \t]*fig-cap:[ \t]*(\S.*)$", re.M)
CODE = r"^```.*?^```|`[^`\n]*`"
REFERENCE = re.compile(rf"({CODE})|\[?(-?)(?<!\w)@((?:eq|fig|sec|tbl)-\w+(?:-\w+)*)\]?", re.S | re.M)

target = {}  # label: (page, the number, what a reference to it says)
problems = []


def define(label, page, number, text):
    if label in target: problems.append(f"{page}: the label {label} is used twice")
    target[label] = page, number, text


def number_equations(page, text, count):
    "Give every labelled equation its tag and its anchor."
    def numbered(m):
        quote, tex, label = m.groups()
        tag = re.search(r"\\tag\{(.*?)\}", tex)
        if tag is None: count["eq"] += 1
        number = tag.group(1) if tag else f"{count['page']}.{count['eq']}"
        define(label, page, f"({number})", f"Eq. ({number})")
        tex = tex.rstrip("> \n") + ("" if tag else rf" \tag{{{number}}}")
        return f'{quote}<span id="{label}"></span>\n{quote}\n{quote}$${tex}\n{quote}$$'
    return EQUATION.sub(numbered, text)


def number_figures(page, text, count):
    "Number every labelled figure; write the number into its caption, which Quarto does by itself."
    by_quarto = "SMALLDOCS" not in os.environ
    def numbered(m):
        count["fig"] += 1
        label, number = m[1] or m[4], count["fig"]
        define(label, page, str(number), f"Figure {number}")
        return m[0] if m[1] or by_quarto else f"![Figure {number}: {m[2]}]{m[3]}"
    text = FIGURE.sub(numbered, text)
    if not text.startswith("#|") or by_quarto or "label: fig-" not in text: return text
    def captioned(m):
        return "#| fig-cap: " + json.dumps(f"Figure {count['fig']}: {yaml.safe_load(m[1])}")
    return CAPTION.sub(captioned, text)


def relative(to, page):
    "The address of one page as seen from another."
    return os.path.relpath(to, PurePosixPath(page).parent)


def link(page, text):
    "Replace every reference by a link."
    def linked(m):
        code, bare, label = m.groups()
        if code: return code
        if label not in target:
            problems.append(f"{page}: @{label} refers to nothing")
            return m[0]
        where, number, words = target[label]
        paper = re.match(r"eq-(sac|seic)-", label)
        if paper and where != page: words = f"{paper[1].upper()} {words}"  # two papers have an Eq. (8)
        return f"[{number if bare else words}]({'' if where == page else relative(where, page)}#{label})"
    return REFERENCE.sub(linked, text)


def number_and_link(pages):
    "Number and link all pages; returns what is wrong."
    for name, page in pages.items():
        path = PurePosixPath(name)
        number = (re.match(r"\d+", path.name) or [path.stem])[0].lstrip("0") or "0"
        count = {"page": " ".join([*path.parent.parts, number]), "eq": 0, "fig": 0}
        for kind, at, key in page.texts():
            text = "".join(at[key])
            if kind == "markdown":
                text = number_equations(name, text, count)
                for heading, label in SECTION.findall(text): define(label, name, heading, heading)
            at[key] = number_figures(name, text, count)
    for name, page in pages.items():
        for kind, at, key in page.texts():
            if kind == "markdown": at[key] = link(name, at[key])
    return problems
