"""Makes sac_seic/wordnet_tree.txt.gz from WordNet 3.0's own files, which Debian's package wordnet-base holds:

    python tests/wordnet_tree.py /usr/share/wordnet

A line is a synset: the line numbers of its hypernyms, which stand above it, then its words. Words follow WordNet's
order, the commonest first. "crane#1" says that another line is the first thing that "crane" means, "car=71" that
WordNet's readers met this sense, and its definitions use the word, 71 times together. The last lines, "> mice mouse", are irregular plurals.

Kept are the things a camera sees (_KINDS), of people, groups, places and the like only senses that were met in
texts, and everything above them. Proper names are left out. Words that are adjectives more often than nouns
("white", "young") are left out. ImageNet's 1000 class names mean first what they mean there, since captions of the
preset `mini` are made of them."""

import gzip
import re
import sys
from collections import Counter
from pathlib import Path

_KINDS = {5: "animal", 6: "artifact", 8: "body", 13: "food", 17: "object", 20: "plant", 27: "substance"}
_IF_MET = {3: "Tops", 10: "communication", 11: "event", 14: "group", 15: "location", 18: "person",
           19: "phenomenon", 25: "shape"}
_TARGET = Path(__file__).resolve().parent.parent / "sac_seic" / "wordnet_tree.txt.gz"


def records(path: Path) -> list[str]: return [s for s in path.read_text("utf-8").splitlines() if s[0] != " "]


def read_counts(root: Path) -> dict[str, int]: # sense key, such as "car%1:06:00::", to how often it was met
    return {key: int(n) for key, _, n in map(str.split, records(root / "cntlist.rev"))}


def read_synsets(root: Path) -> dict[str, dict]: # offset to kind, words with their counts, hypernyms
    met, synsets = read_counts(root), {}
    for line in records(root / "data.noun"):
        offset, kind, _, n, *rest = line.split(" | ")[0].split()
        kind, n = int(kind), int(n, 16)
        words = {w: met.get(f"{w.lower()}%1:{kind:02d}:{int(i, 16):02d}::", 0)
                 for w, i in zip(rest[:2 * n:2], rest[1:2 * n:2])}
        pointers = list(zip(rest[2 * n + 1::4], rest[2 * n + 2::4]))
        if all(symbol != "@i" for symbol, _ in pointers):
            synsets[offset] = {"kind": kind, "words": words, "above": [o for s, o in pointers if s == "@"]}
    for s in synsets.values(): s["above"] = [o for o in s["above"] if o in synsets]
    return synsets


def keep(synsets: dict[str, dict]) -> list[str]: # offsets, hypernyms before their hyponyms
    order = {}
    def visit(offset):
        for above in synsets[offset]["above"]: visit(above)
        order[offset] = None
    for offset, s in synsets.items():
        if s["kind"] in _KINDS or s["kind"] in _IF_MET and any(s["words"].values()): visit(offset)
    return list(order)


def imagenet() -> dict[str, str]: # a class's first name to its offset
    from timm.data import ImageNetInfo
    info = ImageNetInfo()
    names = [info.index_to_description(i).split(",")[0].lower().replace(" ", "_") for i in range(1000)]
    return {name: info.index_to_label_name(i)[1:] for i, name in enumerate(names) if names.count(name) == 1}


def used_in_definitions(root: Path) -> Counter: # words and phrases of up to four words
    used = Counter()
    for line in records(root / "data.noun"):
        words = re.findall(r"[a-z'-]+", line.split(" | ")[1].split('; "')[0].lower())
        phrases = {" ".join(words[i:i + n]) for n in range(1, 5) for i in range(len(words) - n + 1)}
        used.update(phrases | {phrase[:-1] for phrase in phrases if phrase.endswith("s")})
    return used


def adjectives(root: Path) -> set[str]: # words that are met more often as adjectives than as nouns
    nouns, others = Counter(), Counter()
    for key, n in read_counts(root).items():
        word, kind = key.split("%")
        if kind[0] != "2": (nouns if kind[0] == "1" else others)[word] += n
    return {word for word, n in others.items() if n > nouns[word]}


def rank_senses(root: Path, synsets, order: list[str]) -> dict[tuple[str, str], int]: # (word, offset) to rank
    kept, first, ranks = set(order), imagenet(), {}
    left_out = adjectives(root) - set(first)
    for word, _, n, *rest in map(str.split, records(root / "index.noun")):
        senses = [o for o in rest[-int(n):] if o in kept]
        senses.sort(key=lambda o: (o != first.get(word), synsets[o]["kind"] not in _KINDS)) # stable
        if word not in left_out: ranks |= {(word, o): r for r, o in enumerate(senses)}
    return ranks


def main(root: Path):
    synsets = read_synsets(root)
    order = keep(synsets)
    number, ranks, lines = {o: i for i, o in enumerate(order)}, rank_senses(root, synsets, order), []
    used = used_in_definitions(root)
    for o in order:
        words = []
        for word, met in synsets[o]["words"].items():
            rank = ranks.get((word.lower(), o))
            if rank is None: continue
            word = word.replace("_", " ")
            met += used[word.lower()]
            words.append(word + f"#{rank}" * (rank > 0) + f"={met}" * (met > 0))
        lines.append(" ".join(str(number[a]) for a in synsets[o]["above"]) + "\t" + "\t".join(words))
    known = {word for word, _ in ranks}
    for plural, single, *_ in map(str.split, records(root / "noun.exc")):
        if single in known and "_" not in plural: lines.append(f"> {plural} {single}")
    content = "\n".join(lines) + "\n"
    _TARGET.write_bytes(gzip.compress(content.encode(), 9, mtime=0))
    print(len(order), "synsets,", _TARGET.stat().st_size, "bytes", Counter(synsets[o]["kind"] for o in order))


if __name__ == "__main__": main(Path(sys.argv[1]))
