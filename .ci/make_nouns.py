"""Make the noun list that ships in the package from WordNet 3.0's own files.

    python .ci/make_nouns.py FOLDER

FOLDER holds index.noun and data.noun. Debian's package wordnet-base puts them into /usr/share/wordnet.

Writes sac_seic/wordnet_nouns.txt.gz: all nouns, sorted, one a line, "_" replaced by a space; a "*" at the end marks
the concrete ones. A noun is concrete if it has at most two words and no digit, and one of its senses is in the
lexicographer files animal, artifact, body, food, object, plant or substance. WordNet's licence, which heads
data.noun, goes to sac_seic/WORDNET_LICENSE. The SHA-256 that it prints is pinned in nbs/models/11_wordnet.ipynb."""

import gzip
import hashlib
import re
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "sac_seic"
CONCRETE = {"05", "06", "08", "13", "17", "20", "27"}  # animal, artifact, body, food, object, plant, substance


def entries(path: Path) -> list[str]:
    "The lines of a WordNet file after the licence, whose lines start with two spaces."
    return [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("  ")]


def licence(path: Path) -> str:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("  ")]
    return "".join(re.sub(r"^ +\d+ ?", "", line).rstrip() + "\n" for line in lines)


def nouns(folder: Path) -> dict[str, bool]: # every noun: is it concrete?
    file_of = dict(line.split(" ", 2)[:2] for line in entries(folder / "data.noun"))  # a sense's offset to its lexicographer file
    found = {}
    for line in entries(folder / "index.noun"):
        fields = line.split()
        noun, senses = fields[0].replace("_", " "), fields[-int(fields[2]):]
        plain = len(noun.split()) <= 2 and not re.search(r"\d", noun)
        found[noun] = plain and any(file_of[offset] in CONCRETE for offset in senses)
    return found


def main(folder: Path) -> None:
    found = nouns(folder)
    text = "".join(noun + "*" * found[noun] + "\n" for noun in sorted(found))
    packed = gzip.compress(text.encode(), compresslevel=9, mtime=0)
    (PACKAGE / "wordnet_nouns.txt.gz").write_bytes(packed)
    head = "wordnet_nouns.txt.gz holds the nouns of WordNet 3.0 (https://wordnet.princeton.edu), which comes under this licence:\n\n"
    (PACKAGE / "WORDNET_LICENSE").write_text(head + licence(folder / "data.noun"), encoding="utf-8")
    print(len(found), "nouns,", sum(found.values()), "of them concrete ·", len(packed), "bytes · SHA-256", hashlib.sha256(packed).hexdigest())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
