"""Give a symbol one colour throughout its page: the image's side, the text's side, weights, temperature.

Works on the TeX itself, so that Quarto and smalldocs show the same; styles.css sets the shades, light and dark."""

import re

COLOURS = {"image": "mediumblue", "text": "sienna", "weight": "darkgreen", "tau": "purple"}  # styles.css sets the exact shades
SYMBOLS = {  # letter (with any accent): role; a letter of SEIC with ^v or ^t takes the role of that superscript
    "SAC": {"image": "p v x f_V e_V theta_V calN^V d_v", "text": "q t y f_T e_T theta_T calN^T d_t", "weight": "w_i w^IN w^CN", "tau": "tau"},
    "SEIC": {"image": "v I f_v g_v c_v r p^v mu^v b^v q^v", "text": "t n calN f_t g_t c_t p^t mu^t b^t", "weight": "h w", "tau": "tau"},
}
ROLES = {paper: {name: role for role, names in roles.items() for name in names.split()} for paper, roles in SYMBOLS.items()}

MATHS = re.compile(r"^```.*?^```|`[^`\n]*`|(?<![\\$])\$\$(?P<display>(?:(?!\$\$).)+)\$\$|(?<![\\$\w])\$(?P<inline>[^$\s](?:[^$\n]*[^$\s])?)\$(?!\d)", re.S | re.M)
GROUP = r"(?:\{(?:[^{}]|\{[^{}]*\})*\}|\\[a-zA-Z]+|[^\s{}\\])"
SCRIPTS = rf"(?:\s*[_^]\s*{GROUP}|')*"
SYMBOL = re.compile(
    rf"\\(?:text|mathrm|operatorname|tag|begin|end)\*?\s*\{{[^{{}}]*\}}{SCRIPTS}|"  # words: left as they are
    rf"(?P<accent>\\(?:bar|hat|tilde|mathcal|mathbf)\s*)?(?(accent)(?P<brace>\{{)?)(?P<letter>\\(?:tau|theta|mu)(?![a-zA-Z])|(?<![\\a-zA-Z_^])[A-Za-z](?![a-zA-Z]))(?(brace)\}})(?P<scripts>{SCRIPTS})|"
    rf"\\[a-zA-Z]+{SCRIPTS}")


def role(paper, letter, scripts):
    "Which colour a symbol has, or None."
    low, high = (re.sub(r"\\(?:mathrm|text)|[{}\s]", "", m[1]) if (m := re.search(rf"\{mark}\s*({GROUP})", scripts)) else "" for mark in "_^")
    return next((ROLES[paper][name] for name in (f"{letter}_{low}", f"{letter}^{high}", letter) if name in ROLES[paper]), None)


def colour_tex(tex, paper):
    "TeX with every known symbol in its colour."
    def coloured(m):
        if not m["letter"]: return m[0]
        if m[0].startswith("e^"): return "e^" + colour_tex(m[0][2:], paper)  # an exponential: its exponent is a formula
        kind = role(paper, ("cal" if "mathcal" in (m["accent"] or "") else "") + m["letter"].lstrip("\\"), m["scripts"])
        if not kind: return m[0]
        return rf"\textcolor{{{COLOURS[kind]}}}{{{m[0]}}}"
    return SYMBOL.sub(coloured, tex)


def colour_markdown(text, paper):
    "Markdown with the symbols of its maths coloured; code is left alone."
    def each(m):
        if m["display"]: return f"$${colour_tex(m['display'], paper)}$$"
        if m["inline"]: return f"${colour_tex(m['inline'], paper)}$"
        return m[0]
    return MATHS.sub(each, text)


def colour_page(name, page):
    "Colour the maths of an equation notebook; the symbols page by its headings, which name the paper."
    paper = {**dict.fromkeys(("01_", "02_", "03_", "04_"), "SAC"), **dict.fromkeys(("05_", "06_", "07_", "08_"), "SEIC")}.get(name[:3])
    for kind, at, key in page.texts():
        if kind != "markdown" or not (paper or name.startswith("00")): continue
        parts = re.split(r"^(?=##)", "".join(at[key]), flags=re.M) if name.startswith("00") else ["".join(at[key])]
        for n, part in enumerate(parts):
            if name.startswith("00") and (m := re.match(r"##+ (SAC|SEIC)?", part)): paper = m[1]
            if paper: parts[n] = colour_markdown(part, paper)
        at[key] = "".join(parts)
